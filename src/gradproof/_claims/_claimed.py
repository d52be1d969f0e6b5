"""A claimed derivative as one linear map (m, n): a matrix, or products with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradproof._base._errors import ClaimError
from gradproof._base._leaf import Leaf, relaid
from gradproof._contracts import Judged
from gradproof._function._layout import SUFFIXES
from gradproof._function._primal import Primal
from gradproof._prove._collect import MIX
from gradproof._report import Finding

if TYPE_CHECKING:
    from gradproof._claims._repeats import Repeats

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]
Function: TypeAlias = Callable[..., Any]

# Entries up to which a matrix is held as such (32 MB).
DENSE = 4_000_000
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
        # Leaves whose entries are counted flat, as columns of a matrix.
        self.flat: set[int] = set()
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
            rows, column = ((":",), (flat,)) if original in self.flat else ((":",) * len(shapes[0]), column)
            path = f"{self.keyword}{self.primal.suffix(original)}[{', '.join([*rows, *map(str, column)])}]"
            return path, (), f"by {leaf.path}" if self.primal.layout.suffix(original) else ""
        output, row = self.primal.outputs.leaf_of(i)
        if original in self.flat:
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
        if original in self.flat:
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

    def block_of(self, i: int, k: int) -> str:
        """The block of the claim that row i of measured leaf k belongs to."""
        return self._block(i, self.measured[k])

    def block_of_rows(self, rows: Sequence[int]) -> str:
        """The claim, or the block of it that holds some rows."""
        outputs = self.primal.outputs.layout
        origins = {
            outputs.owners[k] for k, leaf in enumerate(outputs.leaves) for i in rows if leaf.start <= i < leaf.stop
        }
        if len(origins) != 1:
            return self.keyword
        return self.keyword + self.names[outputs.origins.index(origins.pop())]

    def output(self, i: int) -> str:
        """Output i in words, such as ``output[3]``; of a gradient, the entry that it is the derivative by."""
        if self.keyword in ("hess", "hvp"):
            return "grad" + self.primal.outputs.path_of(i)[len("output") :]
        return self.primal.outputs.path_of(i)

    def picked(self, u: Vector) -> str:
        """The output that a cotangent picks, where f has several."""
        rows = np.flatnonzero(u).tolist()
        if self.primal.outputs.size == 1:
            return ""
        return self.output(rows[0]) if len(rows) == 1 else MIX

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
