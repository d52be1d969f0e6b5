"""How much faster a check of an expensive function is by two workers: `python benchmarks/executors.py`.

Each evaluation is 50 ms of arithmetic in one thread (by that thread's own clock). Serial and parallel runs alternate in
one process, so that their ratio says something on a machine with other load; the load is printed. Workers are started,
and have imported gradproof, before the clock runs.
"""

from __future__ import annotations

import concurrent.futures
import functools as ft
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import gradproof

X = np.linspace(0.1, 2.0, 40)
ROUNDS = 3
WORK = 0.05
CASES = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
import gradproof
from executors import energy, gradient

cases = [gradproof.Case(energy, np.linspace(0.1, 2.0, 10) + k / 100, grad=gradient, rng=k) for k in range(40)]
"""


def energy(x):
    end = time.thread_time() + WORK
    while time.thread_time() < end:
        pass
    return float(np.sum(x**2 * np.sin(x)))


def gradient(x):
    return 2 * x * np.sin(x) + x**2 * np.cos(x)


def seconds(executor=None):
    """The time of one large check, and its report."""
    began = time.perf_counter()
    report = gradproof.check(energy, X, grad=gradient, rng=0, level="entries", executor=executor)
    return time.perf_counter() - began, report.to_json(run=False)


def ratio(name, executor):
    list(executor.map(energy, [X] * 4))
    gradproof.check(energy, X[:3], grad=gradient, rng=0, executor=executor)  # workers import gradproof
    pairs = [(seconds(), seconds(executor)) for _ in range(ROUNDS)]
    same = all(alone[1] == together[1] for alone, together in pairs)
    found = statistics.median(alone[0] / together[0] for alone, together in pairs)
    alone, together = (statistics.median(pair[k][0] for pair in pairs) for k in (0, 1))
    print(f"{name:30} serial {alone:6.2f} s  2 workers {together:6.2f} s  ratio {found:.2f}  same report: {same}")


def jobs():
    """40 cases, by one process and by two."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "cases.py"
        path.write_text(CASES.format(folder=os.path.dirname(os.path.abspath(__file__))), encoding="utf-8")

        def run(count):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "gradproof", "check", "-q", "-j", str(count), path], check=True)
            return time.perf_counter() - began

        alone, together = run(1), run(2)
    print(f"{'40 cases, -j 2':30} serial {alone:6.2f} s  2 workers {together:6.2f} s  ratio {alone / together:.2f}")


def main():
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        ratio("ProcessPoolExecutor", executor)
    import distributed
    import loky

    ratio("loky", loky.get_reusable_executor(2))
    cluster = ft.partial(distributed.LocalCluster, n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster() as workers, distributed.Client(workers) as client:
        ratio("dask LocalCluster", client.get_executor())
    jobs()
    print(f"load after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
