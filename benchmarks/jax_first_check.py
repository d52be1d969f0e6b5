"""What does the first check of a small JAX function cost, beside `jax.test_util.check_grads(order=1)`?

    python benchmarks/jax_first_check.py
    python benchmarks/jax_first_check.py --rounds 9 --only softmax

Processor time of both, alternating, with default modes. *Cold* is the first check in a fresh process in which jax has
been imported and nothing has run; gradproof's own import of what a check needs is part of it. *Warm* is the check of a
function that is made anew for every check, after others of the same code and shape. Compilations are counted too: those
that JAX reports for one check.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

OURS, THEIRS = "gradproof", "check_grads"


def cases() -> dict[str, tuple[Callable[[], Callable[..., Any]], tuple[tuple[int, ...], ...]]]:
    """Functions, each made anew by every call, and the shapes of their arguments."""
    import jax
    import jax.numpy as jnp

    def cube() -> Callable[..., Any]:
        @jax.custom_vjp
        def cube(x):
            return x**3

        cube.defvjp(lambda x: (x**3, x), lambda x, u: (3 * u * x**2,))
        return lambda x: cube(x).sum()

    def layers(x, w, b, v):
        return jnp.mean((jnp.tanh(x @ w + b) @ v - 1) ** 2)

    return {
        "sin(x), 5 outputs": (lambda: lambda x: jnp.sin(x), ((5,),)),
        "sum of sin(x) x": (lambda: lambda x: jnp.sum(jnp.sin(x) * x), ((5,),)),
        "cos(x) x, 5 outputs": (lambda: lambda x: jnp.cos(x) * x, ((5,),)),
        "cross entropy, 3 x 4": (
            lambda: lambda x: -jnp.mean(jax.nn.log_softmax(x)[jnp.arange(3), jnp.array([0, 2, 1])]),
            ((3, 4),),
        ),
        "two layers, 4 arrays": (lambda: lambda *args: layers(*args), ((8, 3), (3, 4), (4,), (4,))),
        "custom_vjp, 6 entries": (cube, ((6,),)),
    }


def once(who: str, f: Callable[..., Any], args: tuple[Any, ...], modes: tuple[str, ...]) -> tuple[float, str]:
    """Processor time in ms of one check, and what it said."""
    from jax.test_util import check_grads

    import gradproof

    start = time.process_time()
    if who == OURS:
        said = gradproof.check(f, args, rng=0).verdict.value
    else:
        # (It has no way to say that a mode is not there.)
        check_grads(f, args, order=1, modes=modes)
        said = "passed"
    return 1e3 * (time.process_time() - start), said


class Compilations:
    """Counts what JAX compiles."""

    def __init__(self) -> None:
        import jax

        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, _: float, **__: Any) -> None:
        self.count += event.endswith("backend_compile_duration")


def prepared(name: str, precision: str) -> tuple[Callable[[], Callable[..., Any]], tuple[Any, ...], tuple[str, ...]]:
    """A function's maker, its point, and the modes that it has."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", precision == "float64")
    make, shapes = cases()[name]
    generator = np.random.default_rng(1)
    args = tuple(jnp.asarray(generator.normal(size=shape).astype(precision)) for shape in shapes)
    return make, args, ("rev",) if name.startswith("custom_vjp") else ("fwd", "rev")


def cold(name: str, precision: str, who: str) -> tuple[float, int]:
    """In a process of its own: ms and compilations of the first check."""
    command = [sys.executable, __file__, "--child", name, precision, who]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout.split()
    return float(answer[0]), int(answer[1])


def child(name: str, precision: str, who: str) -> None:
    """Print ms and compilations of the first check in this process."""
    make, args, modes = prepared(name, precision)
    compilations = Compilations()
    taken, _ = once(who, make(), args, modes)
    print(taken, compilations.count)


def warm(name: str, precision: str, rounds: int) -> dict[str, tuple[float, int]]:
    """Median ms of a check, and the compilations of the last one."""
    make, args, modes = prepared(name, precision)
    compilations = Compilations()
    taken: dict[str, list[float]] = {OURS: [], THEIRS: []}
    last = {OURS: 0, THEIRS: 0}
    for k in range(rounds + 2):
        for who in (OURS, THEIRS):
            before = compilations.count
            one, _ = once(who, make(), args, modes)
            last[who] = compilations.count - before
            if k >= 2:
                taken[who].append(one)
    return {who: (float(np.median(taken[who])), last[who]) for who in taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="cold checks of each; warm ones are five times as many")
    parser.add_argument("--only", default="", help="cases whose names contain this")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "DTYPE", "WHO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    columns = f"{OURS:>11}{THEIRS:>13}{'ratio':>7}"
    print(f"{'':32}{'cold, ms (compilations)':>31}{'':5}{'warm, ms (compilations)':>31}")
    print(f"{'':32}{columns}{'':5}{columns}")
    for precision in ("float32", "float64"):
        for name in cases():
            if options.only not in name:
                continue
            found: dict[str, list[tuple[float, int]]] = {OURS: [], THEIRS: []}
            for _ in range(options.rounds):
                for who in (OURS, THEIRS):
                    found[who].append(cold(name, precision, who))
            first = {who: (float(np.median([one for one, _ in all_])), all_[0][1]) for who, all_ in found.items()}
            line = f"{name + ', ' + precision:32}"
            for figures in (first, warm(name, precision, 5 * options.rounds)):
                (ours, count), (theirs, their_count) = figures[OURS], figures[THEIRS]
                line += f"{f'{ours:.0f} ({count})':>11}{f'{theirs:.0f} ({their_count})':>13}{ours / theirs:7.1f}{'':5}"
            print(line.rstrip(), flush=True)


if __name__ == "__main__":
    main()
