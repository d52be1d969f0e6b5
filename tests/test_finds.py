"""The finds (benchmarks/finds): the runner sees what is not shown again, and every committed table is complete."""

import pathlib
import re
import sys

import pytest

import gradproof

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"

sys.path.append(str(BENCHMARKS))
from finds.finds import Find, row  # noqa: E402


def cube(x):
    return x**3


def find(see):
    return Find(package="numpy", what="the cube", proof="exact formula", error=1e-6, see=see)


def claim(claimed, true):
    return lambda: (claimed, true, gradproof.check(cube, 2.0, grad=claimed, rng=0))


def fails():
    raise ValueError("no such function")


def test_a_wrong_claim_is_shown_again():
    """The proof contradicts the claim, and the measurement agrees with the proof."""
    line, again = row(find(claim(8.0, 12.0)))

    assert again
    assert re.search(r"\| the cube \| 8 \| 12 \| 12 \| WRONG \| yes \|", line), line


@pytest.mark.parametrize(
    "see",
    [
        claim(12.0, 12.0),
        claim(12.0, 8.0),  # wrong on purpose: the proof
        claim(8.0, 8.0),  # wrong on purpose: the proof is no proof
        claim(8.0, 11.0),  # wrong on purpose: the measurement is 12
        fails,
    ],
)
def test_what_is_not_shown_again_is_said(see, capsys):
    """A right claim, a proof that agrees with the claim or not with the measurement, and an exception."""
    assert not row(find(see))[1]
    assert ("no such function" in capsys.readouterr().err) == (see is fails)


def test_every_group_has_a_complete_table():
    """Each group has pinned requirements and a table that says that all its finds were shown again."""
    groups = sorted(path for path in (BENCHMARKS / "finds").glob("*.py") if path.stem != "finds")

    assert groups
    for group in groups:
        table = group.with_suffix(".md").read_text(encoding="utf-8")
        finds = len(re.findall(r"^@find\(", group.read_text(encoding="utf-8"), re.MULTILINE))
        assert f"\n{finds} of {finds} finds shown again.\n" in table, group
        for line in group.with_suffix(".txt").read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+|#.*", line), line
