"""What a framework offers whose derivatives are proved mode by mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from gradproof._claims._autocast import Off
from gradproof._claims._parts import Whole
from gradproof._claims._subjects import Subject
from gradproof._report import Finding, Verdict


class Function(Protocol):
    """A function of arrays with derivatives of a framework's making: the first `count` arguments are differentiated.

    It may offer ``many(stacked)``: its values at many points at once, the differentiated arguments and the outputs with
    a leading axis for them, or None where that cannot be done; and ``terms``, as a `Primal` has them.
    """

    arguments: tuple[Any, ...]
    names: tuple[str, ...]
    count: int
    is_scalar: bool
    left_out: tuple[str, ...]

    def value(self, *arguments: Any) -> Any:
        """The function itself, with nothing recorded."""
        ...

    def vjp(self, cotangent: Any, *arguments: Any) -> Any:
        """Reverse mode."""
        ...

    def jvp(self, tangents: Any, *arguments: Any) -> Any:
        """Forward mode."""
        ...

    def vjps(self, mode: str, cotangents: Sequence[Any], *arguments: Any) -> Sequence[Any]:
        """Several vjps at once: ``"vmap"``, the backward on a batch; ``"compile"``, that of the compiled function."""
        ...


class Autodiff(Protocol):
    """What a framework offers: the function, and its derivative in one mode as a function."""

    function: Function
    # What a report calls it.
    claim: str
    framework: str

    @property
    def refusal(self) -> str:
        """What a rule raised where the cotangent of an output was left undefined; empty where none did."""
        ...

    not_available: type[Exception]
    bounds: tuple[Sequence[Any], Sequence[Any]] | None

    @property
    def note(self) -> str:
        """What is said of every mode that was checked: what the reference is, and what was looked at."""
        ...

    @property
    def claim_eps(self) -> float:
        """Relative precision that the claim can be expected to have."""
        ...

    @property
    def offs(self) -> Sequence[Off]:
        """How far f as it is run is from a copy that is proved in its place; none where f itself is."""
        ...

    @property
    def has_rules(self) -> bool:
        """Whether rules written by hand are among what was differentiated."""
        ...

    @property
    def copied(self) -> Function | None:
        """F in float64 with its own derivatives, where values come from there and derivatives do not; else None."""
        ...

    def rounding(self, mode: str, least: float) -> Sequence[Off]:
        """How far each derivative in a mode is from that of `copied`, and how far rounding may take it."""
        ...

    def trusted(self, reference: Callable[..., Any]) -> Callable[..., Any]:
        """The user's function of higher precision as one of the arguments of `function`."""
        ...

    def derivative(self, inner: str, seed: int) -> Function:
        """The derivative in the mode `inner` as a real function of the point and of a cotangent or tangent."""
        ...

    def argument(self, values: Sequence[Any]) -> Any:
        """Put values for all arguments back into the form of `args`."""
        ...

    def subjects(self, seed: int, *, is_asked: bool) -> Sequence[Subject]:
        """What of f is held to the contracts, by default or if that `is_asked`."""
        ...

    def findings(self, leaves: Mapping[str, Verdict]) -> Sequence[Finding]:
        """What was seen besides the numbers, given the verdicts on the leaves in reverse mode."""
        ...

    def whole(self) -> Whole | None:
        """What may be searched for the part that is wrong; None where f is a part by itself."""
        ...
