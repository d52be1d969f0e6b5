"""Check the gradient of an expensive function on a dask cluster, here one of two processes on this machine.

    python examples/cluster/check_cluster.py

Every entry is measured by itself, which takes two evaluations for each. What is finished is kept in a journal: after a
crash of this script, or of the machine, run it again, and it goes on. On a real cluster, replace `LocalCluster` by one
of yours, such as `dask_jobqueue.SLURMCluster(...)`; nothing else changes.
"""

import pathlib
import sys
import tempfile
import time

import numpy as np
from distributed import Client, LocalCluster

import gradproof

X = np.linspace(0.1, 2.0, 20)


def energy(x):
    """Stands for a simulation: 50 ms of arithmetic in one thread."""
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass
    return float(np.sum(x**2 * np.sin(x)))


def adjoint(x):
    gradient = 2 * x * np.sin(x) + x**2 * np.cos(x)
    gradient[7] *= 1.01  # wrong on purpose
    return gradient


def main(folder):
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        return gradproof.check(
            energy,
            X,
            grad=adjoint,
            level="entries",
            rng=0,
            executor=client.get_executor(),
            journal=pathlib.Path(folder) / "energy.journal",
            timeout=60,
            budget="10 min",
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(main(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(main(folder))
