"""What an animal is, and how it is checked."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import gradproof
from gradproof import Report, Severity, Verdict

THEMES = (
    "operand_order",
    "special_points",
    "cotangents",
    "reductions",
    "constants",
    "second_order",
    "complex_and_structure",
    "randomness_and_masks",
    "blocks_and_tails",
    "strides_and_memory",
)
GITHUB = "https://github.com/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Animal:
    """A wrong gradient and its corrected twin.

    Attributes
    ----------
    name : str
    source : str
        Where the bug was reported: ``"owner/repository#number"``.
    mistake : str
        What the wrong one does, in one line.
    how : str
        ``"torch"`` and ``"jax"``: `wrong` and `right` are functions of `args`, differentiated by the framework.
        ``"numpy"``: they are claims of the kind `claim` about `f`. ``"module"``: they build (model, loss, batch).
    wrong, right : callable
    args : callable
        Makes the point, anew for every check.
    f : callable, optional
    claim : str
    options : mapping
        Of `gradproof.check`.
    id : str
        Of the finding of severity error that must be there.
    says : str
        A regular expression that the place or the kind of one such finding must match.
    twin : Verdict
        What the right one must be: CORRECT, but for kinks.
    second : bool
        Whether the mistake is one of second derivatives.
    slow : bool
    """

    name: str
    source: str
    mistake: str
    wrong: Callable[..., Any]
    right: Callable[..., Any]
    args: Callable[[], Any] = tuple
    how: str = "torch"
    f: Callable[..., Any] | None = None
    claim: str = "vjp"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    id: str = "GP1[02]"
    says: str = ""
    twin: Verdict = Verdict.CORRECT
    second: bool = False
    slow: bool = False

    @property
    def url(self) -> str:
        repository, number = self.source.split("#")
        return f"{GITHUB}{repository}/issues/{number}"  # GitHub forwards to /pull/ where it is one


def animals() -> list[Animal]:
    """Every animal, theme by theme."""
    found = [animal for theme in THEMES for animal in importlib.import_module(f"zoo.{theme}").ANIMALS]
    assert len({animal.name for animal in found}) == len(found)
    return found


@contextlib.contextmanager
def precision(animal: Animal) -> Any:
    """JAX in float64, and as it was before."""
    if animal.how != "jax":
        yield
        return
    import jax

    with jax.enable_x64(True):
        yield


def check(animal: Animal, *, right: bool, seed: int, **options: Any) -> Report:
    """Check the wrong one, or its twin."""
    chosen = animal.right if right else animal.wrong
    options = {**animal.options, **options, "rng": seed}
    with precision(animal), np.errstate(all="ignore"):
        if animal.how == "module":
            from gradproof.torch import check_module

            return check_module(*chosen(), **options)
        if animal.how == "numpy":
            assert animal.f is not None
            return gradproof.check(animal.f, animal.args(), **{animal.claim: chosen}, **options)
        return gradproof.check(chosen, animal.args(), **options)


def errors(report: Report) -> list[str]:
    """Id, place and kind of every error of a report."""
    found = [finding for finding in report.findings if finding.severity is Severity.ERROR]
    return [f"{finding.id} {finding.path} | {finding.place} | {finding.kind}" for finding in found]


def mistakes(animal: Animal, wrong: Report, right: Report) -> list[str]:
    """What is not as it should be in the two reports; empty where all is."""
    found = []
    if wrong.verdict is not Verdict.WRONG:
        found.append(f"the wrong one is {wrong.verdict.value}")
    elif not any(re.match(animal.id, line) and re.search(animal.says, line) for line in errors(wrong)):
        found.append(f"the finding is another: {errors(wrong)}")
    if right.verdict is not animal.twin:
        found.append(f"the twin is {right.verdict.value}: {[one.kind for one in right.findings]}")
    return found


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    """Numbers with two decimals, none of them near 0."""
    values = np.random.default_rng((seed, *shape)).standard_normal(shape).round(2)
    return np.where(np.abs(values) < 0.1, 0.35, values)
