"""What the user's claim returns, read: a value, or products that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof import _backends, _contracts
from gradproof._base._errors import ClaimError, UsageError
from gradproof._claims._claimed import DENSE, Claimed, Function, Matrix, Vector
from gradproof._claims._repeats import Repeats
from gradproof._claims._wording import write_breach
from gradproof._contracts import Judged
from gradproof._function._primal import Primal
from gradproof._prove._directions import leaf_size
from gradproof._report import Finding, Severity

# Products that are remembered: proofs ask for the same few again, a whole matrix is asked for once.
KEPT = 64


# ------------------------------------------------------------------------------------------------- jac and hess


def is_operator(claim: Any) -> bool:
    """Whether the claim is a sparse matrix or a linear operator, as far as its attributes tell."""
    if _backends.is_array(claim) or isinstance(claim, (np.generic, type)) or not hasattr(claim, "shape"):
        return False
    return any(hasattr(claim, name) for name in ("toarray", "tocoo", "matvec", "rmatvec", "__matmul__"))


def read_jacobian(primal: Primal, claim: Any, keyword: str, base: Primal | None = None) -> Claimed:
    """Take the value of `jac` or `hess`: arrays in a tree, a sparse matrix or a linear operator.

    `base` is what a Hessian is the second derivative of: its leaves are the rows.
    """
    if base is None:
        names, keys = [origin.path[len("output") :] for origin in primal.outputs.origins], None
    else:
        names = [base.suffix(i) for i in range(len(base.leaves))]
        keys = [(0, *way) if base.is_tuple else way for way in base.keys]
    claimed = Claimed(keyword, primal, names)
    if is_operator(claim) and (primal.layout.is_complex or primal.outputs.layout.is_complex):
        if not hasattr(claim, "toarray"):
            raise UsageError(
                f"`{keyword}` is a {type(claim).__name__}, which can be checked between real arrays so far; pass its "
                "products as `vjp` or `jvp`, or an array."
            )
        claim = claim.toarray()
    if is_operator(claim):
        _read_operator(claimed, claim)
        return claimed
    judged, flat = _contracts.judge_jacobian(primal, claim, keyword, names, keys)
    claimed.judged = judged
    claimed.measure(sorted(judged.gradients))
    claimed.flat = flat
    if judged.gradients:
        claimed.use_matrix(np.concatenate([judged.gradients[i] for i in claimed.measured], axis=1))
    return claimed


def _read_operator(claimed: Claimed, operator: Any) -> None:
    primal, keyword = claimed.primal, claimed.keyword
    if len(primal.leaves) != 1:
        raise UsageError(
            f"`{keyword}` is a {type(operator).__name__}, which stands for one array argument; here "
            f"{len(primal.leaves)} arrays are differentiated."
        )
    m, n = primal.outputs.size, primal.leaves[0].size
    claimed.flat = {0}
    shape = tuple(operator.shape)
    if shape != (m, n):
        advice = "`.T` fits: is it transposed?" if shape == (n, m) else "rows are outputs, columns are inputs."
        claimed.judged.findings.append(
            Finding(
                id="GP201",
                severity=Severity.ERROR,
                path=primal.leaves[0].path,
                kind=f"claimed {type(operator).__name__} of shape {shape} for {m} outputs and {n} inputs",
                advice=advice,
            )
        )
        claimed.judged.set_aside[0] = f"set aside: claimed with shape {shape}"
        return
    claimed.measure((0,))
    if hasattr(operator, "toarray") and m * n <= DENSE:
        matrix = np.asarray(operator.toarray())
        about, _ = _contracts.judge_jacobian(primal, matrix, keyword, claimed.names if len(claimed.names) == 1 else ())
        claimed.judged = about
        if 0 in about.set_aside:
            claimed.measure(())
            return
        claimed.use_matrix(np.array(matrix, dtype=np.float64))
        claimed.pattern = _declared(operator, (m, n))
        return

    def product(u: Vector) -> Vector:
        result = _multiply(operator, u, "rmatvec", keyword, claimed)
        vector = np.asarray(result, dtype=np.float64).reshape(-1)
        if vector.size != n:
            raise ClaimError(f"`{keyword}` gives J^T u of {vector.size} entries for {n} inputs.")
        return np.where(np.isfinite(vector), vector, 0.0)

    claimed.use_product(product)
    probe = np.asarray(_multiply(operator, np.ones(m), "rmatvec", keyword, claimed), dtype=np.float64).reshape(-1)
    if not np.isfinite(probe).all():
        claimed.note(_contracts.judge_claim(primal, probe.reshape(primal.leaves[0].shape), keyword).findings)
        claimed.judged.set_aside[0] = "set aside: the claim is not finite"
        claimed.measure(())
        return
    if hasattr(operator, "matvec"):
        u, v = np.cos(1.0 + np.arange(m)), np.cos(2.0 + np.arange(n))
        ahead = np.asarray(_multiply(operator, v, "matvec", keyword, claimed), dtype=np.float64).reshape(-1)
        back = product(u)
        terms = float(np.linalg.norm(u) * np.linalg.norm(ahead) + np.linalg.norm(back) * np.linalg.norm(v))
        eps = np.finfo(float).eps
        size = np.broadcast_to(leaf_size(primal.leaves[0], primal.point), (n,))
        moved = float(np.linalg.norm(v / size))
        floor = float(np.linalg.norm(u)) * _contracts.vanishing(eps, primal.output_values() * moved, ahead, back * v)
        broken = _contracts.check_adjoint(keyword, float(u @ ahead), float(back @ v), terms, eps, floor)
        claimed.note([] if broken is None else [write_breach(broken)])


def _multiply(operator: Any, vector: Vector, method: str, keyword: str, claimed: Claimed) -> Any:
    """``matvec`` or ``rmatvec``, or the same by ``@`` where the operator has no such method."""
    claimed.calls += 1
    try:
        if hasattr(operator, method):
            return getattr(operator, method)(vector.copy())
        return (operator if method == "matvec" else operator.T) @ vector
    except Exception as error:
        raise ClaimError(f"`{keyword}` raised {type(error).__name__} in `{method}`: {error}") from error


def _declared(operator: Any, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The entries that a sparse matrix stores, explicit zeros included."""
    if not hasattr(operator, "tocoo"):
        return None
    stored = operator.tocoo()
    if not (hasattr(stored, "row") and hasattr(stored, "col")):
        return None
    pattern = np.zeros(shape, dtype=bool)
    pattern[np.asarray(stored.row), np.asarray(stored.col)] = True
    return pattern


# --------------------------------------------------------------------------------------------------- vjp and hvp


def ask_vjp(primal: Primal, vjp: Function, first: Vector, repeats: Repeats | None = None) -> Claimed:
    """Take a `vjp`: ``vjp(cotangent, *args)`` in the structure of what is differentiated; ask for `first` twice."""

    def product(u: Vector) -> tuple[Function, Callable[[], bool]]:
        handed = primal.outputs.tree(u)
        return (
            lambda *args: vjp(handed, *args),
            lambda: bool(np.array_equal(primal.outputs.read(handed), primal.outputs.rounded(u))),
        )

    return _ask_product(Claimed("vjp", primal, [""] * len(primal.outputs.origins)), product, first, repeats)


def ask_hvp(primal: Primal, base: Primal, hvp: Function, first: Vector, repeats: Repeats | None = None) -> Claimed:
    """Take an `hvp`: ``hvp(vector, *args)``; `primal` is the gradient of `base`'s function; ask for `first` twice."""

    def product(u: Vector) -> tuple[Function, Callable[[], bool]]:
        handed = base.tangent(u)
        return lambda *args: hvp(handed, *args), lambda: True

    return _ask_product(Claimed("hvp", primal, [""] * len(primal.outputs.origins)), product, first, repeats)


def _ask_product(
    claimed: Claimed,
    prepare: Callable[[Vector], tuple[Function, Callable[[], bool]]],
    first: Vector,
    repeats: Repeats | None,
) -> Claimed:
    primal, keyword = claimed.primal, claimed.keyword

    def answer(u: Vector, anew: bool) -> Judged:
        function, is_unchanged = prepare(u)
        returned = claimed.call(function, keyword, anew=anew)
        word = "the cotangent" if keyword == "vjp" else "the vector"
        if not is_unchanged() and word not in claimed.changed:
            claimed.changed.append(word)
        return _contracts.judge_claim(primal, returned, keyword)

    def ask(u: Vector) -> Judged:
        judged = answer(u, anew=False)
        claimed.note(judged.findings)
        claimed.judged.misshapen |= judged.misshapen
        return judged

    judged = answer(first, anew=False)
    claimed.twice(repeats, judged, lambda anew: answer(first, anew), first)
    claimed.note(judged.findings)
    claimed.judged.misshapen |= judged.misshapen
    claimed.judged.set_aside.update(judged.set_aside)
    claimed.judged.undecided.update(judged.undecided)
    claimed.judged.empty = judged.empty
    claimed.measure(sorted(judged.gradients))
    known = {first.tobytes(): judged}

    def read(found: Judged) -> Vector:
        # What is missing now but was there at first has its finding; the rest goes on with zeros.
        return np.concatenate(
            [
                np.ravel(found.gradients.get(i, np.zeros(leaf.size)))
                for i, leaf in zip(claimed.measured, claimed.leaves, strict=True)
            ]
        )

    def pull(u: Vector) -> Vector:
        found = known.get(u.tobytes())
        if found is None:
            found = ask(u)
            if len(known) < KEPT:
                known[u.tobytes()] = found
        return read(found)

    claimed.use_product(pull)
    claimed.repeat = lambda u: read(ask(u))
    return claimed


# ----------------------------------------------------------------------------------------------------------- jvp


def ask_jvp(
    primal: Primal,
    jvp: Function,
    tangents: Matrix,
    *,
    reduced: Primal | None = None,
    repeats: Repeats | None = None,
) -> Claimed:
    """Take a `jvp`: ``jvp(tangents, *args)`` in the structure of what f returns.

    Parameters
    ----------
    primal : Primal
    jvp : callable
    tangents : ndarray (n, q)
        The columns are the tangents that are asked for; the claim is the matrix (m, q) of the answers.
    reduced : Primal, optional
        f as a function of the weights of these tangents; None where they are the unit vectors.
    repeats : Repeats, optional
        Asks for the first of them twice.
    """
    claimed = Claimed("jvp", primal if reduced is None else reduced, [""] * len(primal.outputs.origins))
    claimed.reduced = reduced is not None
    columns = [np.ascontiguousarray(column) for column in tangents.T]
    answers = [push(claimed, primal, jvp, columns[0])]
    if repeats is not None and answers[0] is not None:
        _push_again(claimed, primal, jvp, columns[0], answers[0], repeats)
        if claimed.judged.undecided or claimed.judged.set_aside:
            claimed.judged.empty = [i for i, leaf in enumerate(claimed.primal.leaves) if not leaf.size]
            return claimed
    answers += [push(claimed, primal, jvp, column) for column in columns[1:]]
    if any(answer is None for answer in answers):
        whole = "set aside: the jvp could not be read"
        claimed.judged.set_aside = dict.fromkeys(range(len(primal.leaves)), whole)
        return claimed
    claimed.measure([i for i, leaf in enumerate(claimed.primal.leaves) if leaf.size])
    claimed.judged.empty = [i for i, leaf in enumerate(claimed.primal.leaves) if not leaf.size]
    claimed.use_matrix(np.array(answers, dtype=np.float64).T)
    return claimed


def _push_again(claimed: Claimed, primal: Primal, jvp: Function, v: Vector, one: Vector, repeats: Repeats) -> None:
    """Ask for a jvp along the same tangent as before, and note what a different answer says of the claim."""
    try:
        other = push(claimed, primal, jvp, v)
    except ClaimError:
        other = None
    if (other is None or repeats.differ_in_outputs(primal, one, other)) and not primal.stands_alone:
        other = push(claimed, primal, jvp, v, anew=True)
        claimed.anew = other is not None and not repeats.differ_in_outputs(primal, one, other)
    if other is None:
        # What it cannot be read for has been noted.
        claimed.judged.set_aside.update(
            dict.fromkeys(range(len(primal.leaves)), "set aside: the jvp could not be read")
        )
        return
    repeats.settle_outputs(primal, claimed.judged, v, one, other, lambda: push(claimed, primal, jvp, v, anew=True))


def push(claimed: Claimed, primal: Primal, jvp: Function, v: Vector, *, anew: bool = False) -> Vector | None:
    """Jvp along one tangent (n,), as a flat vector (m,); None where it cannot be read."""
    handed = primal.tangent(v)
    claimed.calls += 1
    returned, changed = primal.claim(lambda *args: jvp(handed, *args), "jvp", anew=anew or claimed.anew)
    claimed.changed += [path for path in changed if path not in claimed.changed]
    judged = _judged_push(primal, returned)
    claimed.note(judged.findings)
    return _column(primal, judged)


def pushed(primal: Primal, jvp: Function, tangents: Sequence[Vector], *args: Any) -> Matrix | None:
    """Jvp along some tangents at other arguments (m, q); None where one cannot be read. Nothing is counted or noted."""
    answers = [_column(primal, _judged_push(primal, jvp(primal.tangent(v), *args))) for v in tangents]
    return None if any(one is None for one in answers) else np.array(answers, dtype=np.float64).T


def _judged_push(primal: Primal, returned: Any) -> _contracts.Judged:
    return _contracts.judge_tree(
        returned, layout=primal.outputs.layout, roots=("output",), is_tuple=False, keyword="jvp", noun="jvp"
    )


def _column(primal: Primal, judged: _contracts.Judged) -> Vector | None:
    if judged.set_aside:
        return None
    leaves = primal.outputs.leaves
    return np.concatenate(
        [
            np.ravel(judged.gradients.get(i, np.zeros(leaf.size))) if leaf.size else np.zeros(0)
            for i, leaf in enumerate(leaves)
        ]
    )
