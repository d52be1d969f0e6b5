"""A check with a journal, to be killed: ``journalled.py JOURNAL EVALUATIONS REPORT SECONDS``."""

import functools as ft
import pathlib
import sys

import numpy as np

import gradproof
from workers import X, slowly_counted

if __name__ == "__main__":
    journal, evaluations, path, seconds = sys.argv[1:]
    f = ft.partial(slowly_counted, path=evaluations, seconds=float(seconds))
    # (The seed is given: a journal that was killed before it had one would draw another.)
    report = gradproof.check(f, X, grad=np.cos, rng=5, journal=journal, level="entries", name="f")
    pathlib.Path(path).write_text(report.to_json(run=False), encoding="utf-8")
