"""What the groups of finds share: a find, and the table of what a group shows again.

A group is a module beside this one, which `bash benchmarks/finds/run GROUP` runs as `finds.GROUP`. Each of its finds is
a function that returns three things: a number as the package claims it, the same number by an independent proof, and
gradproof's report on the claim.

    from finds.finds import find, main

    @find("scipy", "`special.itairy(9.2)[0]`", proof="mpmath, 50 digits")
    def itairy():
        return float(special.itairy(9.2)[0]), float(mpmath.airyai(9.2, derivative=-1)), gradproof.check(...)

    if __name__ == "__main__":
        main(__file__)

A find is shown again if gradproof says WRONG and the proof contradicts the claim. Where gradproof measured the same
number (a finding on one entry that names the claimed number), its measurement must also agree with the proof.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
import pathlib
import platform
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib.metadata import version

from gradproof import Report, Verdict

Seen = tuple[float, float, Report]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Find:
    """A wrong derivative or value of a released package.

    Attributes
    ----------
    package : str
        The distribution whose installed version is printed.
    what : str
        What is wrong, as Markdown.
    proof : str
        How the true number was found without gradproof.
    error : float
        The relative error that the proof may have.
    see : callable
        Returns the claimed number, the true number and the report.
    """

    package: str
    what: str
    proof: str
    error: float
    see: Callable[[], Seen]


FINDS: list[Find] = []


def find(package: str, what: str, *, proof: str, error: float = 1e-6) -> Callable[[Callable[[], Seen]], Find]:
    """Add a function that returns the claimed number, the true number and the report to the finds of its group."""

    def add(see: Callable[[], Seen]) -> Find:
        FINDS.append(Find(package=package, what=what, proof=proof, error=error, see=see))
        return FINDS[-1]

    return add


def measured_of(report: Report, claimed: float) -> tuple[float, float] | None:
    """Return gradproof's measurement and error bar of the entry that claims this number, if there is one.

    A place other than an index is a combination of outputs or of second derivatives, and any finding but GP101 is on a
    part of the derivative.
    """
    for one in report.findings:
        if one.id != "GP101" or one.quantity != "entry" or one.claimed is None or one.reference is None:
            continue
        if re.fullmatch(r"|\[[\d, ]+\]", one.place) and math.isclose(one.claimed, claimed, rel_tol=1e-6):
            return one.reference, one.error_bar or 0.0
    return None


def row(one: Find) -> tuple[str, bool]:
    """Return the row of the table, and whether the find was shown again."""
    try:
        claimed, true, report = one.see()
    except Exception:
        traceback.print_exc()
        return f"| {one.package} | {version(one.package)} | {one.what} | | | | raised | | {one.proof} |", False
    allowed = one.error * abs(true)
    measured = measured_of(report, claimed)
    agrees = not abs(claimed - true) <= allowed
    if measured is not None:
        agrees = agrees and abs(measured[0] - true) <= allowed + measured[1]
    cells = (
        one.package,
        version(one.package),
        one.what,
        f"{claimed:.6g}",
        f"{true:.6g}",
        "" if measured is None else f"{measured[0]:.6g}",
        str(report.verdict),
        "yes" if agrees else "no",
        one.proof,
    )
    return f"| {' | '.join(cells)} |", agrees and report.verdict is Verdict.WRONG


def main(group: str) -> None:
    """Print the table of a group; with `--write` also into the Markdown file beside it."""
    warnings.simplefilter("ignore")
    started = datetime.date.today()
    lines = [
        f"Measured on {started.day} {started:%B %Y}; {os.cpu_count()} cores, {platform.machine()} {platform.system()}, "
        f"Python {platform.python_version()}.",
        "",
        "| package | version | what | claimed | true | measured by gradproof | verdict | proof agrees | proof |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines))
    shown = 0
    for one in FINDS:
        line, again = row(one)
        shown += again
        lines.append(line)
        print(line, flush=True)
    lines += ["", f"{shown} of {len(FINDS)} finds shown again."]
    print("\n".join(lines[-2:]))
    if "--write" in sys.argv[1:]:
        page = pathlib.Path(group).with_suffix(".md")
        page.write_text("\n".join([f"# {page.stem}", "", *lines, ""]))
    sys.exit(shown < len(FINDS))
