"""`vjp` and `hvp`: products with cotangents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends, _contracts
from gradproof._base._precision import is_double
from gradproof._claims._around import natural_sizes
from gradproof._claims._claimed import DENSE, Claimed
from gradproof._claims._cotangents import ALONE, Cotangents, rounding
from gradproof._claims._finish import despite_cancelled, excuse_at_kinks, find_aliases, finish
from gradproof._claims._first_look import FirstLook
from gradproof._claims._gradient import undefined
from gradproof._claims._proved import Proved
from gradproof._claims._reading import ask_hvp, ask_vjp
from gradproof._claims._task import Task
from gradproof._claims._wording import write_breach
from gradproof._claims._zero_floors import output_floor, second_floor
from gradproof._function._primal import Primal
from gradproof._prove._tolerance import steadied, unsaturated

Vector = NDArray[np.float64]
Function = Callable[..., Any]

# Outputs (arrays) up to which the vjp of each alone is held against that of all together.
OUTPUTS_ALONE = 8
# Outputs up to which a vjp that can do so is asked for all rows at once.
ROWS = 1024
# Relative precision of a claim from which on its rounding is a share of its rows that matters: how large they are is
# measured then.
COARSE = 1e-5
# Rounding of a product with many terms, in machine epsilons.
ROUNDING = 1e4
# Entries of a Jacobian that are measured one by one at most (80 MB each for claim, deviation and bar).
EVERYTHING = 10_000_000


def prove_vjp(task: Task, vjp: Function, rows: Function | None = None) -> Proved:
    """Prove or refute a vjp, and that it is linear in its cotangent.

    `rows` may say ``rows(*args) -> (m, n)``: the same for all unit cotangents at once, or None where it cannot.
    """
    primal = task.primal
    if not np.isfinite(primal.output_values()).all():
        return undefined(primal, task.options, findings=find_aliases(primal), keyword="vjp")
    everything = task.options.level == "entries"

    def elsewhere(u: Vector, *args: Any) -> Vector | None:
        judged = _contracts.judge_claim(primal, vjp(primal.outputs.tree(u), *args), "vjp")
        return None if judged.set_aside else np.concatenate([np.ravel(judged.gradients[i]) for i in claimed.measured])

    few = 1 < primal.outputs.size <= (EVERYTHING if everything else ROWS)
    if rows is not None and few and task.options.claim_eps < COARSE:
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((task.options.seed, 6))))
        u = primal.outputs.rounded(generator.standard_normal(primal.outputs.size))
        if u.size <= ALONE:
            # (All could be positive, as those of the rows are: abs or relu of a cotangent is linear for these.)
            u = -np.abs(u)
        claimed = ask_vjp(primal, vjp, u, task.repeats("vjp"))
        if _learn_rows(claimed, rows, u, EVERYTHING if everything else DENSE, task.options.claim_eps):
            proved = despite_cancelled(task, claimed, finish(task, claimed, None))
            return excuse_at_kinks(task, claimed, proved, elsewhere)
    first, second, look = _first_cotangents(task)
    claimed = ask_vjp(primal, vjp, first, task.repeats("vjp"))
    if _check_linear(task, claimed, first, second, look):
        _check_by_output(task, claimed, first, look)
        _fetch_few(claimed)
    proved = despite_cancelled(task, claimed, finish(task, claimed, look))
    return excuse_at_kinks(task, claimed, proved, elsewhere)


def _check_by_output(task: Task, claimed: Claimed, u: Vector, look: FirstLook) -> None:
    """Hold the vjp of every output alone, the others without a cotangent, against that of all together."""
    outputs = task.primal.outputs.leaves
    if not 1 < len(outputs) <= OUTPUTS_ALONE:
        return
    for leaf in outputs:
        alone = np.zeros_like(u)
        alone[leaf.start : leaf.stop] = u[leaf.start : leaf.stop]
        if alone.any() and not _check_linear(task, claimed, alone, u - alone, look):
            return


def _learn_rows(claimed: Claimed, rows: Function, u: Vector, most: int, claim_eps: float) -> bool:
    """Ask for the whole matrix; take it if it agrees with what the vjp says of one cotangent, which shows it linear."""
    primal = claimed.primal
    if claimed.judged.set_aside or not claimed.measured or primal.outputs.size * claimed.columns > most:
        return False
    found = claimed.call(rows, claimed.keyword)
    if found is None:
        return False
    matrix = np.asarray(_backends.of(found).as_numpy(found))
    if primal.layout.left_out:
        matrix = matrix.copy()
    for i, entries in primal.layout.left_out.items():
        matrix[:, primal.leaves[i].start + entries] = 0.0
    if len(claimed.measured) < len(primal.leaves):
        matrix = np.concatenate(
            [matrix[:, primal.leaves[i].start : primal.leaves[i].stop] for i in claimed.measured], axis=1
        )
    # (The claim may be of lower precision than f is measured in.)
    eps = max(claim_eps, *(leaf.eps for leaf in (*claimed.leaves, *primal.outputs.leaves)))
    off = np.abs(claimed.pull(u) - u @ matrix)
    terms = np.abs(u) @ np.abs(matrix)
    for leaf in claimed.leaves:
        own = slice(leaf.start, leaf.stop)
        # Rounding of the sum, and of what has cancelled within the rule: both far below what is ever accused.
        inner = max(64 * eps, min(ROUNDING * eps, 1e-9)) * math.sqrt(float(np.mean(np.square(terms[own]))))
        if not (off[own] <= 64 * eps * terms[own] + inner + 1e-300).all():
            return False
    claimed.use_matrix(matrix)
    return True


def prove_hvp(task: Task, hvp: Function, base: Primal) -> Proved:
    """Prove or refute an hvp against the gradient function, which is the task's f."""
    primal = task.primal
    first, second, look = _first_cotangents(task)
    claimed = ask_hvp(primal, base, hvp, first, task.repeats("hvp"))
    if _check_linear(task, claimed, first, second, look):
        size = natural_sizes(primal, claimed.measured)
        pairs = [(first, claimed.pull(first)), (second, claimed.pull(second))]
        eps = task.precision(look)
        broken = _contracts.check_symmetric_product(
            "hvp", pairs, size, eps, floor=lambda: second_floor(task, base, eps)
        )
        claimed.crooked = None if broken is None else write_breach(broken)
        claimed.note([] if claimed.crooked is None else [claimed.crooked])
        _fetch_few(claimed)
    return despite_cancelled(task, claimed, finish(task, claimed, look), base)


def _fetch_few(claimed: Claimed) -> None:
    """Ask for the rows of few outputs, each of which is proved by itself, while f was called at the point last."""
    m = claimed.primal.outputs.size
    if m <= ALONE:
        claimed.fetch(np.eye(m))


def _first_cotangents(task: Task) -> tuple[Vector, Vector, FirstLook]:
    """Two cotangents that the proofs use, too."""
    primal = task.primal
    m = primal.outputs.size
    everything = tuple(i for i, leaf in enumerate(primal.leaves) if leaf.size)
    look = FirstLook(primal, everything, task.options.seed, around=task.around)
    if m <= ALONE:
        # (The second one is of all outputs: the sum that is asked for holds a negative multiple of each.)
        return np.eye(1, m)[0], np.ones(m), look
    rows = unsaturated(steadied(look.rows(), task.precision(look)), look.at_point)
    cotangents = Cotangents(primal.outputs.leaves, look.at_point, rows, task.options.seed)
    group = cotangents.groups[0]
    first, second = (primal.outputs.rounded(cotangents.draw(k, group)) for k in range(2))
    return first, second, look


def _check_linear(task: Task, claimed: Claimed, first: Vector, second: Vector, look: FirstLook) -> bool:
    """Hold a product against linearity; whether it has passed."""
    if not claimed.measured or claimed.judged.set_aside:
        return False
    size = natural_sizes(claimed.primal, claimed.measured)
    known = [(u, claimed.pull(u)) for u in (first, second)]
    eps = task.precision(look)
    lost = 0.0
    if not is_double(eps):
        rounded = rounding(look.rows(), eps)
        lost = sum(float(np.linalg.norm(u * rounded)) for u in (first, second))

    def floor() -> float:
        taken = (first != 0) | (second != 0)
        length = max(float(np.linalg.norm(u)) for u in (first, second))
        return length * float(np.min(output_floor(look, eps), where=taken, initial=np.inf))

    broken = _contracts.check_linear(
        claimed.keyword, claimed.pull, known[0], known[1], size, eps, lost, floor=floor, repeat=claimed.repeat
    )
    if broken is not None:
        claimed.give_up(write_breach(broken))
    return broken is None
