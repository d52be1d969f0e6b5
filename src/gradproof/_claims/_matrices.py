"""`jac` and `hess`: matrices, dense, sparse or operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts
from gradproof._claims._around import natural_sizes
from gradproof._claims._claimed import Claimed
from gradproof._claims._finish import despite_cancelled, excuse_at_kinks, find_aliases, finish
from gradproof._claims._first_look import FirstLook
from gradproof._claims._gradient import undefined
from gradproof._claims._proved import Proved
from gradproof._claims._reading import read_jacobian
from gradproof._claims._repeats import Repeats, of_second_call
from gradproof._claims._task import Task
from gradproof._claims._wording import write_breach
from gradproof._claims._zero_floors import second_floor
from gradproof._function._primal import Primal

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Function = Callable[..., Any]


def prove_jac(task: Task, claim: Any) -> Proved:
    """Prove or refute a Jacobian: dense, sparse, or a linear operator."""
    primal = task.primal
    if not np.isfinite(primal.output_values()).all():
        return undefined(primal, task.options, findings=find_aliases(primal), keyword="jac")
    return _prove_matrix(task, claim, "jac")


def prove_hess(task: Task, claim: Any, base: Primal) -> Proved:
    """Prove or refute a Hessian against the gradient function, which is the task's f."""
    return _prove_matrix(task, claim, "hess", base)


def _prove_matrix(task: Task, claim: Any, keyword: str, base: Primal | None = None) -> Proved:
    primal = task.primal
    claimed = (
        read_jacobian(primal, claim, keyword, base)
        if task.values[keyword]
        else ask_matrix(primal, claim, keyword, task.repeats(keyword), base)
    )
    look = FirstLook(primal, claimed.measured, task.options.seed, around=task.around) if claimed.measured else None
    if keyword == "hess" and claimed.matrix is not None and look is not None and claimed.whole:
        size = natural_sizes(primal, claimed.measured)
        eps = task.precision(look)
        broken = _contracts.check_symmetric(
            keyword,
            claimed.matrix,
            size,
            eps,
            floor=lambda: second_floor(task, base, eps),
        )
        claimed.note([] if broken is None else [write_breach(broken, lambda i, j: claimed.place(i, j)[0])])
    proved = finish(task, claimed, look)
    proved = despite_cancelled(task, claimed, proved, base)
    if task.values[keyword] or keyword != "jac" or claimed.matrix is None:
        return proved

    def elsewhere(u: Vector, *args: Any) -> Vector | None:
        found = read_jacobian(primal, claim(*args), keyword).matrix
        return None if found is None else u @ found

    return excuse_at_kinks(task, claimed, proved, elsewhere)


def ask_matrix(
    primal: Primal, claim: Function, keyword: str, repeats: Repeats | None, base: Primal | None = None
) -> Claimed:
    """Call a `jac` or `hess`, and once more, and take what it returns."""

    def read(*, anew: bool) -> Claimed:
        returned, changed = primal.claim(claim, keyword, anew=anew)
        claimed = read_jacobian(primal, returned, keyword, base)
        claimed.calls += 1
        claimed.changed += changed
        return claimed

    claimed = read(anew=False)
    if repeats is None or claimed.matrix is None:
        return claimed

    def ask() -> Matrix:
        again = read(anew=True)
        claimed.calls += again.calls
        claimed.changed += [path for path in again.changed if path not in claimed.changed]
        claimed.note(of_second_call(claimed.judged.findings, again.judged.findings))
        assert claimed.matrix is not None
        # What the second call lacks has its finding.
        same = again.matrix is not None and again.measured == claimed.measured
        return again.matrix if same and again.matrix is not None else claimed.matrix

    judged = repeats.settle_matrix(primal, claimed.matrix, ask, claimed.pieces)
    claimed.note(judged.findings)
    claimed.judged.set_aside.update(judged.set_aside)
    claimed.judged.undecided.update(judged.undecided)
    claimed.leave([*judged.set_aside, *judged.undecided])
    return claimed
