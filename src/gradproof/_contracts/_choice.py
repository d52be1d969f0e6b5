"""Which contracts there are to choose from, for which claims, and which of them `contracts` names."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from gradproof._base._errors import UsageError

# Kinds of claims: a callable by its keyword, or a framework's own reverse mode.
POINTS = ("grad", "jac", "vjp", "jvp", "hess", "hvp")
GRADIENTS = ("grad", "jac", "vjp")
FRAMEWORKS = ("torch", "jax")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contract:
    """One contract that `contracts` may name.

    Attributes
    ----------
    id : str
    says : str
        What holds where it is kept.
    kinds : tuple of str
        The claims that it is about.
    default : tuple of str
        Those for which it is held by default.
    """

    id: str
    says: str
    kinds: tuple[str, ...]
    default: tuple[str, ...] = ()


CONTRACTS = {
    one.id: one
    for one in (
        Contract(
            id="GP213",
            says="the claim does not remember earlier calls",
            kinds=(*POINTS, *FRAMEWORKS, "fwd"),
            default=(*POINTS, *FRAMEWORKS, "fwd"),
        ),
        Contract(
            id="GP216",
            says="the layout of the cotangent in memory does not matter",
            kinds=("vjp", "torch"),
            default=("torch",),
        ),
        Contract(
            id="GP217",
            says="the layout of the inputs in memory does not matter",
            kinds=(*GRADIENTS, "torch"),
        ),
        Contract(id="GP218", says="the cotangent is left unchanged", kinds=("torch",), default=("torch",)),
        Contract(
            id="GP219",
            says="what was saved for the backward is left unchanged",
            kinds=("torch",),
            default=("torch",),
        ),
        Contract(id="GP220", says="a second backward gives the same gradient", kinds=FRAMEWORKS, default=("torch",)),
        Contract(id="GP221", says="a cotangent of zeros gives zeros", kinds=("vjp", *FRAMEWORKS)),
        Contract(id="GP222", says="an undefined cotangent counts as zeros", kinds=("torch",), default=("torch",)),
        Contract(
            id="GP224",
            says="the backward returns gradients in the form of its inputs",
            kinds=("torch",),
            default=("torch",),
        ),
        Contract(id="GP225", says="gradients do not depend on which other gradients are needed", kinds=FRAMEWORKS),
        Contract(
            id="GP226",
            says="gradients add up, and an earlier one is not changed by a later call",
            kinds=(*GRADIENTS, "torch"),
            default=("torch",),
        ),
        Contract(id="GP227", says="the gradient is right for other shapes", kinds=("torch",)),
        Contract(
            id="GP228",
            says="a forward at other values in between does not matter",
            kinds=("torch",),
            default=("torch",),
        ),
        Contract(id="GP229", says="no memory is read before it is written", kinds=("torch",), default=("torch",)),
    )
}


def require_known(contracts: object) -> None:
    """Raise UsageError if `contracts` is nothing that the option takes."""
    if isinstance(contracts, str) and contracts in ("default", "all", "none"):
        return
    known = ", ".join(CONTRACTS)
    if isinstance(contracts, str) or not isinstance(contracts, (list, tuple)):
        listed = f"; to test one contract pass `contracts=[{contracts!r}]`" if contracts in CONTRACTS else ""
        raise UsageError(
            f'`contracts` must be "default", "all", "none" or a list of ids from {known}, got {contracts!r}{listed}.'
        )
    unknown = [one for one in contracts if one not in CONTRACTS]  # pyright: ignore[reportUnknownVariableType]
    if unknown or not contracts:
        about = f"there is no contract {unknown[0]!r}" if unknown else "the list is empty"
        raise UsageError(f'`contracts`: {about}. Pass "default", "all", "none", or ids from {known}.')


def chosen(contracts: str | Collection[str], kinds: Collection[str]) -> frozenset[str]:
    """Return the ids of the contracts that are held for claims of some kinds.

    Raises
    ------
    UsageError
        If one that is named is not about any of these claims.
    """
    if contracts == "none":
        return frozenset()
    if contracts == "default":
        return frozenset(id for id, one in CONTRACTS.items() if any(kind in one.default for kind in kinds))
    about = {id for id, one in CONTRACTS.items() if any(kind in one.kinds for kind in kinds)}
    if contracts == "all":
        return frozenset(about)
    wrong = [id for id in contracts if id not in about]
    if wrong:
        them = " and ".join(_WORDS.get(kind, f"`{kind}`") for kind in kinds)
        known = f"those that do are {', '.join(sorted(about))}" if about else "no contract does"
        raise UsageError(f"contract {wrong[0]} ({CONTRACTS[wrong[0]].says}) does not apply to {them}; {known}.")
    return frozenset(contracts)


_WORDS = {"torch": "reverse mode of PyTorch", "jax": "reverse mode of JAX", "fwd": "forward mode"}
