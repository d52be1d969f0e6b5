"""Calls of what is held to the contracts, counted, and whether what they give is equal."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from gradproof import _contracts
from gradproof._backends import Array
from gradproof._base._away import is_from_handler
from gradproof._claims._subjects import Judge, Pulled, Recording, Subject
from gradproof._contracts import Accused, Allowance, Apart
from gradproof._report import Finding

Result = TypeVar("Result")

# Random cotangents, and points off by rounding, that show how large the terms of a gradient are and how precise.
DRAWS = 3


class FailedError(Exception):
    """What was asked of f has raised: its first line."""


class Bench:
    """One subject under the conditions of the contracts.

    Parameters
    ----------
    subject : Subject
    judge : callable
        ``judge(function) -> Proved or None``.

    Attributes
    ----------
    subject, judge
        As passed.
    accused : Accused
        How findings speak of the subject.
    calls : int
        Backwards that were run.
    found : list of Finding
    context : callable
        What every contract is held within.
    """

    def __init__(self, subject: Subject, judge: Judge) -> None:
        self.subject, self.judge = subject, judge
        self.accused = Accused(
            subject=f"the backward of `{subject.name}`",
            path="" if subject.is_whole else subject.name,
            names=subject.names,
        )
        self.calls = 0
        self.found: list[Finding] = []
        self.context: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        self._bases: dict[str, tuple[list[Any], Pulled]] = {}
        self._exact: dict[str, Allowance] = {}

    def has(self, *ids: str) -> bool:
        """Whether one of these contracts was found broken."""
        return any(one.id in ids for one in self.found)

    def note(self, *findings: Finding) -> None:
        """Add to what was found."""
        self.found += findings

    def poison(self) -> None:
        """From now on fresh memory holds nan: what it holds by chance must not look like another broken contract."""
        self.context = self.subject.poisoned
        self._bases.clear()
        self._exact.clear()

    def pull(self, recording: Recording, cotangents: Sequence[Any], **options: Any) -> Pulled:
        self.calls += 1
        return recording.pull(cotangents, **options)

    def run(self, cotangents: Sequence[Any], **options: Any) -> Pulled:
        """A backward over a graph of its own."""
        return self.pull(self.record(), cotangents, **options)

    def record(self, **options: Any) -> Recording:
        with failures():
            return self.subject.record(**options)

    def base(self, shared: str = "") -> tuple[list[Any], Pulled]:
        """Cotangents and what a plain backward gives for them."""
        if shared not in self._bases:
            with failures():
                cotangents = self.subject.cotangents(shared)
                self._bases[shared] = cotangents, self.run(cotangents)
        return self._bases[shared]

    def apart(
        self, one: Sequence[Array | None], other: Sequence[Array | None], factor: float = 1, *, inputs: str = ""
    ) -> Apart | None:
        """Where gradients are not equal: only then is it measured by how much they may differ.

        `inputs` is a layout that cannot hold the values of the point: then both are those for values that it can hold.
        """
        subject = self.subject
        rough = Allowance(eps=subject.eps, terms=subject.entries)
        if _contracts.apart(one, other, rough) is None:
            return None
        if inputs not in self._exact:
            self._exact[inputs] = self._measured(inputs)
        exact = self._exact[inputs]
        exact = dataclasses.replace(
            exact,
            noise=[factor * noise for noise in exact.noise],
            sizes=[factor * size for size in exact.sizes],
        )
        return _contracts.apart(one, other, exact)

    def values_apart(self, one: Sequence[Array], other: Sequence[Array], *, inputs: str = "") -> bool:
        """Whether what f returns is not equal; `inputs` as for `apart`."""
        rough = Allowance(eps=self.subject.eps, terms=self.subject.entries)
        if _contracts.apart(one, other, rough) is None:
            return False
        noise = [0.0] * len(one)
        plain = self.record(layout=inputs, is_compact=True).values
        for draw in range(DRAWS):
            rounded = self.record(layout=inputs, is_compact=True, rounding=1 + draw).values
            noise = [max(size, _contracts.largest_difference(*pair)) for size, *pair in zip(noise, plain, rounded)]  # noqa: B905
        eps = self.subject.coarsest(self.base()[0])
        return _contracts.apart(one, other, dataclasses.replace(rough, eps=eps, noise=noise)) is not None

    def _measured(self, inputs: str) -> Allowance:
        """How precise equal calls are, how large the terms of the sums, and in which precision they are summed."""
        subject = self.subject
        cotangents, base = self.base()

        def record(rounding: int = 0) -> Recording:
            return self.record(layout=inputs, is_compact=True, rounding=rounding)

        recording = record()
        first = self.pull(recording, cotangents)
        base = first if inputs else base
        # (Over one graph, where random numbers go on. What fails there has a contract of its own.)
        again, _ = self.attempt(lambda: self.pull(recording, cotangents))
        again = self.pull(record(), cotangents) if again is None else again
        noise = [_contracts.largest_difference(a, b) for a, b in zip(base.gradients, again.gradients, strict=True)]
        sizes = [_contracts.largest(one) for one in base.gradients]
        for draw in range(DRAWS):
            mixed = self.pull(record(), subject.mixed(cotangents, draw)).gradients
            sizes = [max(size, _contracts.largest(one)) for size, one in zip(sizes, mixed, strict=True)]
            # (Sums of inputs that cancel, as in a variance, are as precise as the inputs are.)
            rounded = self.pull(record(rounding=1 + draw), cotangents).gradients
            noise = [
                max(size, _contracts.largest_difference(a, b))
                for size, a, b in zip(noise, base.gradients, rounded, strict=True)
            ]
        return Allowance(eps=subject.coarsest(cotangents), terms=subject.entries, noise=noise, sizes=sizes)

    def attempt(self, call: Callable[[], Result]) -> tuple[Result | None, str]:
        """What a call gives, or what it has raised.

        Raises
        ------
        FailedError
            If a plain backward raises after it: then the failure is not about the conditions of this call.
        """
        try:
            return call(), ""
        except Exception as error:
            if is_from_handler(error):
                raise
            said = first_line(error)
        with failures():
            self.run(self.base()[0])
        return None, said


@contextlib.contextmanager
def failures() -> Generator[None]:
    """What f or its backward raises here keeps a contract from being held, and is no breach of it."""
    try:
        yield
    except Exception as error:
        if is_from_handler(error):
            raise
        raise FailedError(first_line(error)) from error


def first_line(error: Exception) -> str:
    """What is quoted of what was raised."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
