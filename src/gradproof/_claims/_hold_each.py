"""Hold to each contract by itself: what is compared with what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradproof import _contracts
from gradproof._backends import Array
from gradproof._base._away import is_from_handler
from gradproof._claims._bench import Bench, FailedError, first_line
from gradproof._claims._subjects import Pulled
from gradproof._contracts import Allowance, Apart
from gradproof._contracts._cotangent_layout import TORCH_FIX as COTANGENT_FIX
from gradproof._contracts._input_layout import TORCH_FIX as INPUT_FIX
from gradproof._report import Finding, Severity, Verdict

# Differentiated arrays that are asked for alone; other shapes that are tried; backwards that are added up.
ALONE, SHAPES, TIMES = 8, 3, 3
# Calls on fresh memory that is not poisoned.
CLEAN = 3
PRECISION = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def other_forms(bench: Bench, base: Pulled) -> list[Finding]:
    """What a rule has returned before the framework made it fit."""
    return _contracts.other_forms(bench.accused, base.forms, bench.subject.roots, PRECISION, bench.subject.output_eps)


def form(bench: Bench) -> None:
    """GP224."""
    bench.note(*other_forms(bench, bench.base()[1]))


def cotangent(bench: Bench) -> None:
    """GP218: contiguous ones, and those that are not, of which a backward may have made a copy, or not."""
    cotangents, base = bench.base()
    changed = list(base.changed)
    if not changed and bench.subject.takes("sliced"):
        pulled, _ = bench.attempt(lambda: bench.run(cotangents, layout="sliced"))
        changed = [] if pulled is None else pulled.changed
    if changed:
        bench.note(_contracts.cotangent_changed(bench.accused, len(cotangents), changed[0]))


def saved(bench: Bench) -> None:
    """GP219."""
    recording = bench.record()
    saved = recording.saved()
    bench.pull(recording, bench.base()[0])
    changed = recording.changed(saved)
    if changed:
        bench.note(_contracts.saved_changed(bench.accused, changed))


def memory(bench: Bench) -> None:
    """GP229: entries that are finite in a plain call, and not where fresh memory holds nan."""
    cotangents, _ = bench.base()
    plain: list[tuple[list[Array], Pulled]] = []
    for _ in range(CLEAN):
        # (Memory is used again: what was poisoned before would be nan still.)
        bench.subject.wash()
        recording = bench.record()
        bench.subject.wash()
        plain.append((recording.values, bench.pull(recording, cotangents)))

    def poisoned() -> tuple[list[Array], Pulled]:
        with bench.subject.poisoned():
            recording = bench.subject.record()
            return recording.values, bench.pull(recording, cotangents)

    found, error = bench.attempt(poisoned)
    if found is None:
        _broken_memory(bench, None, error)
        return
    values, pulled = found
    for own, gradients in ((True, values), (False, pulled.gradients)):
        for clean, base in plain:
            differs = _contracts.unwritten(clean if own else base.gradients, gradients)
            if differs is not None and not bench.has("GP229"):
                _broken_memory(bench, differs, "", is_value=own)


def _broken_memory(bench: Bench, differs: Apart | None, error: str, *, is_value: bool = False) -> None:
    bench.note(_contracts.reads_uninitialised(bench.accused, differs, error, is_value=is_value))
    bench.poison()


def values(bench: Bench) -> None:
    """GP228: a backward after one at other values."""
    cotangents, base = bench.base()
    recording = bench.record()
    bench.pull(bench.record(is_elsewhere=True), cotangents)
    pulled, error = bench.attempt(lambda: bench.pull(recording, cotangents))
    differs = None if pulled is None else bench.apart(base.gradients, pulled.gradients)
    if pulled is None or differs is not None:
        bench.note(_contracts.last_values(bench.accused, differs, error))


def twice(bench: Bench) -> None:
    """GP220: over one graph, and no more apart than values of f are."""
    if bench.has("GP218", "GP219"):
        return  # (It would be said twice.)
    cotangents, _ = bench.base()
    one, other = bench.record(), bench.record()
    noise = max(
        (
            _contracts.largest_difference(a, b) / (_contracts.largest(a) or 1)
            for a, b in zip(one.values, other.values, strict=True)
        ),
        default=0.0,
    )
    first = bench.pull(one, cotangents)
    pulled, error = bench.attempt(lambda: bench.pull(one, cotangents))
    sizes = [_contracts.largest(gradient) for gradient in first.gradients]
    allowed = Allowance(
        eps=bench.subject.coarsest(cotangents), terms=bench.subject.entries, noise=[noise * size for size in sizes]
    )
    differs = None if pulled is None else _contracts.apart(first.gradients, pulled.gradients, allowed)
    if pulled is None or differs is not None:
        bench.note(_contracts.not_the_same_twice(bench.accused, differs, error))


def cotangent_layouts(bench: Bench) -> None:
    """GP216."""
    subject = bench.subject
    broken: list[str] = []
    first: tuple[Apart | None, str] | None = None
    for layout in subject.layouts:
        if not subject.takes(layout):
            continue
        cotangents, base = bench.base(layout if subject.holds_other_values(layout) else "")
        pulled, error = bench.attempt(lambda: bench.run(cotangents, layout=layout))  # noqa: B023
        if pulled is None and bench.has("GP218"):
            continue  # (Memory that entries share cannot be written into.)
        differs = None if pulled is None else bench.apart(base.gradients, pulled.gradients)
        if pulled is None or differs is not None:
            broken.append(layout)
            first = first if first is not None and first[0] is not None else (differs, error)
    if first is not None:
        bench.note(_contracts.cotangent_layout(bench.accused, broken, *first, fix=COTANGENT_FIX))


def input_layouts(bench: Bench) -> None:
    """GP217: values and gradients beside those for contiguous inputs of the same values."""
    subject = bench.subject
    broken: list[str] = []
    first: tuple[Apart | None, str] = None, ""
    is_value = True
    for layout in subject.layouts:
        if not subject.takes(layout, inputs=True):
            continue
        cotangents = bench.base()[0]
        try:
            plain = bench.record(layout=layout, is_compact=True)
            other = bench.record(layout=layout)
        except FailedError:
            continue  # f refuses it, which nobody can overlook
        held = layout if subject.holds_other_values(layout) else ""
        differs, error, is_broken = None, "", bench.values_apart(plain.values, other.values, inputs=held)
        if is_broken and subject.draws():
            continue  # (In the order of its memory, as `torch.rand_like` does.)
        if not is_broken:
            expected, _ = bench.attempt(lambda: bench.pull(plain, cotangents))  # noqa: B023
            pulled, error = bench.attempt(lambda: bench.pull(other, cotangents))  # noqa: B023
            if expected is None or (pulled is None and bench.has("GP218", "GP219")):
                continue
            differs = None if pulled is None else bench.apart(expected.gradients, pulled.gradients, inputs=held)
            is_broken = pulled is None or differs is not None
            is_value = is_value and not is_broken
        if is_broken:
            broken.append(layout)
            first = first if first[0] is not None else (differs, error)
    if broken:
        bench.note(_contracts.input_layout(bench.accused, broken, *first, is_value=is_value, fix=INPUT_FIX))


def zeros(bench: Bench) -> None:
    """GP221."""
    pulled, _ = bench.attempt(lambda: bench.run(bench.subject.zeros()))
    if pulled is None:
        return
    # Where the gradient itself is not finite, 0 times that is nan.
    finite = [
        None if one is None or base is None else np.where(np.isfinite(base), one, 0)
        for one, base in zip(pulled.gradients, bench.base()[1].gradients, strict=True)
    ]
    nothing = [None if one is None else np.zeros_like(one) for one in finite]
    differs = _contracts.apart(nothing, finite, Allowance(eps=0.0, terms=0))
    if differs is not None:
        bench.note(_contracts.not_zero(bench.accused, differs))


def undefined(bench: Bench) -> None:
    """GP222: for all outputs, and for each by itself."""
    if bench.has("GP221"):
        return  # (A gradient that zeros leave as it is is none for undefined cotangents either: said once.)
    drawn, zeros = bench.subject.cotangents(), bench.subject.zeros()
    count = len(drawn)
    for hidden in [set(range(count)), *([{i} for i in range(count)] if count > 1 else [])]:
        which = "the cotangents are" if len(hidden) == count else f"the cotangent of output {min(hidden)} is"
        given = [zeros[i] if i in hidden else u for i, u in enumerate(drawn)]
        expected = bench.run(given)
        pulled, error = bench.attempt(lambda: bench.run(given, hidden=hidden))  # noqa: B023
        differs = None if pulled is None else bench.apart(expected.gradients, pulled.gradients)
        if pulled is None or differs is not None:
            words = which if pulled is None else which.removesuffix(" are").removesuffix(" is")
            bench.note(_contracts.undefined_refused(bench.accused, words, differs, error))
            return


def needed(bench: Bench) -> None:
    """GP225: over a graph of all, and over one that was made for it alone."""
    cotangents, base = bench.base()
    names = bench.subject.names
    for i in range(min(len(names), ALONE)) if len(names) > 1 else ():
        expected = [base.gradients[i]]
        for call in (
            lambda: bench.run(cotangents, only=[i]),  # noqa: B023
            lambda: bench.pull(bench.record(needed={i}), cotangents),  # noqa: B023
        ):
            pulled, error = bench.attempt(call)
            differs = None if pulled is None else _apart_one(bench, i, expected, pulled.gradients)
            if pulled is None or differs is not None:
                bench.note(_contracts.depends_on_needs(bench.accused, names[i], differs, error))
                return


def _apart_one(bench: Bench, i: int, one: Sequence[Array | None], other: Sequence[Array | None]) -> Apart | None:
    """The same for gradient i alone."""
    rest: list[Array | None] = [None] * len(bench.subject.names)
    whole = [[*rest[:i], gradients[0], *rest[i + 1 :]] for gradients in (one, other)]
    return bench.apart(whole[0], whole[1])


def accumulation(bench: Bench) -> None:
    """GP226."""
    if bench.has("GP218", "GP219", "GP220"):
        return
    cotangents, base = bench.base()
    bench.run(bench.subject.cotangents(draw=1))
    later = _later(bench, base)
    differs = bench.apart(base.gradients, later)
    if differs is not None:
        bench.note(_contracts.earlier_changed(bench.accused, differs))
        return
    recording = bench.record()
    bench.calls += TIMES
    found, error = bench.attempt(lambda: recording.accumulated(cotangents, TIMES))
    if found is None:
        bench.note(_contracts.not_added(bench.accused, TIMES, None, error))
        return
    summed = [None if one is None else TIMES * one for one in base.gradients]
    differs = bench.apart(summed, found, TIMES)
    if differs is not None:
        bench.note(_contracts.not_added(bench.accused, TIMES, differs, ""))


def _later(bench: Bench, base: Pulled) -> list[Array | None]:
    """What gradients hold now that were returned earlier."""
    return [None if one is None else bench.subject.read(one) for one in base.returned]


def shapes(bench: Bench) -> None:
    """GP227: other shapes are proved, and the point is looked at again after each."""
    cotangents, base = bench.base()
    proved = bench.judge(bench.subject.function)
    if proved is None or proved.verdict is not Verdict.CORRECT:
        return  # (It is wrong at the point, or cannot be judged.)
    for _, other in zip(range(SHAPES), bench.subject.others(), strict=False):
        shapes = " and ".join(str(shape) for shape in other.shapes)
        pulled, error = bench.attempt(lambda: other.record().pull(other.cotangents()))  # noqa: B023
        bench.calls += 1
        proved = None if pulled is None else bench.judge(other.function)
        errors = [] if proved is None else [one for one in proved.findings if one.severity is Severity.ERROR]
        if pulled is None or (errors and proved is not None and proved.verdict is Verdict.WRONG):
            why = f"{errors[0].kind} ({errors[0].path})" if errors else error
            bench.note(_contracts.wrong_elsewhere(bench.accused, shapes, why))
            return
        try:
            differs, error = bench.apart(base.gradients, bench.run(cotangents).gradients), ""
        except Exception as raised:
            if is_from_handler(raised):
                raise
            differs, error = None, first_line(raised)
        if error or differs is not None:
            bench.note(_contracts.wrong_afterwards(bench.accused, shapes, differs, error))
            return
