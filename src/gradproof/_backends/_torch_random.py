"""The generators that a PyTorch function may draw from: their states are taken, and put back."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
import torch


class RandomState:
    """The states of all generators that a function may draw from, taken now and put back at every `rewind`.

    To put back NumPy's takes longer than most functions: `learn` sees which generators the function draws from.

    Parameters
    ----------
    generators : iterable
        Those that the function holds, besides the global ones: as `is_generator` knows them.
    """

    def __init__(self, generators: Iterable[Any] = ()) -> None:
        self._python = random.getstate()
        self._numpy: Any = np.random.get_state()  # noqa: NPY002  (the user's function may draw from it)
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        self._own = [_Own(generator) for generator in generators]
        # Those that the function draws from; None is not known, yet.
        self._drawn: frozenset[object] | None = None

    def learn(self) -> None:
        """See which generators have moved since their states were taken; those learned of go on being put back."""
        self._drawn = (self._drawn or frozenset()) | self._moved()

    def rewind(self) -> None:
        """Put back the states of the generators that the function draws from, as far as is known."""
        torch.set_rng_state(self._cpu)
        self._put_back(self._moved() if self._drawn is None else self._drawn)

    @property
    def has_moved(self) -> bool:
        """Whether anything was drawn since the states were taken, or put back."""
        return not torch.equal(torch.get_rng_state(), self._cpu) or bool(self._moved())

    def restore(self) -> None:
        """Put back all states."""
        torch.set_rng_state(self._cpu)
        self._put_back(self._moved())

    @contextlib.contextmanager
    def drawing(self, seed: int) -> Generator[None]:
        """Within this context `rewind` begins other random numbers of torch, on the CPU."""
        own, self._cpu = self._cpu, torch.Generator().manual_seed(seed).get_state()
        try:
            yield
        finally:
            self._cpu = own

    def _moved(self) -> frozenset[object]:
        """The generators that have moved: by name, those of the function by themselves."""
        moved: list[object] = [one for one in self._own if one.has_moved()]
        moved += ["python"] if random.getstate() != self._python else []
        moved += [] if _same_numpy(np.random.get_state(), self._numpy) else ["numpy"]  # noqa: NPY002
        is_still = not self._cuda or all(map(torch.equal, torch.cuda.get_rng_state_all(), self._cuda))
        return frozenset(moved if is_still else [*moved, "cuda"])

    def _put_back(self, moved: frozenset[object]) -> None:
        # (To set a state takes longer than to see that it has not moved.)
        if "python" in moved:
            random.setstate(self._python)
        if "numpy" in moved:
            np.random.set_state(self._numpy)  # noqa: NPY002
        if "cuda" in moved:
            torch.cuda.set_rng_state_all(self._cuda)
        for one in self._own:
            if one in moved:
                one.put_back()


def is_generator(value: object) -> bool:
    """Whether random numbers can be drawn from it."""
    return isinstance(value, (torch.Generator, random.Random, np.random.Generator, np.random.RandomState))


class _Own:
    """A generator that is not global."""

    def __init__(self, generator: Any) -> None:
        self._get: Callable[[], Any]
        self._set: Callable[[Any], Any]
        self._is_same: Callable[[Any, Any], bool] = _same_state
        if isinstance(generator, torch.Generator):
            self._get, self._set, self._is_same = generator.get_state, generator.set_state, torch.equal
        elif isinstance(generator, random.Random):
            self._get, self._set = generator.getstate, generator.setstate
        elif isinstance(generator, np.random.RandomState):
            self._get, self._set, self._is_same = generator.get_state, generator.set_state, _same_numpy
        else:
            bits = generator.bit_generator
            self._get, self._set = lambda: bits.state, lambda state: setattr(bits, "state", state)
        self._state = self._get()

    def has_moved(self) -> bool:
        return not self._is_same(self._get(), self._state)

    def put_back(self) -> None:
        self._set(self._state)


def _same_numpy(one: Any, other: Any) -> bool:
    return one[2:] == other[2:] and bool(np.array_equal(one[1], other[1]))


def _same_state(one: Any, other: Any) -> bool:
    """Whether states of numbers, arrays, tuples and dicts are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same_state(one[key], other[key]) for key in one)
    return bool(np.all(one == other))
