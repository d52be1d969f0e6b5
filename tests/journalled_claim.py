"""A check whose claim takes time, with a journal, to be killed: ``journalled_claim.py JOURNAL REPORT ROUNDS``.

It prints how often the claim was called.
"""

import functools as ft
import pathlib
import sys

import gradproof
import workers
from workers import X, loss, loss_hess

if __name__ == "__main__":
    journal, path, rounds = sys.argv[1:]
    calls = 0

    def count(frame, event, _):
        """The claim itself must not count: that would make it another one."""
        global calls
        calls += event == "call" and frame.f_code is workers.slow_cos.__code__

    claim = ft.partial(workers.slow_cos, rounds=int(rounds))
    sys.setprofile(count)
    report = gradproof.check(loss, X, grad=claim, hess=loss_hess, rng=5, journal=journal)
    sys.setprofile(None)
    pathlib.Path(path).write_text(report.to_json(run=False), encoding="utf-8")
    sys.stdout.write(f"{calls}\n")
