"""How what speaks against a claim is said: the one place that writes of mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradproof._base._leaf import Leaf
from gradproof._prove._charge import SOMEWHERE, Cause, Charge, Mistake, Notice, Sight, Statement
from gradproof._prove._locate import entry_index
from gradproof._report import Finding, Severity

# Entries that are named in words, and arrays that are named beside the first one.
FEW, OTHERS = 3, 4
SAME_FACTOR = (
    "All of them are off by the same factor: look at what they share, such as the loss's own derivative, a mean or a "
    "sum."
)
# One-sided slopes that differ by no more than this share are told as one number.
SAME_SIDES = 1e-4
# The largest share of a claim that f's own tolerance may be suspected of, and a constant that keeps f off a pole.
SMALL, NEARLY = 0.05, 1e-3
EPSILON = (
    "It is nearly right: if f has an epsilon, a clip or a cutoff that the claim leaves out, such as log(p + 1e-7), or "
    "if the claim is made of finite differences, that is the reason."
)
# What is said where f's own tolerance may be the reason.
TOLERANCE = (
    "If f solves, integrates or iterates to a tolerance, or draws random numbers by rejection, its own error may be "
    "the reason: tighten that tolerance and run the check again. A deviation that shrinks with it is f's."
)
ONE_ENTRY, SOME_ENTRIES = "this entry is wrong", "these entries are wrong"
NO_SUBGRADIENT = "No subgradient has this value: check the branch that is taken at the kink."
# What is said of a mistake, and what to do about it; what stands in braces is put in.
_WORDS: dict[Mistake, tuple[str, str]] = {
    Mistake.ZERO: (
        "claimed zero, {of} is not",
        "The gradient of {path} is never computed, detached or overwritten with zeros.",
    ),
    Mistake.ZERO_ROUNDED: (
        "claimed zero up to rounding, {of} is not",
        "The terms of {subject} cancel each other: look for a sign, or a term that is subtracted twice.",
    ),
    Mistake.NOT_ZERO: (
        "{of} is zero, the claim is not",
        "f does not depend on {path} to first order: drop this gradient, or check that f uses it.",
    ),
    Mistake.TRANSPOSED: ("transposed", "Use the transpose of the gradient of {path}."),
    Mistake.RESHAPED: (
        "reshaped in place of transposed",
        "The gradient of {path} was reshaped where it should have been transposed.",
    ),
    Mistake.FLIPPED: ("flipped along axis {axis}", "Reverse the gradient of {path} along axis {axis}."),
    Mistake.ROLLED: (
        "rolled by {shift} along axis {axis}",
        "The gradient of {path} is shifted by one along axis {axis}: look for an index off by one.",
    ),
    Mistake.FORTRAN_ORDER: (
        "entries in Fortran order",
        "The gradient of {path} was flattened or reshaped in another memory order (`order='F'`).",
    ),
    Mistake.NOT_SYMMETRIC: (
        "not symmetric, {of} is",
        "f depends on the symmetric part of {path}: return half the sum of this gradient and its transpose.",
    ),
    Mistake.LACKS_DECAY: (
        "lacks the term {number} * x (weight decay)",
        "Add the derivative of the penalty, {number} * {path}, to its gradient.",
    ),
    Mistake.LACKS_L1: (
        "lacks the term {number} * sign(x) (L1 penalty)",
        "Add the derivative of the penalty, {number} * sign({path}), to its gradient.",
    ),
    Mistake.LACKS_CONSTANT: (
        "lacks the constant {number}",
        "Every entry of the gradient of {path} lacks the same number, {number}.",
    ),
    Mistake.LACKS_FACTOR_X: (
        "lacks a factor x",
        "The gradient of {path} has to be multiplied by {path}, entry by entry.",
    ),
    Mistake.EXTRA_FACTOR_X: (
        "has a factor x too many",
        "The gradient of {path} has to be divided by {path}, entry by entry.",
    ),
    Mistake.LACKS_SAME: (
        "every entry lacks the same number, {number}",
        "At a point whose entries are all equal a constant, weight decay and an L1 penalty look alike: check {path} at "
        "another point to tell which is missing.",
    ),
    Mistake.ZERO_SOMEWHERE: (
        "claimed zero in {count} of {size} entries, where {of} is not; the others are right",
        "The gradient of {path} is computed for some of its entries only: look for a loop that ends early, an index or "
        "a mask.",
    ),
    Mistake.WRONG_BELOW: (
        "wrong where x <= 0 ({count} of {size} entries), and right elsewhere",
        "Look at the branch that the gradient of {path} takes where {path} is negative.",
    ),
    Mistake.WRONG_ABOVE: (
        "wrong where x >= 0 ({count} of {size} entries), and right elsewhere",
        "Look at the branch that the gradient of {path} takes where {path} is positive.",
    ),
    Mistake.UNMASKED_BELOW: (
        "not zero where x <= 0 ({count} of {size} entries), where {of} is; the others are right",
        "Multiply the gradient of {path} by the mask of f, such as `x > 0`.",
    ),
    Mistake.UNMASKED_ABOVE: (
        "not zero where x >= 0 ({count} of {size} entries), where {of} is; the others are right",
        "Multiply the gradient of {path} by the mask of f, such as `x < 0`.",
    ),
    Mistake.ONE_MINUS: ("is 1 minus {of}", "Return 1 minus the gradient of {path}."),
    Mistake.BY_EXP: (
        "is the derivative with respect to exp(x), not x",
        "Multiply the gradient of {path} by exp({path}): f takes the logarithm.",
    ),
    Mistake.BY_LOG: (
        "is the derivative with respect to log(x), not x",
        "Multiply the gradient of {path} by exp(-{path}), the derivative of what f is a function of.",
    ),
    Mistake.COPY: (
        "is a copy of the gradient of {other}",
        "The same array is returned for {path} and `{other}`: compute both.",
    ),
    Mistake.SWAPPED: (
        "is the gradient of {other}",
        "The gradients of {path} and `{other}` are swapped.",
    ),
    Mistake.SWAPPED_TRANSPOSED: (
        "is the transposed gradient of {other}",
        "The gradients of {path} and `{other}` are swapped.",
    ),
    Mistake.LACKS_PATH: (
        "lacks {number} times the gradient of {other}",
        "The part of the gradient of {path} that comes through `{other}` is missing.",
    ),
}

# The same of terms that the claim has and f lacks.
_EXTRA: dict[Mistake, tuple[str, str]] = {
    Mistake.LACKS_DECAY: (
        "has an extra term {number} * x (weight decay): regularised in the gradient, not in f",
        "Add the penalty to f, or take {number} * {path} out of its gradient.",
    ),
    Mistake.LACKS_L1: (
        "has an extra term {number} * sign(x) (L1 penalty): regularised in the gradient, not in f",
        "Add the penalty to f, or take {number} * sign({path}) out of its gradient.",
    ),
    Mistake.LACKS_CONSTANT: (
        "has the same number too much in every entry, {number}",
        "Take the number {number} out of the gradient of {path}.",
    ),
}


def cause_words(cause: Cause, of: str = "the true gradient") -> str:
    """A mistake in a few words; `of` is what is claimed."""
    if cause.mistake is Mistake.FACTOR and cause.factor is not None:
        return f"claimed {factor_words(cause.factor)} {of}"
    words = _filled(cause, 0, of=of)
    if cause.beside is not None and cause.beside != 1:
        words += f", and {factor_words(cause.beside)} {of}"
    return words


def cause_advice(cause: Cause, path: str) -> str:
    """What to do about a mistake in the gradient of `path`, or in a part of a claim that `path` names."""
    subject = subject_of(path)
    if cause.mistake is Mistake.FACTOR and cause.factor is not None:
        return _factor_advice(subject, cause.factor)
    return _filled(cause, 1, path=f"`{path}`", subject=subject)


def subject_of(path: str) -> str:
    """What a path names, for advice: a part of a matrix that is claimed, or the gradient of an array."""
    return f"`{path}`" if path.partition("[")[0] in ("jac", "hess") else f"the gradient of `{path}`"


def _filled(cause: Cause, which: int, **names: str) -> str:
    """What is said of a mistake (0), or what to do about it (1), with its numbers."""
    table, number = _WORDS, cause.number
    if number is not None and number < 0 and cause.mistake in _EXTRA:
        table, number = _EXTRA, -number
    known = {"axis": cause.axis, "shift": cause.shift, "other": cause.other, "count": cause.count, "size": cause.size}
    return table[cause.mistake][which].format(number="" if number is None else f"{number:.12g}", **known, **names)


def outside_words(low: float, high: float, what: str = "") -> str:
    """What is wrong with a claim (GP103) that lies outside these one-sided slopes.

    `what` is what has to move together for that, where each part of the claim is possible by itself.
    """
    same = abs(high - low) <= SAME_SIDES * max(abs(low), abs(high))
    if not what and not same:
        return f"outside the one-sided slopes {low:.6g} and {high:.6g} at a kink"
    slopes = f"slope {(low + high) / 2:.6g}" if same else f"one-sided slopes {low:.6g} and {high:.6g}"
    return f"no subgradient at this kink: with {what or 'its entries'} moved together, f has the {slopes}"


def charge_words(charge: Charge, of: str, otherwise: str) -> str:
    """What is wrong, in a few words; `of` is what is claimed, `otherwise` what is said where nothing more is known."""
    if charge.sides is not None:
        return outside_words(*charge.sides, "these arrays" if len(charge.leaves) > 1 else "")
    if charge.cause is not None:
        return cause_words(charge.cause, of)
    if charge.example is not None:
        return SOME_ENTRIES
    return ONE_ENTRY if charge.index else otherwise


def unexplained(what: str, off: float | None) -> str:
    """What to do about what no cause explains; `off` is as in `Charge`."""
    return or_tolerance(f"Look at how {what} is computed.", off)


def or_tolerance(advice: str, off: float | None) -> str:
    """Advice on what no cause explains, and what else may be the reason where the claim is nearly right."""
    if off is not None and off <= NEARLY:
        advice = f"{advice} {EPSILON}"
    return f"{advice} {TOLERANCE}" if off is not None and off <= SMALL else advice


def relative_off(claimed: float | None, reference: float | None) -> float | None:
    """The deviation relative to a claim, where both are known."""
    return abs(1 - reference / claimed) if claimed and reference is not None else None


def region_words(charge: Charge, leaf: Leaf) -> tuple[str, str]:
    """The place of a charge within its leaf: as Python source behind the leaf's path, and in words."""
    place = charge.place
    if charge.index is not None:
        within = str(list(charge.index)) if charge.index else ""
        return within, within
    if place is not None and place.entries:
        count = max(place.count, len(place.entries))
        return "", f"{'' if place.complete else 'at least '}{count} of {leaf.size} entries"
    if place is not None and place.box is not None:
        return box_source(leaf.shape, place.box), box_words(leaf.shape, place.box)
    if charge.cause is not None and charge.cause.mistake in SOMEWHERE:
        return "", ""
    everywhere = charge.cause is not None or (place is not None and place.everywhere)
    return "", "everywhere" if leaf.size > 1 and everywhere else ""


def entries_of(charge: Charge, leaf: Leaf) -> tuple[tuple[int, ...], ...]:
    """Indices of the wrong entries, where these are known one by one."""
    if charge.index is not None:
        return (charge.index,) if charge.index else ()
    return (
        ()
        if charge.place is None
        else tuple(entry_index(leaf.shape, entry.index - leaf.start) for entry in charge.place.entries)
    )


def quantity_of(charge: Charge) -> str:
    """What the numbers of a charge are."""
    return f"entry {list(charge.example)}" if charge.example else "entry" if charge.entry else "slope"


def few_words(words: Sequence[str], count: int) -> str:
    """The first of `count` things, and how many more there are."""
    more = count - len(words)
    return ", ".join(words) + (f" and {more} more" if more else "")


def with_others(place: str, paths: Sequence[str]) -> str:
    """A place in one array, and the other arrays of which the same is said."""
    named = few_words([f"`{path}`" for path in paths[:OTHERS]], len(paths))
    return f"{place}, and {named}" if place else f"and {named}"


def written(statements: Iterable[Statement], leaves: Sequence[Leaf], reproducer: str) -> tuple[Finding, ...]:
    """All that there is to say of a gradient, as findings."""
    return tuple(
        write(one, leaves, reproducer) if isinstance(one, Charge) else write_notice(one, leaves, reproducer)
        for one in statements
    )


def write(charge: Charge, leaves: Sequence[Leaf], reproducer: str, through: str = "") -> Finding:
    """A charge against a gradient as a finding; that of several outputs goes `through` them."""
    leaf = leaves[charge.leaves[0]]
    within, place = region_words(charge, leaf)
    path, others = leaf.path + within, len(charge.leaves) - 1
    advice = unexplained(f"the gradient of `{path}`", charge.off)
    if charge.sides is not None:
        advice = NO_SUBGRADIENT
    elif charge.cause is not None:
        advice = cause_advice(charge.cause, path)
    if charge.is_one_of:
        place = f"or in one of {others} other arrays"
        advice = "The error bars are too wide to tell the arrays apart. Check them one at a time with `wrt`."
    elif others:
        place = with_others("", [leaves[k].path for k in charge.leaves[1:]])
        advice = SAME_FACTOR if charge.sides is None else NO_SUBGRADIENT
    of, entries, quantity = "the true gradient", entries_of(charge, leaf), quantity_of(charge)
    if through:
        place = "" if quantity == "entry" and len(entries) == 1 else place
        of = "the true derivative" if place else "the true entry"
        place = f"{place}, {through}" if place else through
    return Finding(
        id="GP101" if charge.sides is None else "GP103",
        severity=Severity.ERROR,
        path=path,
        entries=entries,
        place=place,
        kind=charge_words(charge, of, "the gradient is wrong"),
        claimed=charge.claimed,
        reference=charge.reference,
        error_bar=charge.error_bar,
        quantity=quantity if leaf.shape else "slope",
        factor=None if charge.cause is None else charge.cause.factor,
        advice=advice,
        reproducer=reproducer,
    )


def write_notice(
    notice: Notice, leaves: Sequence[Leaf] = (), reproducer: str = "", *, quantity: str = "slope", through: str = ""
) -> Finding:
    """What there is to say besides charges, as a finding; `quantity` is what its numbers are."""
    kind, advice = _notice_words(notice)
    if notice.claimed is None and notice.reference is None:
        quantity = ""
    return Finding(
        id=_SIGHTS[notice.sight],
        severity=notice.severity,
        path="" if notice.leaf is None else leaves[notice.leaf].path,
        place=through,
        kind=kind,
        claimed=notice.claimed,
        reference=notice.reference,
        error_bar=notice.error_bar,
        quantity=quantity,
        advice=advice,
        reproducer=reproducer,
    )


_SIGHTS = {
    Sight.KINK: "GP110",
    Sight.SAME_BITS: "GP301",
    Sight.UNMOVED: "GP301",
    Sight.QUIET: "GP302",
    Sight.STATIONARY: "GP302",
    Sight.RANDOM: "GP303",
    Sight.JUMP: "GP310",
    Sight.ZONE: "GP311",
    Sight.EXCUSED: "GP312",
    Sight.TREADS: "GP313",
    Sight.SINGLE: "GP314",
    Sight.FLAT: "GP402",
}
# What is said of a sight that has no numbers of its own, and what to do about it.
_PLAIN: dict[Sight, tuple[str, str]] = {
    Sight.SAME_BITS: (
        "f does not change at all: it does not use its argument, or is constant here",
        "Check that f uses its argument and not a copy from outside, or check at another point.",
    ),
    Sight.UNMOVED: (
        "f does not change at all: it does not use its argument, or is constant here",
        "Check that f uses its argument and not a copy from outside, or check at `report.suggested_args`.",
    ),
    Sight.QUIET: (
        "nothing was tested: f changes by no more than its noise",
        "Check where f changes by more, such as at `report.suggested_args`.",
    ),
    Sight.STATIONARY: (
        "the claim is zero here: a wrong factor or sign would not show",
        "f is stationary at this point; to test more, check at `report.suggested_args`.",
    ),
    Sight.RANDOM: (
        "f is not deterministic: it gives different values at the same point",
        "Fix the seed inside f; the error bars include the spread, which hides small errors.",
    ),
}
# Significant digits in which values of f are shown: as few as tell them apart.
_DIGITS = range(6, 18)


def _notice_words(notice: Notice) -> tuple[str, str]:
    """What is said of a sight, and what to do about it."""
    (one, other), (jump, at) = notice.slopes, notice.jump
    match notice.sight:
        case Sight.KINK:
            covered = "" if notice.tried is None else "; {} of {} entries were tried one by one".format(*notice.tried)
            return (
                f"f has a kink here: one-sided slopes {one:.6g} and {other:.6g}, the claim lies between them{covered}",
                "The kink does not speak against the claim; to prove more, check at `report.suggested_args`.",
            )
        case Sight.JUMP:
            here, before, after = _apart(notice.values)
            beside = f"{before} on both sides of it" if before == after else f"{before} and {after} just beside it"
            return (
                f"f jumps at the point itself: it is {here} there, {beside}",
                "Look for a special case at this very value, or for a cutoff (a small epsilon) that is closer to the "
                "point than any step; where there is none, check at `report.suggested_args`.",
            )
        case Sight.ZONE:
            here = "f stands still" if notice.is_still else f"the slope is {one:.6g}"
            here = f"{here} within about {notice.radius:.0e} of the size of x around the point"
            if notice.holds_within:
                return (
                    f"{here}, as claimed, and {other:.6g} beyond it",
                    "f has a cutoff close to this point (such as `norm > 1e-8`), and the claim is its derivative "
                    "within that: decide which of the two is meant, or check at `report.suggested_args`.",
                )
            return (
                f"{here}, and {other:.6g} beyond it, as claimed",
                "f has a cutoff close to this point (such as `norm > 1e-5`), and the claim is its derivative beyond "
                "that: decide which of the two is meant, or check at `report.suggested_args`.",
            )
        case Sight.EXCUSED:
            return (
                f"f jumps by {jump:.1e} at {at:.1e} of a natural step: a deviation of {notice.share:.1e} of the slope "
                "is no more than that explains",
                "Errors of this size are not seen: tighten the tolerance inside f, and run the check again.",
            )
        case Sight.TREADS:
            only = ". The claim agrees with the former only" if notice.severity is Severity.DOUBT else ""
            between = f"between jumps of {jump:.1e}, the nearest at {at:.1e} of a natural step"
            return (
                f"f has two slopes: {one:.6g} {between}, {other:.6g} across{only}",
                "A part of f is rounded (float32 inside, digits that cancel, a table, a solver that stops early) or is "
                "a true staircase. The slope across the jumps counts; compute that part in float64 to be sure.",
            )
        case Sight.SINGLE:
            values = f"all its values are multiples of {jump:.3g}" if jump else "its values are those of float32"
            return (
                f"f returns float64, but {values}: smaller errors are not seen",
                f"Compute f {'without that rounding' if jump else 'in float64'} to have the gradient checked to more "
                "digits.",
            )
        case Sight.FLAT:
            return notice.note, ""
        case _:
            return _PLAIN[notice.sight]


def _apart(numbers: Sequence[float]) -> list[str]:
    """Numbers in as few digits as tell those apart that differ by more than rounding."""
    different = {numbers[0], *(one for one in numbers[1:] if abs(one - numbers[0]) > 1e-15 * abs(numbers[0]))}
    for digits in _DIGITS:
        shown = [f"{one:.{digits}g}" for one in numbers]
        if len({f"{one:.{digits}g}" for one in different}) > 1:
            return shown
    return [f"{one:.17g}" for one in numbers]


def box_words(shape: Sequence[int], box: Sequence[tuple[int, int]]) -> str:
    """A box along the axes as a reader says it: "row 3", "rows >= 96", "columns 2 to 5", "[0:4, 2:7]"."""
    names = ("row", "column") if len(shape) == 2 else ("entry",) if len(shape) == 1 else ()
    partial = [axis for axis, (low, high) in enumerate(box) if (low, high) != (0, shape[axis])]
    if len(partial) != 1 or not (names or len(partial) == 1):
        return "[" + ", ".join(f"{low}:{high}" for low, high in box) + "]"
    axis = partial[0]
    low, high = box[axis]
    name = names[axis] if names else f"index along axis {axis}"
    plural = {"row": "rows", "column": "columns", "entry": "entries"}.get(name, name)
    if high - low == 1:
        return f"{name} {low}"
    if high == shape[axis]:
        return f"{plural} >= {low}"
    if low == 0:
        return f"{plural} < {high}"
    return f"{plural} {low} to {high - 1}"


def box_source(shape: Sequence[int], box: Sequence[tuple[int, int]]) -> str:
    """A box as a Python subscript: "[3]", "[96:]", "[:, 2:6]"."""
    parts: list[str] = []
    for length, (low, high) in zip(shape, box, strict=True):
        if high - low == 1 and length > 1:
            parts.append(str(low))
        else:
            parts.append(f"{low or ''}:{high if high != length else ''}")
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return "[" + ", ".join(parts) + "]"


def factor_words(factor: float) -> str:
    """A factor as a reader writes it: "2 times", "1/4 of", "-1 times", "1.013 times"."""
    for denominator in (1, *range(2, 13)):
        numerator = round(factor * denominator)
        if numerator and abs(numerator / denominator / factor - 1) < 1e-12:
            if denominator == 1:
                return f"{numerator} times"
            if abs(numerator) <= 12:
                return f"{numerator}/{denominator} of" if numerator > 0 else f"{numerator}/{denominator} times"
    inverse = round(1 / factor) if abs(factor) > 1e-6 else 0
    if inverse > 1 and abs(1 / inverse / factor - 1) < 1e-12:
        return f"1/{inverse} of"
    if abs(factor - 1) < 1e-3:
        return f"(1 {'+' if factor > 1 else '-'} {abs(factor - 1):.3g}) times"
    return f"{factor:.6g} times"


def _factor_advice(subject: str, factor: float) -> str:
    if factor == -1:
        return f"Flip the sign of {subject}."
    if factor < 0:
        return f"{subject[0].upper()}{subject[1:]} has the wrong sign, and is off by a factor {abs(factor):.6g}."
    if abs(factor - 1) < 1e-3:
        return (
            f"{subject[0].upper()}{subject[1:]} is nearly right: look for a constant, a scale or a tolerance with few "
            "digits."
        )
    if factor > 1:
        return f"Divide {subject} by {factor:.6g}: look for a stray factor, or a sum in place of a mean."
    return f"Multiply {subject} by {1 / factor:.6g}: look for a lost factor, or a mean in place of a sum."
