"""A claimed derivative as one linear map (m, n): a matrix, or products with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof import _contracts
from gradproof._base._errors import ClaimError, UsageError
from gradproof._base._leaf import Leaf, relaid
from gradproof._claims._wording import write_breach
from gradproof._contracts import Judged
from gradproof._function._layout import SUFFIXES
from gradproof._function._primal import Primal
from gradproof._prove._collect import MIX
from gradproof._prove._directions import leaf_size
from gradproof._report import Finding, Severity

if TYPE_CHECKING:
    from gradproof._claims._repeats import Repeats

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]
Function: TypeAlias = Callable[..., Any]

# Entries up to which a matrix is held as such (32 MB).
DENSE = 4_000_000
# Products that are remembered: proofs ask for the same few again, a whole matrix is asked for once.
KEPT = 64
# Inputs up to which a jvp is asked for every column.
COLUMNS = 64


class Claimed:
    """What the user claims the derivative of f at the point to be.

    Attributes
    ----------
    keyword : str
    primal : Primal
        Whose outputs are the rows, and whose measured leaves, one after the other, are the columns.
    leaves : tuple of Leaf
        The measured ones; `measured` are their places among ``primal.leaves``.
    matrix : ndarray (m, n) or None
        None where only products are known.
    pattern : ndarray of bool (m, n) or None
        Entries that a sparse claim declares.
    pull : callable
        ``pull(u) -> J^T u`` over the measured leaves.
    size : ndarray (n,)
        Natural size of the measured entries.
    judged : Judged
        Findings about the form, leaves that are set aside or empty.
    calls : int
        Calls of the user's claim.
    changed : list of str
        What it changed in place.
    """

    def __init__(self, keyword: str, primal: Primal, names: Sequence[str]) -> None:
        self.keyword = keyword
        self.primal = primal
        self.judged = Judged()
        self.matrix: Matrix | None = None
        self.pattern: NDArray[np.bool_] | None = None
        self.calls = 0
        self.changed: list[str] = []
        self.measured: tuple[int, ...] = ()
        self.leaves: tuple[Leaf, ...] = ()
        self.names = tuple(names)
        # Columns stand for random tangents, not for entries.
        self.reduced = False
        # What is said of a claim that is not symmetric.
        self.crooked: Finding | None = None
        # Rows stand for several outputs together.
        self.mixed = False
        # Whether a call needs a call of f of its own before it.
        self.anew = False
        # The product, asked for once more; None where the claim is a matrix.
        self.repeat: Callable[[Vector], Vector] | None = None
        self._flat: set[int] = set()
        self._product: Callable[[Vector], Vector] | None = None

    @property
    def subject(self) -> str:
        """What advice calls it: by its keyword, or, of what a framework returns, by who computes it."""
        return self.primal.subject or f"`{self.keyword}`"

    @property
    def by_index(self) -> bool:
        """Whether the claim is something with entries, such as ``jac[3, 7]``, and not a product."""
        return self.keyword in ("jac", "hess")

    @property
    def whole(self) -> bool:
        """Whether no leaf has been left out."""
        return not self.judged.set_aside and not self.judged.undecided

    def measure(self, leaves: Sequence[int]) -> None:
        """Settle which leaves are measured."""
        self.measured = tuple(leaves)
        self.leaves = relaid(self.primal.leaves[i] for i in leaves)

    def use_matrix(self, matrix: Matrix) -> None:
        """State the claim as a matrix (m, n)."""
        self.matrix = matrix

    def use_product(self, product: Callable[[Vector], Vector]) -> None:
        """State the claim as ``product(u) -> J^T u``."""
        self._product = product

    def pull(self, u: Vector) -> Vector:
        """J^T u over the measured leaves (n,)."""
        if self.matrix is not None:
            return u @ self.matrix
        assert self._product is not None
        return self._product(u)

    def pieces(self, gradient: Vector) -> dict[int, Vector]:
        """A vector (n,) leaf by leaf, by index in ``primal.leaves``."""
        return {i: gradient[leaf.start : leaf.stop] for i, leaf in zip(self.measured, self.leaves, strict=True)}

    def fetch(self, cotangents: Iterable[Vector]) -> None:
        """Ask for some products in a row: all of them share one call of f."""
        if self.matrix is None and not self.primal.stands_alone:
            for u in cotangents:
                self.pull(u)

    def twice(self, repeats: Repeats | None, one: Judged, ask: Callable[[bool], Judged], u: Vector | None) -> None:
        """Ask for the same as before, and note what a different answer says of the claim.

        It shares the call of f with the one before; where it raises, or says something else, it gets a call of its own,
        and if that helps, so does every other call.

        Parameters
        ----------
        repeats : Repeats or None
            None asks for nothing.
        one : Judged
            The answer.
        ask : callable
            ``ask(anew) -> answer``.
        u : ndarray (m,) or None
            The cotangent.
        """
        if repeats is None or not one.gradients:
            return
        primal = self.primal
        try:
            other = ask(False)
        except ClaimError:
            other = None
        if (other is None or repeats.differ(primal, one, other)) and not primal.stands_alone:
            other = ask(True)
            self.anew = not repeats.differ(primal, one, other)
        if other is None:
            other = ask(False)
        repeats.settle(primal, one, lambda: ask(True), other, u)

    def densify(self, *, everything: bool = False) -> bool:
        """Ask for every row where that is affordable, or `everything` is wanted; whether the matrix is known now."""
        m, n = self.primal.outputs.size, self.columns
        if self.matrix is None and (everything or ((m <= 64 or m * n <= 4096) and m * n <= DENSE)):
            self.matrix = np.array([self.pull(_unit(m, i)) for i in range(m)])
        return self.matrix is not None

    @property
    def columns(self) -> int:
        """Entries of the measured leaves, n."""
        return self.leaves[-1].stop if self.leaves else 0

    def leave(self, leaves: Iterable[int]) -> None:
        """Measure all but some leaves."""
        kept = [i for i in self.measured if i not in set(leaves)]
        columns = [
            np.arange(leaf.start, leaf.stop) for i, leaf in zip(self.measured, self.leaves, strict=True) if i in kept
        ]
        where = np.concatenate([np.zeros(0, dtype=np.intp), *columns])
        self.matrix = None if self.matrix is None else self.matrix[:, where]
        self.pattern = None if self.pattern is None else self.pattern[:, where]
        self.measure(kept)

    def place(self, i: int | None, j: int) -> tuple[str, tuple[int, ...], str]:
        """Where entry (i, j) stands: path, index and what else there is to say; i is None for all rows."""
        k = next(k for k, leaf in enumerate(self.leaves) if leaf.start <= j < leaf.stop)
        leaf, original = self.leaves[k], self.measured[k]
        flat = j - leaf.start
        column = tuple(int(x) for x in np.unravel_index(flat, leaf.shape)) if leaf.shape else ()
        if not self.by_index:
            path = leaf.path + (str(list(column)) if column else "")
            return path, column, "in every output" if i is None else f"through {self.output(i)}"
        if i is None:
            shapes = [output.shape for output in self.primal.outputs.origins]
            if len(shapes) > 1:
                return leaf.path + (str(list(column)) if column else ""), column, "in every output"
            rows, column = ((":",), (flat,)) if original in self._flat else ((":",) * len(shapes[0]), column)
            path = f"{self.keyword}{self.primal.suffix(original)}[{', '.join([*rows, *map(str, column)])}]"
            return path, (), f"by {leaf.path}" if self.primal.layout.suffix(original) else ""
        output, row = self.primal.outputs.leaf_of(i)
        if original in self._flat:
            row = (i if len(self.primal.outputs.origins) > 1 and not any(self.names) else i - output.start,)
            column = (flat,)
        index = row + column
        path = self._block(i, original)
        return path + (str(list(index)) if index else ""), index, ""

    def leaf_path(self, i: int, k: int, suffix: str) -> str:
        """Row i of measured leaf k, or the part of it that `suffix`, such as ``[3:5]``, selects."""
        leaf, original = self.leaves[k], self.measured[k]
        if not self.by_index:
            return leaf.path + suffix
        _, row = self.primal.outputs.leaf_of(i)
        if original in self._flat:
            row, suffix = (i - self.primal.outputs.leaf_of(i)[0].start,), "" if len(leaf.shape) != 1 else suffix
        inner = ", ".join([*map(str, row), *([suffix[1:-1]] if suffix else [])])
        return self._block(i, original) + (f"[{inner}]" if inner else "")

    def _block(self, i: int, original: int) -> str:
        """The block of the claim that row i of a leaf belongs to, and which part of it, as Python source."""
        outputs, leaves = self.primal.outputs.layout, self.primal.layout
        row = next(k for k, leaf in enumerate(outputs.leaves) if leaf.start <= i < leaf.stop)
        path = self.keyword + self.names[outputs.origins.index(outputs.owners[row])] + self.primal.suffix(original)
        of_row, of_column = outputs.suffix(row), leaves.suffix(original)
        if of_row and of_column:
            # df = J dz: the derivative of the real part by the imaginary one is minus the imaginary part of J.
            sign = "-" if (of_row, of_column) == SUFFIXES else ""
            return sign + path + SUFFIXES[of_row != of_column]
        return path + of_row + of_column

    def block(self, k: int, other: int) -> str:
        """The second derivatives by two leaves; of a product, what it returns for the first."""
        return self._block(self.leaves[k].start, self.measured[other]) if self.by_index else self.leaves[k].path

    def output(self, i: int) -> str:
        """Output i in words, such as ``output[3]``; of a gradient, the entry that it is the derivative by."""
        if self.keyword in ("hess", "hvp"):
            return "grad" + self.primal.outputs.path_of(i)[len("output") :]
        return self.primal.outputs.path_of(i)

    def named(self, i: int, j: int) -> tuple[str, tuple[int, ...] | None, str]:
        """What the slope of output i is of: path, entry (where input j moves alone, else -1) and output."""
        output = MIX if self.mixed else self.output(i)
        if j < 0 or self.reduced:
            return self.leaves[0].path if len(self.leaves) == 1 else "", None, output
        path, index, _ = self.place(i, j)
        return path.removesuffix(str(list(index))), index, "" if self.by_index else output

    def note(self, findings: Sequence[Finding]) -> None:
        """Add findings that are not known yet."""
        known = {(finding.id, finding.path, finding.kind) for finding in self.judged.findings}
        # (What has been excused, see `gradproof._claims._defined`, is found again by every further call.)
        excused = {(one.id, one.path) for one in self.judged.findings if self.judged.undefined and one.id == "GP203"}
        self.judged.findings += [
            one for one in findings if (one.id, one.path, one.kind) not in known and (one.id, one.path) not in excused
        ]

    def give_up(self, finding: Finding) -> None:
        """Measure nothing: the finding says why the numbers would mean nothing."""
        self.note([finding])
        self.judged.set_aside.update(dict.fromkeys(self.measured, "set aside: not linear"))
        self.measure(())

    def call(self, function: Function, keyword: str, *, anew: bool = False) -> Any:
        """Call the user's claim at the point, count it, and note what it changes."""
        self.calls += 1
        returned, changed = self.primal.claim(function, keyword, anew=anew or self.anew)
        self.changed += [path for path in changed if path not in self.changed]
        return returned


def _unit(count: int, i: int) -> Vector:
    u = np.zeros(count)
    u[i] = 1.0
    return u


# ------------------------------------------------------------------------------------------------- jac and hess


def is_operator(claim: Any) -> bool:
    """Whether the claim is a sparse matrix or a linear operator, as far as its attributes tell."""
    if isinstance(claim, (np.ndarray, np.generic, type)) or not hasattr(claim, "shape"):
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
    claimed._flat = flat  # pyright: ignore[reportPrivateUsage]
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
    claimed._flat = {0}  # pyright: ignore[reportPrivateUsage]
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
        return judged

    judged = answer(first, anew=False)
    claimed.twice(repeats, judged, lambda anew: answer(first, anew), first)
    claimed.note(judged.findings)
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
    outputs = primal.outputs
    claimed.calls += 1
    returned, changed = primal.claim(lambda *args: jvp(handed, *args), "jvp", anew=anew or claimed.anew)
    claimed.changed += [path for path in changed if path not in claimed.changed]
    judged = _contracts.judge_tree(
        returned,
        layout=outputs.layout,
        roots=("output",),
        is_tuple=False,
        keyword="jvp",
        noun="jvp",
    )
    claimed.note(judged.findings)
    if judged.set_aside:
        return None
    return np.concatenate(
        [
            np.ravel(judged.gradients.get(i, np.zeros(leaf.size))) if leaf.size else np.zeros(0)
            for i, leaf in enumerate(outputs.leaves)
        ]
    )


def random_tangents(leaves: Sequence[Leaf], size: Vector, draws: Matrix, per_leaf: int) -> tuple[Matrix, list[int]]:
    """Give each leaf `per_leaf` random tangents of its own, or unit ones where it has no more entries than that.

    Parameters
    ----------
    leaves : sequence of Leaf
    size : ndarray (n,)
        Natural size of every entry.
    draws : ndarray (per_leaf, n)
        Normal draws.
    per_leaf : int

    Returns
    -------
    tangents : ndarray (n, q)
    counts : list of int
        How many tangents each leaf has got.
    """
    counts = [min(leaf.size, per_leaf) for leaf in leaves]
    tangents = np.zeros((len(size), sum(counts)))
    column = 0
    for leaf, count in zip(leaves, counts, strict=True):
        span = slice(leaf.start, leaf.stop)
        for k in range(count):
            if leaf.size <= per_leaf:
                tangents[leaf.start + k, column] = size[leaf.start + k]
            else:
                part = draws[k, span]
                scale = math.sqrt(leaf.size / count) / float(np.linalg.norm(part))
                tangents[span, column] = part * scale * size[span]
            column += 1
    return tangents, counts
