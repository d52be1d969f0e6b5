"""At which sizes something fails, in words: "where `size` is not a multiple of 64"."""

from __future__ import annotations

import itertools as it
from collections.abc import Callable, Iterator, Mapping, Sequence

from gradproof._kernels._sizes import Sizes, by_size

# How many sizes are named where no rule fits, or beside one.
NAMED = 4
_BLOCKS = tuple(2**k for k in range(11))

_Rule = tuple[str, Callable[[Mapping[str, int]], bool]]


def where(failing: Sequence[Sizes], right: Sequence[Sizes]) -> str:
    """Say at which sizes something fails: by the simplest rule that all cases obey, or by naming them.

    Parameters
    ----------
    failing, right : sequence of Sizes
        The cases that fail, and those that do not. Those of which nothing is known are in neither.
    """
    wrong, fine = sorted(set(failing), key=by_size), sorted(set(right) - set(failing), key=by_size)
    if not fine:
        return "at every size" if len(wrong) > 1 else f"at {shown(wrong[0])}"
    if not any(all(n > 0 for _, n in one) for one in fine):
        return "at every size but 0"
    if all(n > 0 for one in wrong for _, n in one):
        # (What is empty is right by itself: it must not decide between rules, 0 being a multiple of every block.)
        fine = [one for one in fine if all(n > 0 for _, n in one)]
    if len(wrong) == 1:
        return f"at {shown(wrong[0])}, right at {_examples(fine, nearest=wrong[0])}"
    for said, holds in _rules(wrong, fine):
        if all(holds(dict(one)) for one in wrong) and not any(holds(dict(one)) for one in fine):
            return f"where {said} ({_examples(wrong)}), right at {_examples(fine, nearest=wrong[-1])}"
    return f"at {len(wrong)} of {len(wrong) + len(fine)} sizes ({_examples(wrong)}), right at {_examples(fine)}"


def shown(sizes: Sizes) -> str:
    """One case: ``size=65``, or ``rows=3, columns=65``."""
    return ", ".join(f"{axis}={n}" for axis, n in sizes)


def _examples(cases: Sequence[Sizes], nearest: Sizes | None = None) -> str:
    """A few of the cases in ascending order: the first, or those nearest to another; empty ones if there are others."""
    few = [one for one in cases if all(n > 0 for _, n in one)] or list(cases)
    cases = few
    if nearest is not None:
        near = dict(nearest)
        few = sorted(few, key=lambda one: (sum(abs(n - near[axis]) for axis, n in one), by_size(one)))
    named = sorted(few[:NAMED], key=by_size)
    alone = all(len(one) == 1 for one in named)
    texts = [str(one[0][1]) if alone else f"({', '.join(str(n) for _, n in one)})" for one in named]
    return ", ".join(texts) + (", ..." if len(cases) > NAMED else "")


def _rules(wrong: Sequence[Sizes], fine: Sequence[Sizes]) -> Iterator[_Rule]:
    """Rules that might hold, the simplest first: of one axis, of two, and of up to three such together."""
    axes = [axis for axis, _ in wrong[0]]
    alone = [rule for axis in axes for rule in _of_one(axis, [dict(one)[axis] for one in wrong])]
    yield from alone
    between = [rule for one, other in it.combinations(axes, 2) for rule in _of_two(one, other)]
    yield from between
    # Both of two rules: each of them holds wherever something fails. One of an axis by itself is preferred.
    holding = [rule for rule in (*alone, *between) if all(rule[1](dict(one)) for one in wrong)]
    for (said, holds), (more, holds_too) in it.combinations(holding, 2):
        yield f"{said} and {more}", lambda sizes, one=holds, two=holds_too: one(sizes) and two(sizes)
    # Either of two: each of them holds nowhere else.
    apart = [rule for rule in (*alone, *between) if not any(rule[1](dict(one)) for one in fine)]
    for (said, holds), (more, holds_too) in it.combinations(apart, 2):
        yield f"{said} or {more}", lambda sizes, one=holds, two=holds_too: one(sizes) or two(sizes)
    for three in it.combinations(holding, 3):
        words = ", ".join(said for said, _ in three[:-1])
        yield f"{words} and {three[-1][0]}", lambda sizes, three=three: all(holds(sizes) for _, holds in three)


def _of_one(axis: str, sizes: Sequence[int]) -> Iterator[_Rule]:
    """Rules of one axis; limits are the smallest and the largest size that fails."""
    name, first, last = f"`{axis}`", min(sizes), max(sizes)
    if first == last:
        yield f"{name} is {first}", lambda one: one[axis] == first
    for block in _BLOCKS[1:]:
        multiple = "odd" if block == 2 else f"not a multiple of {block}"
        yield f"{name} is {multiple}", lambda one, block=block: one[axis] % block != 0
        multiple = "even" if block == 2 else f"a multiple of {block}"
        yield f"{name} is {multiple}", lambda one, block=block: one[axis] % block == 0
    yield f"{name} is at least {first}", lambda one: one[axis] >= first
    yield f"{name} is at most {last}", lambda one: one[axis] <= last


def _of_two(one: str, other: str) -> Iterator[_Rule]:
    yield f"`{one}` and `{other}` differ", lambda sizes: sizes[one] != sizes[other]
    yield f"`{one}` and `{other}` are equal", lambda sizes: sizes[one] == sizes[other]
    yield f"`{one}` is larger than `{other}`", lambda sizes: sizes[one] > sizes[other]
    yield f"`{one}` is smaller than `{other}`", lambda sizes: sizes[one] < sizes[other]
