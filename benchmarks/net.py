"""The net under the engine: thousands of small checks whose reports tell whether a change changed anything.

    PYTHONPATH=src python benchmarks/net.py same main .             # two commits, or the working tree (.), exactly
    PYTHONPATH=src python benchmarks/net.py compare                 # the working tree against net_table.csv
    PYTHONPATH=src python benchmarks/net.py compare --write         # ... and keep what it says now
    PYTHONPATH=src python benchmarks/net.py run --out FILE          # one JSON line for each check
    PYTHONPATH=src python benchmarks/net.py show NAME               # one report, to read

`same` is for a change that must change nothing: both commits run here, by one interpreter, and every report must be
the same text, without the run section. `compare` is for a change that may: it lists verdicts, bounds, places and
evaluations that are not as the table has them. The list of checks is `net_checks.py`.
"""

from __future__ import annotations

import argparse
import collections
import csv
import dataclasses
import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = pathlib.Path(__file__).parent / "net_table.csv"
OWN = ("net.py", "net_checks.py")
# Sums in another order (another BLAS, other vector units) move the last bits of f, and so the noise and the bars that
# are measured. On one machine any difference at all is one of the code: `same` shows those.
BOUND_FACTOR, EVALUATIONS_SHARE, EVALUATIONS_FEW = 2.0, 0.25, 4
ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


def checks() -> dict[str, Any]:
    """The list, by name."""
    import net_checks

    return net_checks.checks()


# ----------------------------------------------------------------------------------------------------------- running


def line_of(check: Any) -> str:
    """What a check says, as one line of JSON: the report without its run section, or what was raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = json.loads(check.run(check.seed).to_json(run=False))
        evaluations = report["cost"]["evaluations"]
    except Exception as error:  # what a user would see
        report, evaluations = {"raised": type(error).__name__, "words": str(error)}, 0
    found = {"name": check.name, "kind": check.kind, "evaluations": evaluations, "report": report}
    # (Of two trees, or two runs, neither paths nor addresses are the same.)
    return ADDRESS.sub("0x", json.dumps(found).replace(str(ROOT), ""))


def chosen(only: str | None, names: Sequence[str] | None = None) -> list[Any]:
    """The checks whose name holds a pattern, or that are named."""
    listed = checks()
    if names is not None:
        return [listed[name] for name in names]
    return [one for name, one in listed.items() if only is None or re.search(only, name)]


def run_here(only: str | None, part: tuple[int, int] = (0, 1)) -> list[str]:
    """The lines of some checks, one after the other; seconds go to stderr."""
    import torch

    torch.set_num_threads(1)
    spent: collections.Counter[str] = collections.Counter()
    lines = []
    for check in chosen(only)[part[0] :: part[1]]:
        started = time.process_time()
        lines.append(line_of(check))
        spent[check.name.partition("/")[0]] += time.process_time() - started  # pyright: ignore
    if len(lines) > 100:
        shown = ", ".join(f"{group} {seconds:.0f}" for group, seconds in spent.most_common())
        print(f"{len(lines)} checks, {sum(spent.values()):.0f} s of processor time: {shown}", file=sys.stderr)
    return lines


def run_tree(tree: pathlib.Path, only: str | None, jobs: int) -> dict[str, str]:
    """The lines of the checks by name, by what lies in a tree, in processes of their own."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONHASHSEED="0")
    environment["PYTHONPATH"] = os.pathsep.join([str(tree / "src"), str(tree / "benchmarks")])
    with tempfile.TemporaryDirectory() as place:
        parts = [pathlib.Path(place) / str(k) for k in range(jobs)]
        script, more = str(tree / "benchmarks" / "net.py"), ["--only", only] if only else []
        working = [
            subprocess.Popen(
                [sys.executable, script, "run", "--out", str(out), "--part", f"{k}/{jobs}", *more],
                env=environment,
                cwd=tree,
            )
            for k, out in enumerate(parts)
        ]
        statuses = [one.wait() for one in working]
        if any(statuses):
            raise SystemExit(f"net: the checks of {tree} broke off")
        lines = [line for out in parts for line in out.read_text(encoding="utf-8").splitlines()]
    return {json.loads(line)["name"]: line for line in lines}


# -------------------------------------------------------------------------------------------------------- two commits


def checked_out(commit: str, place: pathlib.Path) -> pathlib.Path:
    """A tree of a commit; "." is the working tree. Commits from before the net get the net of this tree."""
    if commit == ".":
        return ROOT
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(place), commit], cwd=ROOT, check=True)
    for name in OWN:
        if not (place / "benchmarks" / name).exists():
            shutil.copy2(ROOT / "benchmarks" / name, place / "benchmarks" / name)
    return place


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[tuple[str, str]]:
    """The names of checks whose lines differ, with the parts of the report that do."""
    found = []
    for name in {**first, **second}:
        if name not in first or name not in second:
            found.append((name, "only in the first" if name in first else "only in the second"))
        elif first[name] != second[name]:
            both = [json.loads(one[name]) for one in (first, second)]
            reports, costs = [one["report"] for one in both], [one["evaluations"] for one in both]
            fields = [k for k in {**reports[0], **reports[1]} if reports[0].get(k) != reports[1].get(k)]
            words = ", ".join(fields)
            if "verdict" in fields and all("verdict" in one for one in reports):
                words += f" ({reports[0]['verdict']} -> {reports[1]['verdict']})"
            if costs[0] != costs[1]:
                words += f", evaluations {costs[0]} -> {costs[1]}"
            found.append((name, words))
    return found


def same(commits: Sequence[str], only: str | None, jobs: int) -> int:
    """Run two commits and list what differs; how many checks do."""
    with tempfile.TemporaryDirectory() as place:
        trees = []
        try:
            for k, commit in enumerate(commits):
                trees.append(checked_out(commit, pathlib.Path(place) / str(k)))
            reports = [run_tree(tree, only, jobs) for tree in trees]
        finally:
            for tree in trees:
                if tree != ROOT:
                    subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)
    found = differing(*reports)
    for name, words in found:
        print(f"{name}: {words}")
    print(f"{len(found)} of {len({**reports[0], **reports[1]})} reports differ between {commits[0]} and {commits[1]}")
    return len(found)


# --------------------------------------------------------------------------------------------------------- the table


@dataclasses.dataclass(frozen=True)
class Row:
    """What the table keeps of a report.

    verdict : with the reason where it is INCONCLUSIVE, then the first letter of each leaf's, runs of one counted.
    bound : the largest of all leaves; 0 where there is none.
    places : id, path and place of the findings that are errors or doubts, the first three.
    """

    name: str
    kind: str
    verdict: str
    bound: float
    evaluations: int
    places: str

    @classmethod
    def of(cls, line: str) -> Row:
        found = json.loads(line)
        report = found["report"]
        if "raised" in report:
            return cls(found["name"], found["kind"], report["raised"], 0.0, 0, "")
        letters = "".join(leaf["verdict"][0] for leaf in report["leaves"])
        runs = re.sub(r"(.)\1*", lambda run: run[1] + (str(len(run[0])) if len(run[0]) > 1 else ""), letters)
        verdict = " ".join(filter(None, (report["verdict"], report["reason"], runs)))
        bounds = [leaf["bound"] for leaf in report["leaves"] if isinstance(leaf["bound"], float)]
        places = [
            " ".join(filter(None, (one["id"], one["path"], one["place"])))
            for one in report["findings"]
            if one["severity"] in ("error", "doubt")
        ]
        shown = "; ".join(place[:60] for place in places[:3]) + (f"; {len(places)} in all" if len(places) > 3 else "")
        return cls(
            found["name"], found["kind"], verdict, float(f"{max(bounds, default=0.0):.2g}"), found["evaluations"], shown
        )

    def apart(self, other: Row) -> list[str]:
        """How another differs by more than machines do: words for verdict, bound, places and evaluations."""
        found = []
        if self.verdict != other.verdict:
            found.append(f"verdict {self.verdict} -> {other.verdict}")
        low, high = sorted((self.bound, other.bound))
        if high > BOUND_FACTOR * low * 1.05:  # (the table has two digits)
            found.append(f"bound {self.bound:g} -> {other.bound:g}")
        if self.places != other.places:
            found.append(f"places {self.places or 'none'} -> {other.places or 'none'}")
        more = abs(other.evaluations - self.evaluations)
        if more > EVALUATIONS_FEW and more > EVALUATIONS_SHARE * self.evaluations:
            found.append(f"evaluations {self.evaluations} -> {other.evaluations}")
        return found


def read_table(path: pathlib.Path = TABLE) -> dict[str, Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return {
            name: Row(name, kind, verdict, float(bound), int(evaluations), places)
            for name, kind, verdict, bound, evaluations, places in csv.reader(stream)
        }


def write_table(rows: Iterable[Row], path: pathlib.Path = TABLE) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows(
            (row.name, row.kind, row.verdict, f"{row.bound:g}", row.evaluations, row.places) for row in rows
        )


def ninety(numbers: Sequence[int]) -> int:
    return sorted(numbers)[math.ceil(0.9 * len(numbers)) - 1]


def compared(before: Mapping[str, Row], now: Mapping[str, Row]) -> list[tuple[str, list[str]]]:
    """Print what differs by kind of claim, with medians and 90 % of the evaluations, and return it by name."""
    found = [(name, before[name].apart(row)) for name, row in now.items() if name in before]
    found = [(name, words) for name, words in found if words]
    found += [(name, ["new"]) for name in now if name not in before]
    kinds: dict[str, list[str]] = collections.defaultdict(list)
    for name, row in now.items():
        if name in before:
            kinds[row.kind].append(name)
    apart = dict(found)
    print(
        "kind                       checks   evaluations: median         90 %                sum  verd bound place cost"
    )
    for kind, names in sorted(kinds.items()):
        costs = [[rows[name].evaluations for name in names] for rows in (before, now)]
        numbers = [
            f"{old:g} -> {new:g}" if old != new else f"{new:g}"
            for old, new in zip(*((statistics.median(x), ninety(x), sum(x)) for x in costs), strict=True)
        ]
        told = [word for name in names for words in (apart.get(name, ()),) for word in words]
        counts = [sum(word.startswith(field) for word in told) for field in ("verdict", "bound", "places", "evalu")]
        print(f"{kind:26} {len(names):6}   {numbers[0]:>19} {numbers[1]:>12} {numbers[2]:>18}   "
              f"{'  '.join(f'{one or chr(45):>5}' for one in counts)}")  # fmt: skip
    return found


def compare(only: str | None, jobs: int, write: bool, allow: int) -> int:
    """Run the working tree against the table; 1 where more checks differ than are allowed to."""
    now = {name: Row.of(line) for name, line in run_tree(ROOT, only, jobs).items()}
    order = [one.name for one in chosen(only)]
    before = read_table() if TABLE.exists() else {}
    found = compared(before, now)
    for name, words in found:
        print(f"  {name}: {'; '.join(words)}")
    gone = [name for name in before if name not in now and only is None]
    for name in gone:
        print(f"  {name}: gone")
    count = len(found) + len(gone)
    print(f"{count} of {len(now)} checks are not as in {TABLE.name}")
    if write:
        kept = dict(before) if only is not None else {}
        kept.update({name: now[name] for name in order})
        write_table(kept.values())
    return int(count > allow and not write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (
        ("run", "write a JSON line for each check"), ("same", "hold two commits against each other, byte for byte"),
        ("compare", "hold the working tree against the table"), ("list", "list the names"), ("show", "show one report"),
    ):  # fmt: skip
        command = commands.add_parser(name, help=words)
        if name == "show":
            command.add_argument("name")
            continue
        command.add_argument("--only", help="only names that hold this regular expression")
        command.add_argument("--jobs", type=int, default=1, help="how many processes")
        if name == "run":
            command.add_argument("--out", type=pathlib.Path, required=True)
            command.add_argument("--part", default="0/1", help="each n-th check, from the k-th: k/n")
        elif name == "same":
            command.add_argument("commits", nargs=2, metavar="COMMIT", help="a commit, or . for the working tree")
        elif name == "compare":
            command.add_argument("--write", action="store_true", help="keep what the reports say now")
            command.add_argument("--allow", type=int, default=0, help="how many may differ (on another machine)")
    options = parser.parse_args()
    if options.command == "list":
        for one in chosen(options.only):
            print(f"{one.name} [{one.kind}]")
    elif options.command == "show":
        check = checks()[options.name]
        print(check.run(check.seed))
    elif options.command == "same":
        raise SystemExit(min(1, same(options.commits, options.only, options.jobs)))
    elif options.command == "compare":
        raise SystemExit(compare(options.only, options.jobs, options.write, options.allow))
    elif options.jobs > 1:
        found = run_tree(ROOT, options.only, options.jobs)
        order = [one.name for one in chosen(options.only)]
        options.out.write_text("".join(found[name] + "\n" for name in order), encoding="utf-8")
    else:
        k, n = map(int, options.part.split("/"))
        options.out.write_text("".join(line + "\n" for line in run_here(options.only, (k, n))), encoding="utf-8")


if __name__ == "__main__":
    main()
