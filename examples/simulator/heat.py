"""The same simulator as `heat.c`, for machines without a compiler: `python heat.py value|adjoint < points`."""

import sys

import numpy as np

PIECES, STEPS, DT = 12, 40, 0.05


def temperatures(x):
    u = [1 + np.sin(3 * np.arange(PIECES + 1) / PIECES)]
    for _ in range(STEPS):
        heat = DT * np.exp(x) * np.diff(u[-1])
        u.append(u[-1] + np.append(heat, 0) - np.append(0, heat))
    return u


def value(x):
    return [0.5 * np.sum((temperatures(x)[-1] - 1) ** 2)]


def adjoint(x):
    u = temperatures(x)
    change = u[-1] - 1
    gradient = np.zeros(PIECES)
    for before in u[-2::-1]:
        pull = -DT * np.exp(x) * np.diff(change)
        gradient += pull * np.diff(before)
        change = change + np.append(0, pull) - np.append(pull, 0)
    return gradient


if __name__ == "__main__":
    if sys.argv[1:] not in (["value"], ["adjoint"]):
        print("usage: python heat.py value|adjoint < points", file=sys.stderr)
        sys.exit(2)
    run = adjoint if sys.argv[1] == "adjoint" else value
    for line in sys.stdin:
        print(*(f"{number:.17g}" for number in run(np.array(line.split(), dtype=float))))
