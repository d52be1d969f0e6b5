"""Check the adjoint of a simulator outside Python, by files: `python check_heat.py FOLDER`, again until it reports.

Every call of this script is a process of its own: it takes the values of the last round, if they are there, and leaves
the points of the next one. On a cluster the simulator runs between two calls; here the script starts it at the end.
Exits with 3 while values are missing, else with 0 for CORRECT and 1 for anything else; 2 is a wrong call.
"""

import pathlib
import shutil
import subprocess
import sys

import numpy as np

import gradproof

HERE = pathlib.Path(__file__).parent
X = np.linspace(-0.5, 0.5, 12)


def simulator(folder):
    """The command that runs the simulator: compiled if there is a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return [sys.executable, str(HERE / "heat.py")]
    program = folder / "heat"
    if not program.exists():
        subprocess.run([compiler, "-O2", "-o", program, HERE / "heat.c", "-lm"], check=True)
    return [str(program)]


def run(command, what, points, results):
    with open(points) as source, open(results, "w") as sink:
        subprocess.run([*command, what], stdin=source, stdout=sink, check=True)


def main(folder):
    folder.mkdir(exist_ok=True)
    points, claim = folder / "points.txt", folder / "gradient.txt"
    command = simulator(folder)
    if not claim.exists():
        np.savetxt(points, [X], fmt="%.17g")
        run(command, "adjoint", points, claim)
    session = gradproof.Session(X, grad=np.loadtxt(claim), rng=0, name="heat", journal=folder / "journal.db")
    values = folder / f"values-{session.evaluations}.txt"
    if values.exists():
        session.tell(np.loadtxt(values, ndmin=1))
    if session.done:
        print(session.report)
        return 0 if session.report.correct else 1
    np.savetxt(points, session.ask(), fmt="%.17g")
    run(command, "value", points, folder / f"values-{session.evaluations}.txt")
    print(f"{session!r}: run this again")
    return 3


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python check_heat.py FOLDER (made if it is not there)", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(pathlib.Path(sys.argv[1])))
