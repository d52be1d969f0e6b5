"""All cases of a kernel: which fail in the same way, where, and the smallest of each kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from gradproof._backends._torch_kernel import CONTIGUOUS
from gradproof._contracts._layouts import WORDS
from gradproof._kernels._outcome import Case, Outcome, State
from gradproof._kernels._patterns import shown, where
from gradproof._kernels._shrink import shrunk
from gradproof._kernels._sizes import Sizes, by_size, cases
from gradproof._kernels._trial import Earlier, Trial
from gradproof._progress import current
from gradproof._report import Finding, Severity

Key = tuple[str, str]
# Sizes that tell rules from each other.
_BETWEEN = tuple(3 * 2**k for k in range(1, 9))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is tried.

    Attributes
    ----------
    sizes : dict of str to tuple of int
    dtypes, devices : tuple of str or None
        None is what `make_inputs` makes.
    layouts : tuple of str
        Beside contiguous inputs.
    """

    sizes: Mapping[str, tuple[int, ...]]
    dtypes: tuple[str | None, ...]
    devices: tuple[str | None, ...]
    layouts: tuple[str, ...]

    def cases(self) -> list[Case]:
        """All cases, the smallest sizes first, contiguous inputs before others."""
        return [
            Case(sizes=sizes, dtype=dtype, device=device, layout=layout)
            for sizes in cases(self.sizes)
            for dtype in self.dtypes
            for device in self.devices
            for layout in (CONTIGUOUS, *self.layouts)
        ]

    def order(self, case: Case) -> tuple[object, ...]:
        """What orders cases: sizes, then as they are listed."""
        layout = self.layouts.index(case.layout) if case.layout in self.layouts else -1
        return by_size(case.sizes), self._place(self.dtypes, case.dtype), self._place(self.devices, case.device), layout

    @staticmethod
    def _place(listed: Sequence[str | None], one: str | None) -> int:
        return listed.index(one) if one in listed else len(listed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """One mistake.

    Attributes
    ----------
    findings : list of Finding
        Of the smallest case that shows it.
    outcome : Outcome
        That case.
    """

    findings: list[Finding]
    outcome: Outcome


class Study:
    """Runs all cases, and says what they have in common.

    Parameters
    ----------
    trial : Trial
    plan : Plan
    replay : callable
        ``replay(*cases) -> str``: the call that runs one case alone, or one after another.

    Attributes
    ----------
    remembered : list of Finding
        What the kernel remembers of other sizes.
    """

    def __init__(self, trial: Trial, plan: Plan, replay: Callable[..., str]) -> None:
        self.trial = trial
        self.plan = plan
        self.remembered: list[Finding] = []
        self._replay = replay

    def run(self) -> None:
        """Look at every case, and at two of them once more after all others."""
        planned = self.plan.cases()
        plain = [case for case in planned if case.layout == CONTIGUOUS and all(n > 0 for _, n in case.sizes)]
        again = {plain[0], plain[len(plain) // 2]} if plain else set[Case]()
        earlier: dict[Case, Earlier] = {}
        for number, case in enumerate(planned, 1):
            current().look(number=number, count=len(planned), place=self.shown(case))
            if self.trial.at(case).state is State.RIGHT and case in again:
                earlier[case] = self.trial.remembered(case)
        if len({case.sizes for case in planned}) == 1:
            return
        for case, before in earlier.items():
            found = self.trial.changed_since(case, before)
            if found is not None and not self.remembered:
                told = dataclasses.replace(found, reproducer=self._replay(case, plain[-1]))
                place = ", ".join(part for part in (found.place, f"at {self.shown(case)}") if part)
                self.remembered.append(dataclasses.replace(told, place=place))

    def failures(self) -> list[Failure]:
        """All mistakes, the one of the smallest case first."""
        found: list[Failure] = []
        every: list[Key] = [key for one in self.trial.outcomes.values() for key in one.faults]
        pending: list[Key] = list(dict.fromkeys(every))
        while pending:
            first = min(pending, key=lambda key: self.plan.order(self._smallest(key)))
            current().look(phase="locating", place="the smallest size that fails")
            case = self._smallest(first)
            if any(len(sizes) > 1 for sizes in self.plan.sizes.values()):
                case = self._shrink(first)
                self._settle(case)
            outcome = self.trial.at(case)
            # What fails in the same cases is one mistake with it, whatever else it is called.
            alike = [key for key in outcome.faults if key in pending and self._failing(key) == self._failing(first)]
            rest = [key for key in pending if key not in alike and self._is_part(key, first)]
            each = {id(one): (one, key) for key in reversed(alike) for one in outcome.faults[key]}
            others = "".join(f"; `{leaf}` as well{self._where((id, leaf)).replace(':', '', 1)}" for id, leaf in rest)
            told = [self._told(one, case, f"{self._where(key)}{others}") for one, key in reversed(each.values())]
            found.append(Failure(findings=told, outcome=outcome))
            pending = [key for key in pending if key not in (*alike, *rest)]
        return found

    def remarks(self, of: Callable[[Case, Outcome], str], id: str, severity: Severity) -> list[Finding]:
        """One finding for each thing that `of` says of cases, with where it holds."""
        said: dict[str, list[Case]] = {}
        for case, outcome in self.trial.outcomes.items():
            note = of(case, outcome)
            if note:
                said.setdefault(note, []).append(case)
        return [Finding(id=id, severity=severity, kind=f"{note}{self._at(held)}") for note, held in said.items()]

    def shown(self, case: Case) -> str:
        """A case in words: what of it was varied."""
        parts = [shown(case.sizes)]
        parts += [case.dtype] if case.dtype is not None else []
        parts += [case.device] if case.device is not None else []
        parts += [case.layout] if case.layout != CONTIGUOUS else []
        return ", ".join(parts)

    def _at(self, held: Sequence[Case]) -> str:
        mine = set(held)
        others = [case for case in self.trial.outcomes if case not in mine and case.layout == CONTIGUOUS]
        sizes = {case.sizes for case in held}
        if len({case.sizes for case in self.trial.outcomes}) == 1:
            return ""
        dtypes = self._alone("dtype", held, others)
        return f": {where(list(sizes), [case.sizes for case in others if case.sizes not in sizes])}{dtypes}"

    def _failing(self, key: Key) -> set[Case]:
        return {case for case, outcome in self.trial.outcomes.items() if key in outcome.faults}

    def _is_part(self, key: Key, of: Key) -> bool:
        """Whether a tensor fails in some of the cases of another, and is told together with it in one of them."""
        outcomes = [self.trial.at(case) for case in self._failing(key)]
        shared = any(one.faults.get(of) is one.faults[key] for one in outcomes)
        return shared and all(of in one.faults for one in outcomes)

    def _smallest(self, key: Key) -> Case:
        return min(self._failing(key), key=self.plan.order)

    def _shrink(self, key: Key) -> Case:
        first = self._smallest(key)

        def fails(sizes: Sizes) -> bool:
            return key in self.trial.at(dataclasses.replace(first, sizes=sizes)).faults

        return dataclasses.replace(first, sizes=shrunk(first.sizes, fails, self.plan.sizes))

    def _settle(self, case: Case) -> None:
        """Look at more sizes, so that a rule for where something fails is not a matter of those that were tried.

        Neighbours of powers of two are all odd, say: here are multiples of each power that are no powers themselves.
        """
        for axis, sizes in self.plan.sizes.items():
            for n in _BETWEEN:
                if n < max(sizes):
                    others = tuple((name, n if name == axis else m) for name, m in case.sizes)
                    self.trial.at(dataclasses.replace(case, sizes=others))

    def _told(self, finding: Finding, case: Case, held: str) -> Finding:
        place = ", ".join(part for part in (finding.place, f"at {self.shown(case)}") if part)
        kind = f"{finding.kind}{held}"
        return dataclasses.replace(finding, place=place, kind=kind, reproducer=self._replay(case))

    def _where(self, key: Key) -> str:
        """Where a mistake shows: sizes, then the dtypes, devices and layouts if it does not in all."""
        failing = self._failing(key)
        is_proof = any(self.trial.at(case).report is not None for case in failing)
        known = [
            case
            for case, outcome in self.trial.outcomes.items()
            if case not in failing
            and (outcome.state is State.RIGHT or (is_proof and outcome.report is not None and outcome.faults))
        ]
        layouts = {case.layout for case in failing}
        beside = [case for case in known if case.layout in layouts]
        alone = self._alone("dtype", failing, beside) + self._alone("device", failing, beside)
        dtypes, devices = {case.dtype for case in failing}, {case.device for case in failing}
        beside = [case for case in beside if case.dtype in dtypes and case.device in devices]
        sizes = {case.sizes for case in failing}
        right = [case.sizes for case in beside if case.sizes not in sizes]
        said = "" if len({case.sizes for case in self.trial.outcomes}) == 1 else f": {where(list(sizes), right)}"
        return f"{said}{alone}{self._layouts(layouts, known, failing)}"

    def _layouts(self, wrong: set[str], known: Iterable[Case], failing: Iterable[Case]) -> str:
        if CONTIGUOUS in wrong:
            return ""
        sizes = {case.sizes for case in failing}
        fine = {case.layout for case in known if case.sizes in sizes} - wrong - {CONTIGUOUS}
        listed = [name for name in WORDS if name in wrong]
        right = ", ".join(["contiguous", *(name for name in WORDS if name in fine)])
        return f"; wrong for {', '.join(listed)} inputs, right for {right} ones"

    def _alone(self, field: str, failing: Iterable[Case], right: Iterable[Case]) -> str:
        """In which dtypes or devices alone something fails; empty where it does in all that were tried."""
        asked = self.plan.dtypes if field == "dtype" else self.plan.devices
        wrong_in, right_in = ({getattr(case, field) for case in cases} for cases in (failing, right))
        wrong = [one for one in asked if one in wrong_in]
        fine = [one for one in asked if one in right_in - wrong_in]
        if not fine or not wrong:
            return ""
        return f", in {' and '.join(map(str, wrong))}, not in {' or '.join(map(str, fine))}"
