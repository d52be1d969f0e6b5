"""Hold the user's own callable claims to the contracts: other layouts of NumPy arrays, zeros, and memory used again.

Each is compared with a plain call of the same claim, right after f at the same point.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

import numpy as np
import optree

from gradproof import _backends, _contracts
from gradproof._backends import Array
from gradproof._base import _tree
from gradproof._base._away import is_from_handler
from gradproof._base._names import argument_names, positions
from gradproof._claims._bench import FailedError, failures, first_line
from gradproof._claims._result import Result
from gradproof._contracts import Accused, Allowance, Apart
from gradproof._contracts._cotangent_layout import NUMPY_FIX as COTANGENT_FIX
from gradproof._contracts._input_layout import NUMPY_FIX as INPUT_FIX
from gradproof._report import Finding

# Draws of the point within rounding, which show how well conditioned a gradient is; other values, how far away.
DRAWS, APART = 3, 0.25
IDS = ("GP216", "GP217", "GP221", "GP226")


@dataclasses.dataclass(kw_only=True)
class HeldCalls:
    """Findings, and how often the claim was called for them."""

    findings: list[Finding] = dataclasses.field(default_factory=list[Finding])
    calls: int = 0

    def added_to(self, result: Result) -> Result:
        """A result with these findings, and without what says the same."""
        is_known = any(one.id == "GP221" for one in self.findings)
        proofs = tuple(
            dataclasses.replace(
                proof, findings=tuple(one for one in proof.findings if not (is_known and one.id == "GP205"))
            )
            for proof in result.proofs
        )
        beside, calls = (*self.findings, *result.beside), result.claim_calls + self.calls
        return dataclasses.replace(result, proofs=proofs, beside=beside, claim_calls=calls)


def hold_claims(
    f: Callable[..., Any],
    args: Any,
    claims: Mapping[str, Any],
    ids: Collection[str],
    *,
    wrt: int | tuple[int, ...] | None,
    names: Sequence[str] | None,
    seed: int,
) -> HeldCalls:
    """Hold each callable claim to those contracts that are about it."""
    held = HeldCalls()
    for keyword, claim in claims.items():
        about = {id for id in ids if id in IDS and keyword in _contracts.CONTRACTS[id].kinds}
        if callable(claim) and about:
            holding = _Holding(f, args, keyword, claim, wrt, names, seed)
            held.findings += holding.findings(about)
            held.calls += holding.calls
    return held


def fortran(array: Array) -> Array | None:
    """The same values in column-major order; None where that is no other layout."""
    return np.array(array, order="F") if array.ndim > 1 and min(array.shape) > 1 else None


def strided(array: Array) -> Array | None:
    """Every other entry of a wider array, between which there is nan."""
    if not array.ndim or not array.size:
        return None
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, dtype=array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


Lay = Callable[[Array], "Array | None"]
LAYOUTS: Mapping[str, Callable[[Array], Array | None]] = {"Fortran order": fortran, "strided": strided}


class _Holding:
    """One claim."""

    def __init__(
        self,
        f: Callable[..., Any],
        args: Any,
        keyword: str,
        claim: Callable[..., Any],
        wrt: int | tuple[int, ...] | None,
        names: Sequence[str] | None,
        seed: int,
    ) -> None:
        self._f, self._keyword, self._claim, self._seed = f, keyword, claim, seed
        self._args: tuple[Any, ...] = args if type(args) is tuple else (args,)
        roots = list(names or argument_names(f, len(self._args)))
        self._wrt = positions(0 if wrt is None else wrt, roots)
        point = tuple(self._args[i] for i in self._wrt)
        self._paths = [leaf.path for leaf in _tree.flatten(point, [roots[i] for i in self._wrt]).leaves]
        self.calls = 0
        arrays = _arrays(self._args)
        self._eps = max([float(np.finfo(one.dtype).eps) for one in arrays] or [2.0**-52])
        self._terms = sum(one.size for one in arrays)
        self._noise: list[float] | None = None

    def findings(self, ids: Collection[str]) -> list[Finding]:
        """What is broken of these contracts."""
        try:
            value = self._f(*_backends.copied(self._args))
            self._u = self._cotangent(value)
            base = self._call(self._args)
        except Exception as error:
            if is_from_handler(error):
                raise
            return []  # (The proof says so.)
        self._terms += sum(one.size for one in _arrays(value))
        self._base = [one.copy() for one in base]
        paths = self._paths if len(self._paths) == len(base) else [self._keyword] * len(base)
        self._accused = Accused(subject=f"`{self._keyword}`", path="", names=paths)
        found: list[Finding] = []
        for id, hold in (
            ("GP226", self._buffer),
            ("GP216", self._cotangent_layouts),
            ("GP217", self._input_layouts),
            ("GP221", self._zeros),
        ):
            with contextlib.suppress(FailedError), failures():
                found += hold() if id in ids else []
        return found

    def _call(self, args: tuple[Any, ...], u: Any = None, lay: Lay = np.copy) -> list[Array]:
        """What the claim returns, right after f at the same point; the arrays themselves."""
        self.calls += 1
        with np.errstate(all="ignore"):
            self._f(*_laid(args, lay))
            if self._keyword == "vjp":
                return _arrays(self._claim(_laid(self._u, np.copy) if u is None else u, *_laid(args, lay)))
            return _arrays(self._claim(*_laid(args, lay)))

    def _try(self, args: tuple[Any, ...], u: Any = None, lay: Lay = np.copy) -> tuple[list[Array] | None, str]:
        """What a call gives, or what it has raised; FailedError if a plain call raises after it (see `Bench`)."""
        try:
            return self._call(args, u, lay), ""
        except Exception as error:
            if is_from_handler(error):
                raise
            said = first_line(error)
        with failures():
            self._call(self._args)
        return None, said

    def _cotangent(self, value: Any) -> Any:
        generator = np.random.default_rng((self._seed, 11))

        def draw(one: Any) -> Any:
            drawn: Any = generator.standard_normal(np.shape(one))
            if np.iscomplexobj(one):
                drawn = drawn + 1j * generator.standard_normal(np.shape(one))
            return drawn.astype(np.asarray(one).dtype) if _backends.is_array(one) else drawn[()]

        return optree.tree_map(draw, value, namespace="gradproof")

    def _apart(self, other: Sequence[Array]) -> Apart | None:
        """Where a gradient differs by more than rounding, of which the point itself is not free."""
        if len(other) != len(self._base):
            return Apart(index=0)
        rough = Allowance(eps=self._eps, terms=self._terms)
        if _contracts.apart(self._base, other, rough) is None:
            return None
        if self._noise is None:
            self._noise = [0.0] * len(self._base)
            generator = np.random.default_rng((self._seed, 14))
            for _ in range(DRAWS):
                moved, _ = self._try(self._moved(generator, 4 * self._eps))
                for i, one in enumerate(moved or ()):
                    self._noise[i] = max(self._noise[i], _contracts.largest_difference(self._base[i], one))
        return _contracts.apart(self._base, other, dataclasses.replace(rough, noise=self._noise))

    def _moved(self, generator: np.random.Generator, share: float) -> tuple[Any, ...]:
        """The differentiated arguments, each entry off by up to a share of it."""

        def move(one: Array) -> Array:
            return (one * (1 + share * generator.uniform(-1, 1, one.shape))).astype(one.dtype)

        return tuple(_mapped(argument, move) if i in self._wrt else argument for i, argument in enumerate(self._args))

    def _buffer(self) -> list[Finding]:
        first, _ = self._try(self._args)
        if first is None:
            return []
        kept = [one.copy() for one in first]
        self._try(self._moved(np.random.default_rng((self._seed, 12)), APART))
        differs = _contracts.apart(kept, first, Allowance(eps=0.0, terms=0))
        return [] if differs is None else [_contracts.earlier_changed(self._accused, differs)]

    def _cotangent_layouts(self) -> list[Finding]:
        broken: list[str] = []
        first: tuple[Apart | None, str] | None = None
        for name, lay in LAYOUTS.items():
            if any(lay(one) is not None for one in _arrays(self._u)):
                found, error = self._try(self._args, _laid(self._u, lay))
                differs = None if found is None else self._apart(found)
                if found is None or differs is not None:
                    broken.append(name)
                    first = first or (differs, error)
        if first is None:
            return []
        return [_contracts.cotangent_layout(self._accused, broken, *first, fix=COTANGENT_FIX)]

    def _input_layouts(self) -> list[Finding]:
        broken: list[str] = []
        first: tuple[Apart | None, str] = None, ""
        is_value = True
        expected = _arrays(self._f(*_backends.copied(self._args)))
        for name, lay in LAYOUTS.items():
            if not any(lay(one) is not None for one in _arrays(self._args)):
                continue
            try:
                values = _arrays(self._f(*_laid(self._args, lay)))
            except Exception as error:
                if is_from_handler(error):
                    raise
                continue  # f refuses it, which nobody can overlook
            allowed = Allowance(eps=self._eps, terms=self._terms, noise=[self._noise_of_f(expected)] * len(expected))
            differs, error = None, ""
            is_other = len(values) != len(expected) or _contracts.apart(expected, values, allowed) is not None
            if not is_other:
                found, error = self._try(self._args, lay=lay)
                differs = None if found is None else self._apart(found)
            if is_other or error or differs is not None:
                is_value = is_value and is_other
                broken.append(name)
                first = first if first[0] is not None else (differs, error)
        if not broken:
            return []
        return [_contracts.input_layout(self._accused, broken, *first, is_value=is_value, fix=INPUT_FIX)]

    def _noise_of_f(self, expected: Sequence[Array]) -> float:
        """How much f moves where its point is off by rounding."""
        moved = _arrays(self._f(*self._moved(np.random.default_rng((self._seed, 15)), 4 * self._eps)))
        pairs = zip(expected, moved, strict=False)
        return max((_contracts.largest_difference(one, other) for one, other in pairs), default=0.0)

    def _zeros(self) -> list[Finding]:
        found, _ = self._try(self._args, _mapped(self._u, np.zeros_like))
        if found is None or len(found) != len(self._base):
            return []
        finite = [np.where(np.isfinite(base), one, 0) for base, one in zip(self._base, found, strict=True)]
        differs = _contracts.apart([np.zeros_like(one) for one in finite], finite, Allowance(eps=0.0, terms=0))
        return [] if differs is None else [_contracts.not_zero(self._accused, differs)]


def _is_floating(value: Any) -> bool:
    return isinstance(value, np.ndarray) and cast("Array", value).dtype.kind in "fc"


def _arrays(tree: Any) -> list[Array]:
    """The numbers in a tree as arrays: arrays themselves are no copies."""
    leaves = optree.tree_leaves(tree, namespace="gradproof")
    return [np.asarray(one) for one in leaves if np.asarray(one).dtype.kind in "fc"]


def _mapped(tree: Any, function: Callable[[Array], Any]) -> Any:
    """A tree with its floating NumPy arrays put through a function, and copies of all others."""

    def change(one: Any) -> Any:
        return function(one) if _is_floating(one) else _backends.copied(one)

    return optree.tree_map(change, tree, none_is_leaf=True, namespace="gradproof")


def _laid(tree: Any, lay: Callable[[Array], Array | None]) -> Any:
    """A copy of a tree, its floating arrays in another layout where they have one."""

    def change(one: Array) -> Array:
        made = lay(one)
        return one.copy() if made is None else made

    return _mapped(tree, change)
