"""What is looked at array by array, and entry by entry, where random directions through all of them show too little.

They add up the noise of all entries, and meet the jumps and kinks that are next to any. An array whose derivative is
exactly zero may leave f as it is around the point, beside arrays that were tested; a small Jacobian is measured entry
by entry, as torch's slow mode does it.
"""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from gradproof._claims._autodiff import Function
from gradproof._claims._by_entry import Entries, measure_entries
from gradproof._claims._consequences import excused
from gradproof._report import LeafResult, ModeResult, Report, Verdict, worst
from gradproof.compat._torch_question import as_tuple
from gradproof.compat._torch_still import stands_still

# Entries of the inputs up to which each is measured alone where a certificate cannot be given, and of the Jacobian.
FEW, FEW_ENTRIES = 1000, 200_000
STILL_NOTE = "f keeps its value as this array moves, as its derivative of zero says"
ENTRIES_NOTE = "every entry was measured alone"
# Nothing is left open where these are said.
SETTLED = (Verdict.CORRECT, Verdict.NOT_DIFFERENTIABLE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Closer:
    """What a closer look has found.

    Attributes
    ----------
    report : Report
        As it is now.
    still : tuple of str
        Paths of the arrays around which f keeps its value.
    is_still : bool
        Whether these are all.
    """

    report: Report
    still: tuple[str, ...] = ()
    is_still: bool = False


def look_closer(report: Report, function: Function, *, seed: int, atol: float, rtol: float, terms: float) -> Closer:
    """Look at the arrays that a report leaves open, in each of its modes; of a WRONG one, at all of them.

    Parameters
    ----------
    report : Report
        WRONG or INCONCLUSIVE, over the arrays of `function`.
    function : Function
    seed : int
    atol, rtol : float
        A tolerance that the user has set, entry by entry; 0 where there is none.
    terms : float
        As for `stands_still`.
    """
    whose = [i for i, x in enumerate(function.arguments[: function.count]) for _ in range(2 if x.is_complex() else 1)]
    mended: dict[str, LeafResult] = {}
    still: list[str] = []
    is_still = True
    for mode in report.modes:
        if mode.verdict in SETTLED:
            is_still = False
            continue
        leaves = _leaves_of(report, mode)
        if len(leaves) != len(whose):
            return Closer(report=report)
        is_set = bool(atol or rtol) and mode.verdict is Verdict.WRONG
        left_open = sorted({i for i, leaf in zip(whose, leaves, strict=True) if leaf.verdict not in SETTLED})
        wanted = left_open if left_open and not is_set else list(range(function.count))
        quiet = [i for i in wanted if stands_still(function, _outer(mode), i, seed, terms)]
        is_still = is_still and len(quiet) == function.count
        rest = [i for i in wanted if i not in quiet]
        bounds: list[float] | None = []
        if rest:
            bounds = _bounds_by_entry(report, mode, function, rest, seed, (atol, rtol))
        if bounds is None:
            return Closer(report=report)
        for k, (i, leaf) in enumerate(zip(whose, leaves, strict=True)):
            if i in quiet:
                mended[leaf.path] = dataclasses.replace(leaf, verdict=Verdict.CORRECT, bound=None, note=STILL_NOTE)
                still.append(leaf.path)
            elif i in rest:
                correct = dataclasses.replace(leaf, verdict=Verdict.CORRECT, bound=bounds[k], note=ENTRIES_NOTE)
                mended[leaf.path] = correct
    if is_still:
        return Closer(report=report, still=tuple(still), is_still=True)
    return Closer(report=_mended(report, mended), still=tuple(still))


def _outer(mode: ModeResult) -> str:
    """The mode in which the derivative itself is asked for."""
    return mode.mode.partition("-")[0]


def _bounds_by_entry(
    report: Report, mode: ModeResult, function: Function, rest: list[int], seed: int, tolerance: tuple[float, float]
) -> list[float] | None:
    """Bounds of all arrays where some are measured entry by entry and are right; None where they are not."""
    holds = _tolerated(report, mode, function, rest, *tolerance)
    if holds is None:
        return None
    entries = measure_entries(function, _outer(mode), seed, rest)
    return entries.bounds() if entries is not None and holds(entries) else None


def _mended(report: Report, mended: dict[str, LeafResult]) -> Report:
    """Return a report with other results for some arrays."""
    leaves = tuple(mended.get(leaf.path, leaf) for leaf in report.leaves)
    modes = tuple(
        dataclasses.replace(one, verdict=worst(leaf.verdict for leaf in _leaves_of(report, one, leaves)))
        for one in report.modes
    )
    return dataclasses.replace(
        report,
        verdict=worst(leaf.verdict for leaf in leaves),
        reason=None,
        findings=excused(report.findings),
        modes=modes,
        leaves=leaves,
    )


def _tolerated(
    report: Report, mode: ModeResult, function: Function, rest: list[int], atol: float, rtol: float
) -> Callable[[Entries], bool] | None:
    """Whether entries as measured make a mode CORRECT; None where they are too many, or could not."""
    is_set = bool(atol or rtol)
    columns = sum(function.arguments[i].numel() for i in rest)
    rows = sum(one.numel() for one in as_tuple(function.value(*function.arguments)))
    is_few = report.verdict is Verdict.INCONCLUSIVE and columns <= FEW and rows * columns <= FEW_ENTRIES
    if not (is_set or is_few):
        return None

    def holds(entries: Entries) -> bool:
        return (is_set and entries.are_within(atol, rtol, _outer(mode))) or (
            is_few and entries.agree(report.rtol) and max(entries.bounds()) <= report.max_bound
        )

    return holds


def _leaves_of(report: Report, mode: ModeResult, leaves: tuple[LeafResult, ...] | None = None) -> list[LeafResult]:
    """The arrays of a mode, in order: those of reverse mode have no label."""
    labels = tuple(f" ({one.mode})" for one in report.modes if one.mode != "rev")
    listed = report.leaves if leaves is None else leaves
    if mode.mode == "rev":
        return [leaf for leaf in listed if not leaf.path.endswith(labels)]
    return [leaf for leaf in listed if leaf.path.endswith(f" ({mode.mode})")]
