"""What a framework's own autodiff claims about f, mode by mode: each is proved against differences.

First order: reverse mode against differences of f; forward mode, and reverse mode batched (vmap) or compiled, by
identities with it where they hold (`_identities`), and against differences where they do not, so that the one that is
wrong is named. Second order, "outer-inner": the derivative in the inner mode, as a function of the point and of its
cotangent or tangent, is differentiated in the outer mode and proved against differences of that function; so nothing is
taken on trust but the inner mode, which has been proved before.
"""

from __future__ import annotations

import dataclasses
import functools as ft
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from gradproof import _contracts, _progress, _prove
from gradproof._base._away import BudgetSpent, is_from_handler
from gradproof._base._errors import ClaimError, FunctionError, GradproofError, UsageError
from gradproof._claims._around import Surroundings
from gradproof._claims._autocast import Off, as_run
from gradproof._claims._autodiff import Autodiff, Function
from gradproof._claims._consequences import advised, explained
from gradproof._claims._gradient import prove_gradient, spent
from gradproof._claims._held import with_contracts
from gradproof._claims._hold import hold_all
from gradproof._claims._identities import adopt_by_adjoint, adopt_by_equality
from gradproof._claims._many import prove_many
from gradproof._claims._parts import wrong_parts
from gradproof._claims._products import EVERYTHING, prove_vjp
from gradproof._claims._proved import Proved
from gradproof._claims._result import Result, find_refusals
from gradproof._claims._rounded import alone, as_rounded, is_better, is_doubtful, least_error, may_be_rounding, note_of
from gradproof._claims._tangents import prove_jvp
from gradproof._claims._task import Task
from gradproof._function._bounds import extended
from gradproof._function._primal import Primal, Together, raised
from gradproof._report import Finding, ModeResult, Severity, Verdict

FIRST = ("rev", "fwd", "vmap", "compile")
REVERSE = ("rev", "vmap", "compile")
# Compilation takes seconds: only when asked for.
BY_DEFAULT = ("rev", "fwd", "vmap")
# Outputs from which on a vjp is held against a few combinations of them only.
MANY = 1024
NOT_AVAILABLE = "not available: "
# Characters of the reason why a mode is not available.
REASON = 200
SECOND = ("rev-rev", "fwd-rev", "rev-fwd", "fwd-fwd")
# In place of names: all of those, as far as the framework has them.
AVAILABLE = "available"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModesResult:
    """One check of several modes."""

    result: Result
    modes: tuple[ModeResult, ...]

    def after(self, other: ModesResult) -> ModesResult:
        """The same with the cost of another one, which came before."""
        result, before = self.result, other.result
        cost = {name: getattr(result, name) + getattr(before, name) for name in ("evaluations", "calls", "claim_calls")}
        return dataclasses.replace(self, result=dataclasses.replace(result, **cost))


def asked_modes(modes: Sequence[str] | None, order: int) -> tuple[tuple[str, ...], bool]:
    """Return the modes to check, and whether the user has named them.

    Raises
    ------
    UsageError
        If there is no such mode or order.
    """
    if order not in (1, 2):
        raise UsageError(f"`order` must be 1 or 2, got {order!r}.")
    if modes is None or modes == AVAILABLE:
        return BY_DEFAULT + (SECOND if order == 2 else ()), False
    if isinstance(modes, str) or not all(mode in FIRST + SECOND for mode in modes) or not modes:
        names = ", ".join(FIRST + SECOND)
        unknown = [] if isinstance(modes, str) else [mode for mode in modes if mode not in FIRST + SECOND]
        about = f"; there is no mode {unknown[0]!r}" if unknown else ""
        if modes in FIRST + SECOND:
            about = f": pass `modes=({modes!r},)`"
        raise UsageError(f"`modes` must be a tuple of names among {names}, or {AVAILABLE!r}, got {modes!r}{about}.")
    named = [mode for mode in FIRST if mode in modes]
    second = [mode for mode in SECOND if mode in modes]
    if order == 2 and not second:
        second = [mode for mode in SECOND if all(part in named for part in mode.split("-"))]
    return (*named, *second), True


def prove_modes(
    autodiff: Autodiff,
    *,
    name: str,
    modes: Sequence[str] | None,
    order: int,
    options: _prove.Options,
    surroundings: Surroundings,
    reproducer: str,
    contracts: str | Sequence[str] = "none",
    held_apart: Collection[str] = (),
) -> ModesResult:
    """Prove or refute what a framework says about a function in several modes, and hold it to the contracts.

    The domain in `surroundings` is one array by array. Where a contract is broken, the proofs are about the formula:
    the rule is kept from what breaks the contract meanwhile, as far as that can be done.

    Raises
    ------
    UsageError
        If a mode that the user has named does not exist for this function.
    ClaimError
        If a mode that the user has named fails, or no mode is available.
    """
    wanted, is_named = asked_modes(modes, order)
    kind = autodiff.framework if set(wanted).intersection(REVERSE) else "fwd"
    ids = _contracts.chosen(contracts, (kind,)) - {*held_apart}

    def judge(function: Function) -> Proved | None:
        try:
            return _Asked(function, "rev", name, options, Surroundings(), "").prove()[1]
        except GradproofError:
            return None  # it cannot be run by itself

    prove = ft.partial(
        _prove_modes,
        autodiff,
        name=name,
        wanted=wanted,
        is_named=is_named,
        options=options,
        surroundings=surroundings,
        reproducer=reproducer,
    )
    if kind == "fwd" or not ids - {"GP213"}:
        return prove()
    proved, failed = None, None
    try:
        proved = prove()
    except ClaimError as error:
        failed = error
    held = hold_all(autodiff, ids, judge, options.seed, is_default=contracts == "default")
    if proved is None or (held.is_guarded and proved.result.verdict is not Verdict.CORRECT):
        if failed is not None and not held.broken:
            raise failed
        # What is left to prove is the formula.
        with held.guarded():
            again = prove()
        proved = again if proved is None else again.after(proved)
    if autodiff.refusal and "GP222" in ids and not held.has("GP222"):
        held.findings.append(_contracts.undefined_refused(held.accused(name), "a cotangent is", None, autodiff.refusal))
    return dataclasses.replace(proved, result=with_contracts(proved.result, held))


def _prove_modes(
    autodiff: Autodiff,
    *,
    name: str,
    wanted: Sequence[str],
    is_named: bool,
    options: _prove.Options,
    surroundings: Surroundings,
    reproducer: str,
) -> ModesResult:
    """Prove or refute modes one after the other."""
    if surroundings.reference is not None:
        if not any(mode in FIRST for mode in wanted):
            raise UsageError(
                "`reference` does nothing for second-order modes, whose references are differences of first-order "
                "ones: leave it out, or name a first-order mode as well."
            )
        surroundings = dataclasses.replace(surroundings, reference=autodiff.trusted(surroundings.reference))
    autodiff.bounds = surroundings.domain
    options = dataclasses.replace(options, claim_eps=autodiff.claim_eps)
    proving = _Modes(autodiff, name, options, surroundings, reproducer, is_named=is_named)
    for mode in wanted:
        _progress.current().look(mode=mode)
        proving.prove(mode)
    return proving.result()


class _Modes:
    """The modes of one function that have been looked at so far, and what they came to."""

    def __init__(
        self,
        autodiff: Autodiff,
        name: str,
        options: _prove.Options,
        surroundings: Surroundings,
        reproducer: str,
        *,
        is_named: bool,
    ) -> None:
        self._autodiff, self._name, self._options = autodiff, name, options
        self._surroundings, self._reproducer, self._is_named = surroundings, reproducer, is_named
        self._results: list[ModeResult] = []
        self._proofs: list[Proved] = []
        self._primals: list[Primal] = []
        # Those of the function itself, whose derivatives the others are.
        self._firsts: list[Primal] = []
        self._proved_in_reverse: dict[str, tuple[Function, Proved]] = {}
        # Those of the copy, and what is said of modes that it was proved for.
        self._beside: list[Primal] = []
        self._notes: dict[str, str] = {}
        self._offs: dict[str, Sequence[Off]] = {}
        self._calls = 0

    def prove(self, mode: str) -> None:
        """Prove or refute one more mode, unless its inner one is not right."""
        inner = mode.partition("-")[2]
        before = next((one for one in self._results if one.mode == inner and one.verdict is not Verdict.CORRECT), None)
        if before is not None and before.verdict in (None, Verdict.WRONG):
            self._results.append(ModeResult(mode=mode, note=f"not checked: {inner} is {before.verdict_text}"))
            return
        autodiff = self._autodiff
        try:
            function, primal, proved = self._proved(mode)
        except (autodiff.not_available, ClaimError, FunctionError) as error:
            self._refused(mode, error)
            return
        self._calls += proved.claim_calls
        if proved.suggestion is not None:
            values = [*proved.suggestion[: autodiff.function.count], *proved.suggestion[function.count :]]
            proved = dataclasses.replace(proved, suggestion=autodiff.argument(values))
        if mode in REVERSE:
            proved = as_run(proved, autodiff.offs, self._options.max_bound)
        self._proofs.append(dataclasses.replace(proved, label="" if mode == "rev" else mode))
        self._primals.append(primal)
        self._firsts += [] if inner else [primal]
        left_out = autodiff.function.left_out
        note = f"without {', '.join(left_out)}: no derivative, as the framework marks it" if left_out else ""
        note = self._notes.get(mode) or autodiff.note or note
        self._results.append(ModeResult(mode=mode, verdict=proved.verdict, note=note))

    def _proved(self, mode: str) -> tuple[Function, Primal, Proved]:
        """The function that a mode differentiates, and what came of it."""
        outer, _, inner = mode.partition("-")
        known: Proved | None = None
        if inner in self._proved_in_reverse:
            function, known = self._proved_in_reverse[inner]
        else:
            function = self._derivative(inner) if inner else self._autodiff.function
        # Beyond an edge that the function has shown, its derivative is not defined either.
        edged = next((one for one in self._firsts if one.has_edge), None) if inner else None
        around = Surroundings(
            domain=extended(self._surroundings.domain, function.count),
            # It knows f, not its derivative.
            reference=None if inner else self._surroundings.reference,
        )
        asked = _Asked(function, outer, self._name, self._options, around, self._reproducer, edged)
        try:
            primal, proved = (None if known is None else asked.adopt(known)) or asked.prove()
            if proved.verdict is not Verdict.CORRECT and not inner:
                proved = self._without_rounding(asked, proved)
        except BudgetSpent:
            primal, proved = asked.left()
        if outer == "rev":
            self._proved_in_reverse[inner] = function, proved
        return function, primal, proved

    def _derivative(self, inner: str) -> Function:
        """The derivative in a mode that has been proved, as a function: it is called at the point once more."""
        try:
            return self._autodiff.derivative(inner, self._options.seed)
        except (self._autodiff.not_available, GradproofError):
            raise
        except Exception as error:
            if is_from_handler(error):
                raise
            raise ClaimError(raised(f"the derivative of `{self._name}`", error, "at the point")) from error

    def _without_rounding(self, asked: _Asked, proved: Proved) -> Proved:
        """What is said of a derivative that may differ from f's by rounding alone; the same where it does not."""
        copied, mode = self._autodiff.copied, asked.mode
        if copied is None or not is_doubtful(proved):
            return proved
        kind = "fwd" if mode == "fwd" else "rev"
        if not self._offs.get(kind):  # (There are none where they would not have mattered.)
            self._offs[kind] = self._autodiff.rounding(mode, least_error(proved))
        offs = self._offs[kind]
        if not may_be_rounding(proved, offs):
            return proved
        try:
            primal, again = dataclasses.replace(asked, function=copied, options=alone(self._options)).prove()
        except GradproofError:
            return proved  # the copy cannot be differentiated
        self._beside.append(primal)
        again = dataclasses.replace(again, claim_calls=again.claim_calls + proved.claim_calls)
        # (A rule that somebody has written could be written so that less is rounded: that is no excuse for it.)
        has_no_excuse = again.verdict is not Verdict.WRONG and self._autodiff.has_rules
        if has_no_excuse or not is_better(again, proved, offs):
            return dataclasses.replace(proved, claim_calls=again.claim_calls)
        self._notes[mode] = note_of(offs)
        return again if again.verdict is Verdict.WRONG else as_rounded(again, offs, self._options.max_bound)

    def _refused(self, mode: str, error: Exception) -> None:
        """Note that a mode does not exist, or raise where the user has asked for it."""
        not_available = self._autodiff.not_available
        refusal = error if isinstance(error, not_available) or error.__cause__ is None else error.__cause__
        is_refused = isinstance(refusal, not_available)
        if self._is_named and is_refused:
            why = _in_short(refusal).rstrip(".")
            raise UsageError(
                f"mode {mode!r} does not exist for this function: {why}. Leave it out of `modes`, "
                f"or pass modes={AVAILABLE!r} for those that exist."
            ) from refusal
        if not is_refused and (self._is_named or mode == "rev"):
            raise error
        # (Most backward passes written by hand do not run under vmap; what fails costs the others nothing.)
        self._results.append(ModeResult(mode=mode, note=f"{NOT_AVAILABLE}{_in_short(refusal)}"))

    def result(self) -> ModesResult:
        """All modes together, and which part of the function makes them wrong."""
        if not self._proofs:
            raise ClaimError(f"no mode is available ({self._why_none()}).")
        autodiff, proofs, primals = self._autodiff, self._proofs, self._primals
        domain, named = self._surroundings.domain, dict[str, tuple[Any, Any]]()
        if domain is not None:
            named = dict(zip(autodiff.function.names, zip(*domain, strict=True), strict=False))
        refuter = Refuter(self._name, self._options, len(primals[0].point), named)
        reverse = next((proof for proof in proofs if not proof.label), None)
        verdicts = {} if reverse is None else {leaf.path: leaf.verdict for leaf in reverse.leaves}
        seen = autodiff.findings(verdicts)
        causes, proofs = _find_causes(autodiff, proofs, refuter)
        beside = [*causes, *seen]
        if reverse is not None:
            about = {one.path for one in beside if one.id == "GP121"}
            index = next(i for i, proof in enumerate(proofs) if not proof.label)
            kept = tuple(one for one in proofs[index].findings if not (one.path in about and one.factor == 0))
            proofs[index] = dataclasses.replace(proofs[index], findings=kept)
        for primal, proof in zip(primals, proofs, strict=True):
            beside += find_refusals(proof.verdict, primal)
        result = Result(
            primal=primals[0],
            reproducer=self._reproducer,
            proofs=tuple(proofs),
            evaluations=sum(one.evaluations for one in (*primals, *self._beside)) + refuter.evaluations,
            calls=sum(one.calls for one in (*primals, *self._beside)) + refuter.calls,
            claim_calls=self._calls,
            beside=tuple(beside),
        )
        return ModesResult(result=result, modes=tuple(self._results))

    def _why_none(self) -> str:
        by_reason: dict[str, list[str]] = {}
        for one in self._results:
            by_reason.setdefault(one.note.removeprefix(NOT_AVAILABLE), []).append(one.mode)
        return "; ".join(f"{', '.join(modes)}: {reason}" for reason, modes in by_reason.items())


def _find_causes(autodiff: Autodiff, proofs: list[Proved], refuter: Refuter) -> tuple[list[Finding], list[Proved]]:
    """Search f for the parts that are wrong, and say of what these explain no more than that."""
    wrong = {proof.label or "rev" for proof in proofs if proof.verdict is Verdict.WRONG} & {*FIRST}
    whole = autodiff.whole() if wrong else None
    if whole is None:
        return [], proofs
    if whole.only_rule:
        return [], advised(proofs, whole.only_rule)
    is_right_in_reverse = "rev" not in wrong and any(not proof.label for proof in proofs)
    findings: list[Finding] = []
    for modes in (REVERSE, ("fwd",)):
        affected = wrong.intersection(modes)
        if not affected:
            continue
        asked = next(mode for mode in modes if mode in affected)
        if asked == "compile":
            if is_right_in_reverse:
                continue  # no part is wrong by itself, but what the compiler has made of it
            asked = "rev"
        causes = wrong_parts(whole, ft.partial(refuter.refute, mode=asked), asked)
        if causes and whole.is_one_rule_for_all_modes:
            affected, wrong = wrong, set[str]()
        follows, proofs = explained(causes, proofs, affected)
        findings += [*(cause.finding for cause in causes), *follows]
    return findings, proofs


def _in_short(error: BaseException) -> str:
    """The first line of what was raised, cut where it is long."""
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line if len(line) <= REASON else line[: REASON - 3] + "..."


def together(function: Function) -> Together | None:
    """How a function can be evaluated at many points at once, if it offers that."""
    many: Callable[[Sequence[Any]], Any] | None = getattr(function, "many", None)
    return None if many is None else Together(lambda *arguments: many(arguments[: function.count]))


class Refuter:
    """Proves derivatives of scalar functions wrong, one after the other, as long as evaluations are left.

    Parameters
    ----------
    name : str
    options : Options
    n : int
        Entries of the function that these are parts of: together they take no more than it may take itself.
    bounds : mapping of str to tuple
        Those of its arrays, which parts that have them (`of_whole`) keep as well.

    Attributes
    ----------
    evaluations, calls : int
        Taken so far, as in a `Primal`.
    """

    def __init__(
        self, name: str, options: _prove.Options, n: int, bounds: Mapping[str, tuple[Any, Any]] | None = None
    ) -> None:
        self._name, self._options, self._bounds = name, options, bounds or {}
        self._allowed = options.allowance(n)
        self.evaluations = self.calls = 0

    def refute(self, function: Function, mode: str) -> Finding | None:
        """Return the first error of a function in a mode; None if there is none, or it could not be found."""
        if self.evaluations >= self._allowed:
            return None
        try:
            around = Surroundings(domain=self._domain(function))
            primal, proved = _Asked(function, mode, self._name, self._options, around, "").prove()
        except GradproofError:
            return None  # it cannot be run by itself, which is no evidence against it
        self.evaluations += primal.evaluations
        self.calls += primal.calls
        return next((one for one in proved.findings if one.severity is Severity.ERROR), None)

    def _domain(self, function: Function) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
        """What a part keeps of the domain of the whole."""
        shared: frozenset[str] = getattr(function, "of_whole", frozenset())
        if shared.isdisjoint(self._bounds):
            return None
        names = function.names[: function.count]
        pairs = [self._bounds.get(name, (None, None)) if name in shared else (None, None) for name in names]
        return tuple(lower for lower, _ in pairs), tuple(upper for _, upper in pairs)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """One mode of one function."""

    function: Function
    mode: str
    name: str
    options: _prove.Options
    surroundings: Surroundings
    reproducer: str
    # What the function is the derivative of, where that is undefined somewhere beside the point.
    base: Primal | None = None

    def adopt(self, known: Proved) -> tuple[Primal, Proved] | None:
        """Prove the mode by an identity with reverse mode, which has been proved; None where that is not enough."""
        function = self.function
        primal = self._primal(is_vector=True)
        if self.mode == "fwd":
            proved = adopt_by_adjoint(primal, known, function.vjp, function.jvp, self.options)
        else:
            proved = adopt_by_equality(primal, known, function.vjp, self._together, self.options)
        return None if proved is None else (primal, proved)

    def prove(self) -> tuple[Primal, Proved]:
        """Prove or refute the mode against differences."""
        function = self.function
        is_vector = self.mode == "fwd" or not function.is_scalar
        primal = self._primal(is_vector=is_vector)
        around = self.surroundings.of(primal)
        task = Task(primal=primal, options=self.options, around=around, values={}, reproducer=self.reproducer)
        if self.mode == "fwd":
            return primal, prove_jvp(task, function.jvp)
        vjp = function.vjp if self.mode == "rev" else self._vjp
        m, n = primal.outputs.size if is_vector else 1, len(primal.point)
        by_entry = self.options.level == "entries" and m * n <= EVERYTHING
        if m > MANY and not by_entry and np.isfinite(primal.output_values()).all():
            return primal, prove_many(primal, vjp, self.options, around, self.reproducer)
        if is_vector:
            return primal, prove_vjp(task, vjp, getattr(function, "rows", None) if self.mode == "rev" else None)
        proved = prove_gradient(
            primal,
            ft.partial(vjp, 1.0),
            is_value=False,
            keyword="grad",
            options=self.options,
            around=around,
            reproducer=self.reproducer,
            pulled=vjp,
        )
        return primal, proved

    def left(self) -> tuple[Primal, Proved]:
        """What is said of the mode where no evaluation was left."""
        primal = self._primal(is_vector=False)
        return primal, spent(primal, self.options)

    def _together(self, cotangents: Sequence[Any], arguments: Sequence[Any]) -> Sequence[Any]:
        """Several vjps at once, in a mode other than "rev"."""
        return self.function.vjps(self.mode, cotangents, *arguments)

    def _vjp(self, cotangent: Any, *arguments: Any) -> Any:
        """One of two equal vjps."""
        return self.function.vjps(self.mode, (cotangent, cotangent), *arguments)[0]

    def _primal(self, *, is_vector: bool) -> Primal:
        function = self.function
        primal = Primal(
            function.value if self.base is None else self._value_inside,
            function.arguments,
            tuple(range(function.count)),
            name=self.name,
            names=function.names,
            is_vector=is_vector,
            together=together(function) if self.base is None else None,
        )
        primal.short_name = self.name
        rule, is_rule, _ = self.name.partition(".apply")
        part = "jvp" if self.mode == "fwd" else "backward"
        primal.subject = f"the {part} of `{rule}`" if is_rule else f"the derivative of `{self.name}`"
        primal.allow(self.options.allowance(len(primal.point)))
        primal.stands_alone = True  # the framework evaluates f itself
        primal.terms = float(getattr(function, "terms", 0.0))
        return primal

    def _value_inside(self, *arguments: Any) -> Any:
        """The derivative, where the function itself is defined."""
        base, function = self.base, self.function
        assert base is not None
        if not base.is_defined(*arguments[: len(base.wrt)], *arguments[function.count :]):
            raise ArithmeticError("beyond an edge of the function")
        return function.value(*arguments)
