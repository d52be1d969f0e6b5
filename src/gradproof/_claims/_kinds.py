"""One function for each kind of claim that is not a scalar gradient."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools as ft
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, cast

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends, _contracts, _prove
from gradproof._base._away import BudgetSpent, OutsideError, is_from_handler
from gradproof._base._errors import UsageError
from gradproof._base._leaf import Leaf
from gradproof._base._pieces import is_large
from gradproof._base._precision import is_double
from gradproof._claims._around import Around, natural_sizes, reach
from gradproof._claims._cancelled import floor_of, is_huge, is_told, may_be_cancelled, settle, without_cancelled
from gradproof._claims._claimed import (
    COLUMNS,
    DENSE,
    Claimed,
    ask_hvp,
    ask_jvp,
    ask_vjp,
    is_operator,
    push,
    random_tangents,
    read_jacobian,
)
from gradproof._claims._cotangents import ALONE, STREAM, Cotangents, rounding
from gradproof._claims._defined import excuse_undefined
from gradproof._claims._first_look import FirstLook, sizes_and_sides
from gradproof._claims._gradient import another_point, asks, undefined, unsettled
from gradproof._claims._limits import Place, beside_kinks, excused, is_about_numbers, worst_place
from gradproof._claims._linear import LinearProof
from gradproof._claims._proved import Proved
from gradproof._claims._repeats import Repeats, of_second_call
from gradproof._claims._rows import scale_of
from gradproof._claims._wording import write_breach
from gradproof._function._layout import join_parts
from gradproof._function._primal import Primal, Together
from gradproof._function._problem import Problem, coarsest_eps
from gradproof._prove import Direction, Directions
from gradproof._prove._collect import Collector
from gradproof._prove._laws import shared, spread
from gradproof._prove._tolerance import steadied, unsaturated
from gradproof._reference import complex_leaves, double_leaves
from gradproof._report import Finding, Verdict

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Function = Callable[..., Any]
P = ParamSpec("P")

# Tangents that a jvp is asked for where it cannot be asked for all: per leaf, and over all leaves.
TANGENTS, ALL_TANGENTS, LEAST_TANGENTS = 16, 64, 6
# Outputs (arrays) up to which the vjp of each alone is held against that of all together.
OUTPUTS_ALONE = 8
# Outputs up to which a vjp that can do so is asked for all rows at once.
ROWS = 1024
# Relative precision of a claim from which on its rounding is a share of its rows that matters: how large they are is
# measured then.
COARSE = 1e-5
# Rounding of a product with many terms, in machine epsilons.
ROUNDING = 1e4
# Points beside x that show whether f moves at all, and how far away.
TREADS, STEP = 4, 0.3
# Entries of a Jacobian that are measured one by one at most (80 MB each for claim, deviation and bar).
EVERYTHING = 10_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What all kinds of claims need: f at its point and around it, options, and the line that runs the check again.

    `values` says by keyword which claims are the derivative itself and not a function that computes it.
    """

    primal: Primal
    options: _prove.Options
    around: Around
    values: Mapping[str, bool]
    reproducer: str

    def repeats(self, keyword: str) -> Repeats | None:
        """What holds two answers of a claim against each other; None where it is called once."""
        return Repeats(keyword=keyword, options=self.options, around=self.around) if self.options.repeats else None

    def precision(self, look: FirstLook) -> float:
        """What products of the claim may be off by in rounding, relative."""
        return max(look.eps, self.options.claim_eps)


def is_value(claim: Any, primal: Primal, keyword: str) -> bool:
    """Whether the claim is the derivative itself and not a function that computes it."""
    if keyword in ("vjp", "jvp", "hvp"):
        if not callable(claim):
            value = {"vjp": "jac", "jvp": "jac", "hvp": "hess"}[keyword]
            raise UsageError(
                f"`{keyword}` must be callable, got {type(claim).__name__}: the matrix itself is claimed as `{value}`."
            )
        return False
    if keyword in ("jac", "hess") and is_operator(claim):
        return True
    return _contracts.is_value(claim, primal, keyword)


def prove_jac(task: Task, claim: Any) -> Proved:
    """Prove or refute a Jacobian: dense, sparse, or a linear operator."""
    primal = task.primal
    if not np.isfinite(primal.output_values()).all():
        return undefined(primal, task.options, findings=_aliases(primal), keyword="jac")
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
            floor=lambda: _second_floor(task, base, eps),
        )
        claimed.note([] if broken is None else [write_breach(broken, lambda i, j: claimed.place(i, j)[0])])
    proved = _finish(task, claimed, look)
    proved = _despite_cancelled(task, claimed, proved, base)
    if task.values[keyword] or keyword != "jac" or claimed.matrix is None:
        return proved

    def elsewhere(u: Vector, *args: Any) -> Vector | None:
        found = read_jacobian(primal, claim(*args), keyword).matrix
        return None if found is None else u @ found

    return _beside_kinks(task, claimed, proved, elsewhere)


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


def prove_vjp(task: Task, vjp: Function, rows: Function | None = None) -> Proved:
    """Prove or refute a vjp, and that it is linear in its cotangent.

    `rows` may say ``rows(*args) -> (m, n)``: the same for all unit cotangents at once, or None where it cannot.
    """
    primal = task.primal
    if not np.isfinite(primal.output_values()).all():
        return undefined(primal, task.options, findings=_aliases(primal), keyword="vjp")
    everything = task.options.level == "entries"

    def elsewhere(u: Vector, *args: Any) -> Vector | None:
        judged = _contracts.judge_claim(primal, vjp(primal.outputs.tree(u), *args), "vjp")
        return None if judged.set_aside else np.concatenate([np.ravel(judged.gradients[i]) for i in claimed.measured])

    few = 1 < primal.outputs.size <= (EVERYTHING if everything else ROWS)
    if rows is not None and few and task.options.claim_eps < COARSE:
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((task.options.seed, 6))))
        u = primal.outputs.rounded(generator.standard_normal(primal.outputs.size))
        claimed = ask_vjp(primal, vjp, u, task.repeats("vjp"))
        if _learn_rows(claimed, rows, u, EVERYTHING if everything else DENSE, task.options.claim_eps):
            proved = _despite_cancelled(task, claimed, _finish(task, claimed, None))
            return _beside_kinks(task, claimed, proved, elsewhere)
    first, second, look = _first_cotangents(task)
    claimed = ask_vjp(primal, vjp, first, task.repeats("vjp"))
    if _check_linear(task, claimed, first, second, look):
        _check_by_output(task, claimed, first, look)
        _fetch_few(claimed)
    proved = _despite_cancelled(task, claimed, _finish(task, claimed, look))
    return _beside_kinks(task, claimed, proved, elsewhere)


def _as_far_as_evaluations_last(further: Callable[P, Proved]) -> Callable[P, Proved]:
    """Decorate what looks at a proof, its third argument, in another light: where no evaluation is left, none is said.

    An accusation that might have been excused is not made then.
    """

    @ft.wraps(further)
    def as_far(*args: P.args, **kwargs: P.kwargs) -> Proved:
        try:
            return further(*args, **kwargs)
        except BudgetSpent:
            return unsettled(cast("Proved", args[2]))

    return as_far


@_as_far_as_evaluations_last
def _despite_cancelled(
    task: Task,
    claimed: Claimed,
    proved: Proved,
    base: Primal | None = None,
    again: Callable[[Claimed], Proved] | None = None,
    leaf_sizes: Vector | None = None,
) -> Proved:
    """Prove a claim once more without entries that may be rounding of 0, where these may be what speaks against it.

    Parameters
    ----------
    base : Primal, optional
        What a Hessian is the second derivative of.
    again : callable, optional
        Proves a claim of this kind.
    leaf_sizes : ndarray, optional
        Of each column that is a tangent, how large the entries are that it moves.
    """
    primal = claimed.primal
    if not (claimed.measured and claimed.whole and may_be_cancelled(proved)):
        return proved
    eps = max(coarsest_eps(claimed.leaves), primal.outputs.eps, task.options.claim_eps)
    if not is_told(primal, eps):
        return proved
    is_known = claimed.densify()
    proved = dataclasses.replace(proved, claim_calls=claimed.calls)
    if not is_known:
        return proved
    assert claimed.matrix is not None
    size = natural_sizes(primal, claimed.measured)
    if is_huge(claimed.matrix * size):
        return proved
    if base is None:
        inputs = natural_sizes(task.primal, tuple(range(len(task.primal.leaves))))
        rest = float(np.linalg.norm(claimed.matrix * size, axis=1).max())
        # (A weight of tangents moves a whole array by its natural size.)
        moved = size if leaf_sizes is None else leaf_sizes
        pair: tuple[Vector, Matrix | Vector] = moved, np.full(len(size), inputs.max())
        weights = np.ones(len(claimed.matrix))
    else:
        sized = claimed.matrix * size * size[:, None]
        rest = max(float(np.linalg.norm(sized, axis=1).max()), float(np.abs(primal.output_values() * size).max()))
        pair, weights = (size, size[:, None]), size
    natural = size * weights[:, None]
    floor = floor_of(
        primal,
        claimed.matrix * natural,
        size=size,
        weights=weights,
        pair=pair,
        rest=rest,
        around=task.around,
        seed=task.options.seed,
    )
    without = without_cancelled(claimed.matrix, floor / natural)
    if without is None:
        return proved
    left = copy.copy(claimed)
    left.use_matrix(without)
    task = dataclasses.replace(task, options=dataclasses.replace(task.options, collector=Collector()))
    # It is another claim: the first one must not stay WRONG for want of evaluations.
    primal.allow(task.options.allowance(len(task.primal.point)))
    other = _finish(task, left, None) if again is None else again(left)
    weights = scale_of(left, size, eps).weights[:, None] * size
    spans = {i: slice(leaf.start, leaf.stop) for i, leaf in zip(claimed.measured, claimed.leaves, strict=True)}
    return settle(proved, other, claimed.matrix * weights, without * weights, spans, task.reproducer)


@_as_far_as_evaluations_last
def _beside_kinks(task: Task, claimed: Claimed, proved: Proved, elsewhere: Callable[..., Vector | None]) -> Proved:
    """Excuse a claim that is a limit of derivatives nearby, as two mixtures of the outputs show it."""
    primal = task.primal
    if not is_about_numbers(proved) or is_large(primal.point) or primal.layout.is_complex:
        return proved
    if task.around.bounds is not None or len(claimed.measured) < len(primal.leaves):
        return proved
    calls, before = 0, claimed.calls

    def counted(u: Vector) -> Callable[..., Vector | None]:
        def called(*args: Any) -> Vector | None:
            nonlocal calls
            calls += 1
            return elsewhere(u, *args)

        return called

    places: list[Place] = []
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((task.options.seed, 9))))
    for _ in range(2 if primal.outputs.size > 1 else 1):
        u = primal.outputs.rounded(generator.standard_normal(primal.outputs.size))
        pieces = claimed.pieces(claimed.pull(u))
        eps = task.options.claim_eps
        places.append(beside_kinks(primal, pieces, counted(u), eps=eps, seed=task.options.seed, cotangent=u))
        if places[-1] is Place.OUTSIDE:
            break
    told = dataclasses.replace(
        excused(proved, worst_place(places)), claim_calls=proved.claim_calls + claimed.calls - before + calls
    )
    if told.suggestion is None and asks(told.findings):
        told = dataclasses.replace(told, suggestion=another_point(primal, task.options.seed, task.around.bounds))
    return told


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
            "hvp", pairs, size, eps, floor=lambda: _second_floor(task, base, eps)
        )
        claimed.crooked = None if broken is None else write_breach(broken)
        claimed.note([] if claimed.crooked is None else [claimed.crooked])
        _fetch_few(claimed)
    return _despite_cancelled(task, claimed, _finish(task, claimed, look), base)


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
        units = np.eye(m)
        return units[0], units[1 % m], look
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
        return length * float(np.min(_output_floor(look, eps), where=taken, initial=np.inf))

    broken = _contracts.check_linear(
        claimed.keyword, claimed.pull, known[0], known[1], size, eps, lost, floor=floor, repeat=claimed.repeat
    )
    if broken is not None:
        claimed.give_up(write_breach(broken))
    return broken is None


def _output_floor(look: FirstLook, eps: float) -> Vector:
    """Up to where products, in natural sizes, are numerically zero, output by output (m,).

    Rounding of f counts where f, in the precision that it is measured in, does not show that the output moves. Of a
    derivative that has vanished itself it is the rounding of the function whose derivative it is.
    """
    rows, values = look.rows(), (look.at_point, look.primal.terms)
    still = rows <= _contracts.vanishing(look.eps, *values, roundings=_contracts.ROW_ROUNDINGS)
    beside = _contracts.vanishing(eps, rows)
    return np.where(still, max(beside, _contracts.vanishing(eps, *values)), beside)


def _second_floor(task: Task, base: Primal | None, eps: float) -> float:
    """Up to where second derivatives in natural sizes are numerically zero, beside f and its gradient."""
    derived = task.primal
    gradient = derived.output_values() * natural_sizes(derived, tuple(range(len(derived.leaves))))
    if base is None:
        return _contracts.vanishing(eps, gradient)
    return max(_contracts.vanishing(eps, gradient, base.output_values()), _tread(base, task))


def _tread(base: Primal, task: Task) -> float:
    """What a scalar f moves by where it also keeps its bits, and infinity where it does nothing else; else 0.

    What is left where all terms of f have cancelled may be 0, of which no rounding can be told.
    """
    everything = tuple(range(len(base.leaves)))
    lower, upper = task.around.sides(base, everything)
    directions = Directions(base.leaves, base.point, np.zeros(len(base.point)), task.options.seed, lower, upper)
    problem = Problem(base, {i: np.zeros(leaf.size) for i, leaf in enumerate(base.leaves)})
    moves: list[float] = []
    for k in range(TREADS):
        v = directions.vector(Direction(STREAM + k, everything, (1.0,) * len(everything)))
        _, last = reach(problem.point, v, lower, upper)
        moves.append(abs(problem.evaluate(v, min(STEP, last)) - problem.evaluate(v, 0.0)))
    base.look_again()
    if 0.0 not in moves:
        return 0.0
    return max((move for move in moves if math.isfinite(move)), default=0.0) or math.inf


def prove_jvp(task: Task, jvp: Function) -> Proved:
    """Prove or refute a jvp: by all unit tangents, or by some random ones for each leaf."""
    primal = task.primal
    if not np.isfinite(primal.output_values()).all():
        return undefined(primal, task.options, findings=_aliases(primal), keyword="jvp")
    n = len(primal.point)
    everything = tuple(i for i, leaf in enumerate(primal.leaves) if leaf.size)
    look = FirstLook(primal, everything, task.options.seed, around=task.around)
    size, inward = sizes_and_sides(primal, tuple(range(len(primal.leaves))), task.around)
    wider: dict[int, float] = {}
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((task.options.seed, 3))))
    draws = generator.standard_normal((TANGENTS, n))
    if n <= COLUMNS or task.options.level == "entries":
        claimed = ask_jvp(primal, jvp, np.eye(n), repeats=task.repeats("jvp"))
        tangents = np.eye(n)
    else:
        per_leaf = min(TANGENTS, max(LEAST_TANGENTS, ALL_TANGENTS // len(everything)))
        tangents, counts = random_tangents(primal.leaves, size, np.where(inward, np.abs(draws), draws), per_leaf)
        reduced, around = _along_tangents(primal, tangents, counts, task.around, inward)
        claimed = ask_jvp(primal, jvp, tangents, reduced=reduced, repeats=task.repeats("jvp"))
        half = shared(task.options.confidence, 2)
        options = dataclasses.replace(task.options, confidence=half)
        task = dataclasses.replace(task, options=options, around=around)
        wider = {
            i: spread(count, leaf.size, half, folded=bool(inward[leaf.start : leaf.stop].any()))
            for i, (leaf, count) in enumerate(zip(primal.leaves, counts, strict=True))
            if leaf.size > count
        }
        look = FirstLook(reduced, everything, task.options.seed, around=around, eps=look.eps)
    if claimed.matrix is not None:
        _check_linear_tangent(task, claimed, jvp, tangents, look)
    proved = _finish(task, claimed, look, wider=wider)
    if claimed.matrix is not None:
        again = ft.partial(_finish, task, look=None, wider=wider)
        moved = None
        if claimed.reduced:
            sizes = np.where(tangents != 0, natural_sizes(primal, tuple(range(len(primal.leaves))))[:, None], 0.0)
            moved = sizes.max(axis=0)
        proved = _despite_cancelled(task, claimed, proved, again=again, leaf_sizes=moved)
    if not claimed.reduced:
        return proved
    return dataclasses.replace(
        proved,
        leaves=tuple(
            dataclasses.replace(
                result,
                path=leaf.path,
                shape=leaf.shape,
                dtype=leaf.dtype,
                # (Of the entries of x, not of the weights of tangents.)
                noticeable=None
                if result.noticeable is None
                else result.noticeable * math.sqrt(leaf.size / math.prod(result.shape)),
            )
            for result, leaf in zip(proved.leaves, primal.leaves, strict=True)
        ),
    )


def _check_linear_tangent(task: Task, claimed: Claimed, jvp: Function, tangents: Vector, look: FirstLook) -> None:
    """Jvp of a sum of tangents against the sum of the answers."""
    matrix = claimed.matrix
    assert matrix is not None
    k = np.arange(tangents.shape[1], dtype=np.float64)
    one, other = np.cos(1.0 + 3.0 * k), np.cos(2.0 + 5.0 * k)
    eps = task.precision(look)
    rows = steadied(np.linalg.norm(matrix, axis=1), eps)
    weights = 1 / np.where(rows > 0, rows, 1.0)
    size = natural_sizes(task.primal, tuple(range(len(task.primal.leaves))))
    moved = float(np.linalg.norm(tangents / size[:, None]))

    def push_again(v: Vector) -> Vector | None:
        return push(claimed, task.primal, jvp, v)

    broken = _contracts.check_linear(
        "jvp",
        push_again,
        (tangents @ one, matrix @ one),
        (tangents @ other, matrix @ other),
        weights,
        eps,
        2 * float(np.linalg.norm(rounding(rows, eps) * weights)),
        floor=lambda: weights * moved * _output_floor(look, eps),
        repeat=push_again,
    )
    if broken is not None:
        claimed.give_up(write_breach(broken))


def _along_tangents(
    primal: Primal, tangents: Vector, counts: list[int], around: Around, inward: NDArray[np.int8]
) -> tuple[Primal, Around]:
    """F as a function of the weights of tangents, one vector of weights for each leaf, and what is around it."""
    point, bounds, reference = primal.point, around.bounds, around.reference

    def moved(weights: tuple[Any, ...]) -> Vector:
        moved = point + tangents @ np.concatenate(weights)
        if bounds is not None and not ((bounds[0] <= moved) & (moved <= bounds[1])).all():
            raise OutsideError
        return moved

    def along(*weights: Any) -> Any:
        if any(np.iscomplexobj(part) for part in weights):
            # The complex step, which counts for two.
            primal.count(2)
            values = complex_leaves(primal, (point + tangents @ np.concatenate(weights)).astype(np.complex128))
        else:
            values = primal.make(moved(weights))
            primal.count()
        return primal.f(*primal.arguments(values))

    def reference_along(*weights: Any) -> Any:
        assert reference is not None
        primal.count()
        return reference(*primal.arguments(double_leaves(primal, moved(weights))))

    def many_along(*weights: Vector) -> Any:
        assert primal.together is not None
        points = point + np.concatenate(weights, axis=1) @ tangents.T
        if bounds is not None and not ((bounds[0] <= points) & (points <= bounds[1])).all():
            raise OutsideError
        arrays = primal.layout.stacked([points[:, leaf.start : leaf.stop] for leaf in primal.leaves], len(points))
        primal.count(len(points))
        return primal.together.call(*primal.arguments(arrays))

    together = primal.together
    reduced = Primal(
        along,
        tuple(np.zeros(count) for count in counts),
        tuple(range(len(counts))),
        name=primal.name,
        is_vector=True,
        together=None if together is None else Together(many_along, is_promised=together.is_promised),
    )
    reduced.short_name = primal.short_name
    reduced.count_elsewhere()  # `along` and the others tell
    reduced.deferred = primal.deferred
    reduced.share_allowance(primal)
    reduced.refusals = primal.refusals
    reduced.leaves = tuple(
        Leaf(path=leaf.path, shape=(count,), dtype="float64", start=own.start, stop=own.stop)
        for leaf, own, count in zip(primal.leaves, reduced.leaves, counts, strict=True)
    )
    if reference is not None:
        reference_along.__name__ = primal.short_name
    sides = None
    if bounds is not None:
        # Where an entry can move one way only, its tangents go there, and so must their weights.
        least = np.full(len(reduced.point), -np.inf)
        for leaf, own in zip(primal.leaves, reduced.leaves, strict=True):
            if inward[leaf.start : leaf.stop].any():
                least[own.start : own.stop] = 0.0
        sides = least, np.full(len(reduced.point), np.inf)
    return reduced, Around(
        bounds=sides, reference=None if reference is None else reference_along, has_witnesses=around.has_witnesses
    )


def _finish(task: Task, claimed: Claimed, look: FirstLook | None, wider: dict[int, float] | None = None) -> Proved:
    primal = task.primal
    excuse_undefined(primal, claimed.judged, task.around)
    findings: list[Finding] = _aliases(primal)
    if look is None:
        look = FirstLook(primal, tuple(range(len(primal.leaves))), task.options.seed, around=task.around)
    elif look.measured != claimed.measured and claimed.measured:
        look = FirstLook(claimed.primal, claimed.measured, task.options.seed, around=task.around, eps=look.declared)
    proof = LinearProof(claimed, task.options, task.reproducer, look=look, around=task.around, wider=wider)
    proved = proof.run()
    if proved.verdict is Verdict.WRONG and (primal.layout.is_complex or primal.outputs.layout.is_complex):
        with contextlib.suppress(BudgetSpent):  # the convention is not named then
            proved = _as_complex(task, proof, proved)
    primal.look_again()
    mutations = _contracts.find_mutations(primal.changed, claimed.changed, claimed.keyword)
    suggestion = another_point(primal, task.options.seed, task.around.bounds) if asks(proved.findings) else None
    return dataclasses.replace(
        proved,
        findings=(*findings, *proved.findings, *mutations),
        verdict=Verdict.WRONG if mutations else proved.verdict,
        suggestion=suggestion,
        matrix=claimed.matrix if claimed.columns == len(primal.point) and not claimed.reduced else None,
    )


def _as_complex(task: Task, proof: LinearProof, proved: Proved) -> Proved:
    """Look at complex arrays as a whole."""
    from gradproof._claims._conventions import Suspect, name_conventions

    claimed = proof.claimed
    return name_conventions(
        proved,
        Suspect(
            keyword=claimed.keyword,
            primal=claimed.primal,
            layout=task.primal.layout,
            outputs=task.primal.outputs.layout,
            measured=claimed.measured,
            pull=claimed.pull,
            rows=proof.rows(),
            names=claimed.names if claimed.by_index else (),
            eps=proof.look.eps,
            seed=task.options.seed,
            reproducer=task.reproducer,
            around=proof.around,
        ),
    )


def _aliases(primal: Primal) -> list[Finding]:
    return _contracts.find_aliases(primal.origins)


class _Gradient:
    """A gradient that is called at other points than f: right after f there, if it goes by what f has kept.

    That it does is seen where it stands still, or raises, while its point moves, and does not once f was called.
    """

    TRIALS = 3

    def __init__(self, primal: Primal, grad: Function) -> None:
        self._primal, self._grad = primal, grad
        self._after_f = False
        self._trials = 0 if primal.stands_alone else self.TRIALS
        self._at_point: Vector | None = None

    def at(self, args: Sequence[Any], *, is_away: bool) -> Any:
        """The gradient at a point, as it was returned."""
        if not is_away:
            self._primal.look()
            returned = _backends.copied(self._grad(*args))
            self._at_point = self._flat(returned)
            return returned
        if self._after_f:
            return self._after(args)
        try:
            returned = _backends.copied(self._grad(*args))
        except Exception as error:
            if not self._trials or is_from_handler(error):
                raise
            self._trials -= 1
            try:
                returned = self._after(args)
            except Exception:
                raise error from None
            self._after_f = True
            return returned
        if self._trials and self._stands_still(returned):
            self._trials -= 1
            again = self._after(args)
            self._after_f = not self._stands_still(again)
            return again
        self._trials = 0
        return returned

    def _after(self, args: Sequence[Any]) -> Any:
        self._primal.count()
        self._primal.f(*_backends.copied(tuple(args)))
        return _backends.copied(self._grad(*args))

    def _stands_still(self, returned: Any) -> bool:
        now = self._flat(returned)
        return self._at_point is not None and now is not None and np.array_equal(now, self._at_point)

    def _flat(self, returned: Any) -> Vector | None:
        gradients = _contracts.judge_claim(self._primal, returned, "grad").gradients
        return np.concatenate([np.ravel(gradients[i]) for i in sorted(gradients)]) if gradients else None


def gradient_function(primal: Primal, grad: Function) -> Primal:
    """The user's gradient as a function with outputs in the order and shapes of the leaves.

    It is differentiated once more: its form has been judged before.
    """
    base = primal
    asked = _Gradient(base, grad)

    def values(*args: Any) -> Any:
        if base.has_edge and not base.is_defined(*args):
            raise ArithmeticError("beyond an edge of the function")
        returned = asked.at(args, is_away=derived.is_away)
        judged = _contracts.judge_claim(base, returned, "grad")
        arrays = [
            judged.gradients.get(i, np.full(leaf.shape, math.nan) if leaf.size else np.zeros(leaf.shape))
            for i, leaf in enumerate(base.leaves)
        ]
        arrays = [array.astype(leaf.numpy_dtype, copy=False) for array, leaf in zip(arrays, base.leaves, strict=True)]
        parts = [tuple(arrays[i] for i in origin.parts) for origin in base.origins]
        arrays = [part[0] if len(part) == 1 else join_parts(*part) for part in parts]
        return arrays[0] if len(arrays) == 1 and not base.keys[0][1:] else arrays

    setattr(values, "__wrapped__", base.f)  # noqa: B010  (names of arguments are read from the signature that it wraps)
    derived = Primal(values, base.given, base.given_wrt, name=primal.name, is_vector=True)
    derived.short_name = "grad"
    derived.parent = base
    derived.refusals = base.refusals
    return derived
