"""Hold a backward to the contracts: run it under other conditions, and compare with what it gives under plain ones.

By default a few calls see whether any contract is broken; only then is each held by itself, to say which one. What is
broken is measured against the plain call, never against f: a gradient that is wrong throughout breaks none of these.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from gradproof import _contracts
from gradproof._backends import Array
from gradproof._base._away import is_from_handler
from gradproof._base._sources import definitions
from gradproof._claims._proved import Proved
from gradproof._contracts import Accused, Allowance, Apart
from gradproof._contracts._cotangent_layout import TORCH_FIX as COTANGENT_FIX
from gradproof._contracts._input_layout import TORCH_FIX as INPUT_FIX
from gradproof._report import Finding, Severity, Verdict

# Layouts that cotangents come in by default, beside the one that repeats entries.
USUAL = ("sliced",)
# Random cotangents that show how large the terms of a gradient are.
DRAWS = 3
# Differentiated arrays that are asked for alone; other shapes that are tried; backwards that are added up.
ALONE, SHAPES, TIMES = 8, 3, 3
# Contracts whose breach a proof can be kept from.
GUARDED = ("GP216", "GP218", "GP219")
# Calls on fresh memory that is not poisoned.
CLEAN = 3
PRECISION = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


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


# What is proved of a function's derivative in reverse mode; None where it cannot be run by itself.
Judge = Callable[[Any], "Proved | None"]


@dataclasses.dataclass(kw_only=True)
class Held:
    """What became of the contracts.

    Attributes
    ----------
    findings : list of Finding
    broken : list of (Subject, Finding)
        The first finding on each subject that has broken any.
    calls : int
        Backwards that were run.
    """

    findings: list[Finding] = dataclasses.field(default_factory=list[Finding])
    broken: list[tuple[Subject, Finding]] = dataclasses.field(default_factory=list["tuple[Subject, Finding]"])
    calls: int = 0

    @property
    def is_guarded(self) -> bool:
        """Whether a proof can be kept from what breaks a contract."""
        return any(self.has(id) for id in GUARDED)

    def has(self, id: str) -> bool:
        """Whether a contract is broken."""
        return any(one.id == id for one in self.findings)

    def accused(self, name: str) -> Accused:
        """The function as a whole."""
        return Accused(subject=f"the backward of `{name}`", path="", names=())

    @contextlib.contextmanager
    def guarded(self) -> Generator[None]:
        """Within this context what is proved of f is proved of its formula: no broken contract gets in the way."""
        with contextlib.ExitStack() as stack:
            for subject, _ in self.broken:
                stack.enter_context(subject.guarded())
            yield


class Holds(Protocol):
    """A framework's autodiff, of which parts are held to the contracts."""

    def subjects(self, seed: int, *, is_asked: bool) -> Sequence[Subject]: ...


def hold_all(autodiff: Holds, ids: Collection[str], judge: Judge, seed: int, *, is_default: bool) -> Held:
    """Hold what is written by hand in a function to the contracts of these ids."""
    held = Held()
    try:
        subjects = autodiff.subjects(seed, is_asked=not is_default)
    except Exception as error:
        if is_from_handler(error):
            raise
        return held  # (It does not run while it is watched.)
    for subject in subjects:
        holding = Holding(subject, frozenset(ids), judge)
        findings = holding.quickly() if is_default else holding.thoroughly()
        sources = definitions(subject.owner)
        findings = [dataclasses.replace(one, sources=one.sources or sources) for one in findings]
        held.findings += findings
        held.calls += holding.calls
        held.broken += [(subject, findings[0])] if findings else []
    return held


class _FailedError(Exception):
    """What was asked of f has raised: its first line."""


class Holding:
    """One subject.

    Parameters
    ----------
    subject : Subject
    ids : frozenset of str
    judge : callable
        ``judge(function) -> Proved or None``.

    Attributes
    ----------
    calls : int
        Backwards that were run.
    """

    def __init__(self, subject: Subject, ids: frozenset[str], judge: Judge) -> None:
        self._subject, self._ids, self._judge = subject, ids, judge
        self.calls = 0
        self._accused = Accused(
            subject=f"the backward of `{subject.name}`",
            path="" if subject.is_whole else subject.name,
            names=subject.names,
        )
        self._bases: dict[str, tuple[list[Any], Pulled]] = {}
        self._exact: Allowance | None = None
        self._found: list[Finding] = []
        self._context: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext

    def quickly(self) -> list[Finding]:
        """Look for what is broken in three backwards; hold contract by contract only where something is."""
        try:
            is_well = self._is_well()
        except Exception as error:
            if is_from_handler(error):
                raise
            is_well = False
        return [] if is_well else self.thoroughly()

    def _is_well(self) -> bool:
        subject, ids = self._subject, self._ids
        shared = subject.repeating() if "GP216" in ids else ""
        layouts = [name for name in (*USUAL, shared) if name and subject.takes(name)] if "GP216" in ids else []
        with subject.poisoned() if "GP229" in ids else contextlib.nullcontext():
            recording = subject.record()
            saved: Any = recording.saved() if "GP219" in ids else {}
            cotangents = subject.cotangents(shared)
            base = self._pull(recording, cotangents)
            if "GP228" in ids:
                subject.record(is_elsewhere=True)
            variants = [self._pull(recording, cotangents, layout=layout) for layout in layouts or [""]]
            is_untouched = not any(one.changed for one in (base, *variants)) and not recording.changed(saved)
        rough = Allowance(eps=subject.eps, terms=subject.entries)
        is_finite = all(one is None or bool(np.isfinite(one).all()) for one in base.gradients)
        is_equal = all(_contracts.apart(base.gradients, one.gradients, rough) is None for one in variants)
        if "GP226" in ids:
            # (Equal cotangents leave equal values in a buffer that is used again.)
            pairs = zip(base.returned, variants[0].returned, strict=True)
            is_equal = is_equal and not any(subject.shares_memory(*pair) for pair in pairs)
        return is_untouched and is_finite and is_equal and not self._other_forms(base)

    def thoroughly(self) -> list[Finding]:
        """Hold to every contract that is asked for, one after the other."""
        try:
            self._base()
        except _FailedError:
            return []  # (It does not run at all, which the proof says.)
        for id, hold in (
            ("GP224", self._form),
            ("GP218", self._cotangent),
            ("GP219", self._saved),
            ("GP229", self._memory),
            ("GP220", self._twice),
            ("GP228", self._values),
            ("GP216", self._cotangent_layouts),
            ("GP217", self._input_layouts),
            ("GP221", self._zeros),
            ("GP222", self._undefined),
            ("GP225", self._needed),
            ("GP226", self._accumulation),
            ("GP227", self._shapes),
        ):
            if id in self._ids and not self._has("GP220"):  # (Nothing can be compared with what is random.)
                with self._context(), contextlib.suppress(_FailedError):
                    hold()
        return self._found

    def _has(self, *ids: str) -> bool:
        return any(one.id in ids for one in self._found)

    def _note(self, *findings: Finding) -> None:
        self._found += findings

    # ------------------------------------------------------------------------------------------- calls and comparison

    def _pull(self, recording: Recording, cotangents: Sequence[Any], **options: Any) -> Pulled:
        self.calls += 1
        return recording.pull(cotangents, **options)

    def _run(self, cotangents: Sequence[Any], **options: Any) -> Pulled:
        """A backward over a graph of its own."""
        return self._pull(self._record(), cotangents, **options)

    def _record(self, **options: Any) -> Recording:
        with _failures():
            return self._subject.record(**options)

    def _base(self, shared: str = "") -> tuple[list[Any], Pulled]:
        """Cotangents and what a plain backward gives for them."""
        if shared not in self._bases:
            with _failures():
                cotangents = self._subject.cotangents(shared)
                self._bases[shared] = cotangents, self._run(cotangents)
        return self._bases[shared]

    def _apart(self, one: Sequence[Array | None], other: Sequence[Array | None], factor: float = 1) -> Apart | None:
        """Where gradients are not equal: only then is it measured by how much they may differ."""
        subject = self._subject
        rough = Allowance(eps=subject.eps, terms=subject.entries)
        if _contracts.apart(one, other, rough) is None:
            return None
        if self._exact is None:
            self._exact = self._measured()
        exact = dataclasses.replace(
            self._exact,
            noise=[factor * noise for noise in self._exact.noise],
            sizes=[factor * size for size in self._exact.sizes],
        )
        return _contracts.apart(one, other, exact)

    def _values_apart(self, one: Sequence[Array], other: Sequence[Array]) -> bool:
        rough = Allowance(eps=self._subject.eps, terms=self._subject.entries)
        if _contracts.apart(one, other, rough) is None:
            return False
        noise = [0.0] * len(one)
        plain = self._record().values
        for draw in range(DRAWS):
            rounded = self._record(rounding=1 + draw).values
            noise = [max(size, _contracts.largest_difference(*pair)) for size, *pair in zip(noise, plain, rounded)]  # noqa: B905
        eps = self._subject.coarsest(self._base()[0])
        return _contracts.apart(one, other, dataclasses.replace(rough, eps=eps, noise=noise)) is not None

    def _measured(self) -> Allowance:
        """How precise equal calls are, how large the terms of the sums, and in which precision they are summed."""
        subject = self._subject
        cotangents, base = self._base()
        recording = self._record()
        self._pull(recording, cotangents)
        # (Over one graph, where random numbers go on. What fails there has a contract of its own.)
        again, _ = self._try(lambda: self._pull(recording, cotangents))
        again = self._run(cotangents) if again is None else again
        noise = [_contracts.largest_difference(a, b) for a, b in zip(base.gradients, again.gradients, strict=True)]
        sizes = [_contracts.largest(one) for one in base.gradients]
        for draw in range(DRAWS):
            mixed = self._run(subject.mixed(cotangents, draw)).gradients
            sizes = [max(size, _contracts.largest(one)) for size, one in zip(sizes, mixed, strict=True)]
            # (Sums of inputs that cancel, as in a variance, are as precise as the inputs are.)
            rounded = self._pull(self._record(rounding=1 + draw), cotangents).gradients
            noise = [
                max(size, _contracts.largest_difference(a, b))
                for size, a, b in zip(noise, base.gradients, rounded, strict=True)
            ]
        return Allowance(eps=subject.coarsest(cotangents), terms=subject.entries, noise=noise, sizes=sizes)

    def _try(self, call: Callable[[], Pulled]) -> tuple[Pulled | None, str]:
        """What a call gives, or what it has raised."""
        try:
            return call(), ""
        except Exception as error:
            if is_from_handler(error):
                raise
            return None, _first_line(error)

    # ------------------------------------------------------------------------------------------------- the contracts

    def _other_forms(self, base: Pulled) -> list[Finding]:
        if "GP224" not in self._ids:
            return []
        return _contracts.other_forms(
            self._accused, base.forms, self._subject.roots, PRECISION, self._subject.output_eps
        )

    def _form(self) -> None:
        self._note(*self._other_forms(self._base()[1]))

    def _cotangent(self) -> None:
        """Contiguous ones, and those that are not, of which a backward may have made a copy, or not."""
        cotangents, base = self._base()
        changed = list(base.changed)
        if not changed and self._subject.takes("sliced"):
            pulled, _ = self._try(lambda: self._run(cotangents, layout="sliced"))
            changed = [] if pulled is None else pulled.changed
        if changed:
            self._note(_contracts.cotangent_changed(self._accused, len(cotangents), changed[0]))

    def _saved(self) -> None:
        recording = self._record()
        saved = recording.saved()
        self._pull(recording, self._base()[0])
        changed = recording.changed(saved)
        if changed:
            self._note(_contracts.saved_changed(self._accused, changed))

    def _memory(self) -> None:
        """Entries that are finite in a plain call, and not where fresh memory holds nan."""
        cotangents, _ = self._base()
        plain: list[tuple[list[Array], Pulled]] = []
        for _ in range(CLEAN):
            # (Memory is used again: what was poisoned before would be nan still.)
            self._subject.wash()
            recording = self._record()
            self._subject.wash()
            plain.append((recording.values, self._pull(recording, cotangents)))

        def poisoned() -> tuple[list[Array], Pulled]:
            with self._subject.poisoned():
                recording = self._subject.record()
                return recording.values, self._pull(recording, cotangents)

        try:
            values, pulled = poisoned()
        except Exception as error:
            if is_from_handler(error):
                raise
            self._broken_memory(None, _first_line(error))
            return
        for own, gradients in ((True, values), (False, pulled.gradients)):
            for clean, base in plain:
                differs = _contracts.unwritten(clean if own else base.gradients, gradients)
                if differs is not None and not self._has("GP229"):
                    self._broken_memory(differs, "", is_value=own)

    def _broken_memory(self, differs: Apart | None, error: str, *, is_value: bool = False) -> None:
        self._note(_contracts.reads_uninitialised(self._accused, differs, error, is_value=is_value))
        # What memory holds by chance must not look like another broken contract.
        self._context = self._subject.poisoned
        self._bases.clear()
        self._exact = None

    def _values(self) -> None:
        cotangents, base = self._base()
        recording = self._record()
        self._pull(self._record(is_elsewhere=True), cotangents)
        pulled, error = self._try(lambda: self._pull(recording, cotangents))
        differs = None if pulled is None else self._apart(base.gradients, pulled.gradients)
        if pulled is None or differs is not None:
            self._note(_contracts.last_values(self._accused, differs, error))

    def _twice(self) -> None:
        if self._has("GP218", "GP219"):
            return  # (It would be said twice.)
        cotangents, _ = self._base()
        one, other = self._record(), self._record()
        noise = max(
            (
                _contracts.largest_difference(a, b) / (_contracts.largest(a) or 1)
                for a, b in zip(one.values, other.values, strict=True)
            ),
            default=0.0,
        )
        first = self._pull(one, cotangents)
        pulled, error = self._try(lambda: self._pull(one, cotangents))
        sizes = [_contracts.largest(gradient) for gradient in first.gradients]
        allowed = Allowance(
            eps=self._subject.coarsest(cotangents), terms=self._subject.entries, noise=[noise * size for size in sizes]
        )
        differs = None if pulled is None else _contracts.apart(first.gradients, pulled.gradients, allowed)
        if pulled is None or differs is not None:
            self._note(_contracts.not_the_same_twice(self._accused, differs, error))

    def _cotangent_layouts(self) -> None:
        subject = self._subject
        broken: list[str] = []
        first: tuple[Apart | None, str] | None = None
        for layout in subject.layouts:
            if not subject.takes(layout):
                continue
            cotangents, base = self._base(layout if subject.holds_other_values(layout) else "")
            pulled, error = self._try(lambda: self._run(cotangents, layout=layout))  # noqa: B023
            if pulled is None and self._has("GP218"):
                continue  # (Memory that entries share cannot be written into.)
            differs = None if pulled is None else self._apart(base.gradients, pulled.gradients)
            if pulled is None or differs is not None:
                broken.append(layout)
                first = first if first is not None and first[0] is not None else (differs, error)
        if first is not None:
            self._note(_contracts.cotangent_layout(self._accused, broken, *first, fix=COTANGENT_FIX))

    def _input_layouts(self) -> None:
        subject = self._subject
        broken: list[str] = []
        first: tuple[Apart | None, str] = None, ""
        is_value = True
        for layout in subject.layouts:
            if not subject.takes(layout, inputs=True):
                continue
            cotangents = self._base()[0]
            try:
                plain = self._record(layout=layout, is_compact=True)
                other = self._record(layout=layout)
            except _FailedError:
                continue  # f refuses it, which nobody can overlook
            differs, error, is_broken = None, "", self._values_apart(plain.values, other.values)
            if is_broken and subject.draws():
                continue  # (In the order of its memory, as `torch.rand_like` does.)
            if not is_broken:
                expected, _ = self._try(lambda: self._pull(plain, cotangents))  # noqa: B023
                pulled, error = self._try(lambda: self._pull(other, cotangents))  # noqa: B023
                if expected is None or (pulled is None and self._has("GP218", "GP219")):
                    continue
                differs = None if pulled is None else self._apart(expected.gradients, pulled.gradients)
                is_broken = pulled is None or differs is not None
                is_value = is_value and not is_broken
            if is_broken:
                broken.append(layout)
                first = first if first[0] is not None else (differs, error)
        if broken:
            self._note(_contracts.input_layout(self._accused, broken, *first, is_value=is_value, fix=INPUT_FIX))

    def _zeros(self) -> None:
        pulled, _ = self._try(lambda: self._run(self._subject.zeros()))
        if pulled is None:
            return
        # Where the gradient itself is not finite, 0 times that is nan.
        finite = [
            None if one is None or base is None else np.where(np.isfinite(base), one, 0)
            for one, base in zip(pulled.gradients, self._base()[1].gradients, strict=True)
        ]
        nothing = [None if one is None else np.zeros_like(one) for one in finite]
        differs = _contracts.apart(nothing, finite, Allowance(eps=0.0, terms=0))
        if differs is not None:
            self._note(_contracts.not_zero(self._accused, differs))

    def _undefined(self) -> None:
        if self._has("GP221"):
            return  # (A gradient that zeros leave as it is is none for undefined cotangents either: said once.)
        drawn, zeros = self._subject.cotangents(), self._subject.zeros()
        count = len(drawn)
        for hidden in [set(range(count)), *([{i} for i in range(count)] if count > 1 else [])]:
            which = "the cotangents are" if len(hidden) == count else f"the cotangent of output {min(hidden)} is"
            given = [zeros[i] if i in hidden else u for i, u in enumerate(drawn)]
            expected = self._run(given)
            pulled, error = self._try(lambda: self._run(given, hidden=hidden))  # noqa: B023
            differs = None if pulled is None else self._apart(expected.gradients, pulled.gradients)
            if pulled is None or differs is not None:
                words = which if pulled is None else which.removesuffix(" are").removesuffix(" is")
                self._note(_contracts.undefined_refused(self._accused, words, differs, error))
                return

    def _needed(self) -> None:
        cotangents, base = self._base()
        names = self._subject.names
        for i in range(min(len(names), ALONE)) if len(names) > 1 else ():
            expected = [base.gradients[i]]
            for call in (
                lambda: self._run(cotangents, only=[i]),  # noqa: B023
                lambda: self._pull(self._record(needed={i}), cotangents),  # noqa: B023
            ):
                pulled, error = self._try(call)
                differs = None if pulled is None else self._apart_one(i, expected, pulled.gradients)
                if pulled is None or differs is not None:
                    self._note(_contracts.depends_on_needs(self._accused, names[i], differs, error))
                    return

    def _apart_one(self, i: int, one: Sequence[Array | None], other: Sequence[Array | None]) -> Apart | None:
        """The same for gradient i alone."""
        rest: list[Array | None] = [None] * len(self._subject.names)
        whole = [[*rest[:i], gradients[0], *rest[i + 1 :]] for gradients in (one, other)]
        return self._apart(whole[0], whole[1])

    def _accumulation(self) -> None:
        if self._has("GP218", "GP219", "GP220"):
            return
        cotangents, base = self._base()
        self._run(self._subject.cotangents(draw=1))
        later = self._later(base)
        differs = self._apart(base.gradients, later)
        if differs is not None:
            self._note(_contracts.earlier_changed(self._accused, differs))
            return
        recording = self._record()
        self.calls += TIMES
        try:
            found = recording.accumulated(cotangents, TIMES)
        except Exception as error:
            if is_from_handler(error):
                raise
            self._note(_contracts.not_added(self._accused, TIMES, None, _first_line(error)))
            return
        summed = [None if one is None else TIMES * one for one in base.gradients]
        differs = self._apart(summed, found, TIMES)
        if differs is not None:
            self._note(_contracts.not_added(self._accused, TIMES, differs, ""))

    def _later(self, base: Pulled) -> list[Array | None]:
        """What gradients hold now that were returned earlier."""
        return [None if one is None else self._subject.read(one) for one in base.returned]

    def _shapes(self) -> None:
        cotangents, base = self._base()
        proved = self._judge(self._subject.function)
        if proved is None or proved.verdict is not Verdict.CORRECT:
            return  # (It is wrong at the point, or cannot be judged.)
        for _, other in zip(range(SHAPES), self._subject.others(), strict=False):
            shapes = " and ".join(str(shape) for shape in other.shapes)
            pulled, error = self._try(lambda: other.record().pull(other.cotangents()))  # noqa: B023
            self.calls += 1
            proved = None if pulled is None else self._judge(other.function)
            errors = [] if proved is None else [one for one in proved.findings if one.severity is Severity.ERROR]
            if pulled is None or (errors and proved is not None and proved.verdict is Verdict.WRONG):
                why = f"{errors[0].kind} ({errors[0].path})" if errors else error
                self._note(_contracts.wrong_elsewhere(self._accused, shapes, why))
                return
            again, error = self._try(lambda: self._run(cotangents))
            differs = None if again is None else self._apart(base.gradients, again.gradients)
            if again is None or differs is not None:
                self._note(_contracts.wrong_afterwards(self._accused, shapes, differs, error))
                return


@contextlib.contextmanager
def _failures() -> Generator[None]:
    """What f or its backward raises here keeps a contract from being held, and is no breach of it."""
    try:
        yield
    except Exception as error:
        if is_from_handler(error):
            raise
        raise _FailedError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
