"""What is held to the contracts, as the backends offer it (see `gradproof._backends._torch_subject`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from gradproof._backends import Array
from gradproof._claims._proved import Proved


class Pulled(Protocol):
    """What one backward gave."""

    gradients: list[Array | None]
    returned: list[Any]
    changed: list[int]
    forms: list[tuple[int, tuple[int, ...], str, tuple[int, ...], str]]


class Recording(Protocol):
    """A forward whose backward can be run, several times."""

    @property
    def values(self) -> list[Array]: ...

    def saved(self) -> Any: ...

    def changed(self, saved: Any) -> list[str]: ...

    def pull(
        self,
        cotangents: Sequence[Any],
        *,
        layout: str = "",
        only: Sequence[int] | None = None,
        hidden: Collection[int] = (),
    ) -> Pulled: ...

    def accumulated(self, cotangents: Sequence[Any], times: int) -> list[Array | None]: ...


class Subject(Protocol):
    """What is held to the contracts (see `gradproof._backends._torch_subject`)."""

    name: str
    names: Sequence[str]
    is_whole: bool
    function: Any
    layouts: tuple[str, ...]

    @property
    def owner(self) -> object: ...

    @property
    def reached(self) -> frozenset[str]: ...

    @property
    def roots(self) -> Sequence[str]: ...

    @property
    def eps(self) -> float: ...

    @property
    def output_eps(self) -> float: ...

    @property
    def entries(self) -> int: ...

    @property
    def is_scalar(self) -> bool: ...

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]: ...

    def read(self, gradient: Any) -> Array: ...

    def draws(self) -> bool: ...

    def shares_memory(self, one: Any, other: Any) -> bool: ...

    def record(
        self,
        *,
        layout: str = "",
        is_compact: bool = False,
        needed: Collection[int] | None = None,
        is_elsewhere: bool = False,
        rounding: int = 0,
    ) -> Recording: ...

    def cotangents(self, shared: str = "", draw: int = 0) -> list[Any]: ...

    def zeros(self) -> list[Any]: ...

    def mixed(self, cotangents: Sequence[Any], draw: int) -> list[Any]: ...

    def takes(self, layout: str, *, inputs: bool = False) -> bool: ...

    def repeating(self) -> str: ...

    def holds_other_values(self, layout: str) -> bool: ...

    def coarsest(self, cotangents: Sequence[Any]) -> float: ...

    def others(self) -> Iterator[Subject]: ...

    def poisoned(self) -> contextlib.AbstractContextManager[None]: ...

    def wash(self) -> None: ...

    def guarded(self) -> contextlib.AbstractContextManager[None]: ...


class Holds(Protocol):
    """A framework's autodiff, of which parts are held to the contracts."""

    def subjects(self, seed: int, *, is_asked: bool) -> Sequence[Subject]: ...


# What is proved of a function's derivative in reverse mode; None where it cannot be run by itself.
Judge = Callable[[Any], "Proved | None"]
