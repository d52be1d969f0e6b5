"""Hold a backward to the contracts: run it under other conditions, and compare with what it gives under plain ones.

By default a few calls see whether any contract is broken; only then is each held by itself, to say which one. What is
broken is measured against the plain call, never against f: a gradient that is wrong throughout breaks none of these.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Generator
from typing import Any

import numpy as np

from gradproof import _contracts
from gradproof._base._away import is_from_handler
from gradproof._base._sources import definitions
from gradproof._claims import _hold_each as each
from gradproof._claims._bench import Bench, FailedError, failures
from gradproof._claims._subjects import Holds, Judge, Subject
from gradproof._contracts import Accused, Allowance
from gradproof._report import Finding

# Layouts that cotangents come in by default, beside the one that repeats entries.
USUAL = ("sliced",)
# Contracts whose breach a proof can be kept from.
GUARDED = ("GP216", "GP218", "GP219")
# In this order: what is found first explains what would be found after it.
_EACH = (
    ("GP224", each.form),
    ("GP218", each.cotangent),
    ("GP219", each.saved),
    ("GP229", each.memory),
    ("GP220", each.twice),
    ("GP228", each.values),
    ("GP216", each.cotangent_layouts),
    ("GP217", each.input_layouts),
    ("GP221", each.zeros),
    ("GP222", each.undefined),
    ("GP225", each.needed),
    ("GP226", each.accumulation),
    ("GP227", each.shapes),
)


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
        bench = Bench(subject, judge)
        findings = _quickly(bench, ids) if is_default else _thoroughly(bench, ids)
        sources = definitions(subject.owner)
        findings = [dataclasses.replace(one, sources=one.sources or sources) for one in findings]
        held.findings += findings
        held.calls += bench.calls
        held.broken += [(subject, findings[0])] if findings else []
    return held


def _quickly(bench: Bench, ids: Collection[str]) -> list[Finding]:
    """Look for what is broken in three backwards; hold contract by contract only where something is."""
    try:
        if bench.subject.is_scalar:
            # (A single number has one cotangent in a proof, and where nothing follows it is 1: whoever forgets it is
            # right there.)
            ids = {*ids, "GP221"}
        is_well = _is_well(bench, ids)
    except Exception as error:
        if is_from_handler(error):
            raise
        is_well = False
    return [] if is_well else _thoroughly(bench, ids)


def _is_well(bench: Bench, ids: Collection[str]) -> bool:
    subject = bench.subject
    shared = subject.repeating() if "GP216" in ids else ""
    # (A single number has no other layout, though torch can expand it.)
    is_asked = "GP216" in ids and not subject.is_scalar
    layouts = [name for name in (*USUAL, shared) if name and subject.takes(name)] if is_asked else []
    with subject.poisoned() if "GP229" in ids else contextlib.nullcontext():
        recording = subject.record()
        saved: Any = recording.saved() if "GP219" in ids else {}
        cotangents = subject.cotangents(shared)
        base = bench.pull(recording, cotangents)
        if "GP228" in ids:
            subject.record(is_elsewhere=True)
        # (Without other layouts the size of the cotangent can be another one at no more cost.)
        factor = 1 if layouts else 2
        others = [factor * u for u in cotangents]
        variants = [bench.pull(recording, others, layout=layout) for layout in layouts or [""]]
        is_untouched = not any(one.changed for one in (base, *variants)) and not recording.changed(saved)
    rough = Allowance(eps=subject.eps, terms=subject.entries)
    is_finite = all(one is None or bool(np.isfinite(one).all()) for one in base.gradients)
    expected = [None if one is None else factor * one for one in base.gradients]
    is_equal = all(_contracts.apart(expected, one.gradients, rough) is None for one in variants)
    if "GP226" in ids:
        # (Equal cotangents leave equal values in a buffer that is used again.)
        pairs = zip(base.returned, variants[0].returned, strict=True)
        is_equal = is_equal and not any(subject.shares_memory(*pair) for pair in pairs)
    return is_untouched and is_finite and is_equal and not ("GP224" in ids and each.other_forms(bench, base))


def _thoroughly(bench: Bench, ids: Collection[str]) -> list[Finding]:
    """Hold to every contract that is asked for, one after the other."""
    try:
        bench.base()
    except FailedError:
        return []  # (It does not run at all, which the proof says.)
    for id, hold in _EACH:
        if id in ids and not bench.has("GP220"):  # (Nothing can be compared with what is random.)
            with bench.context(), contextlib.suppress(FailedError), failures():
                hold(bench)
    return bench.found
