"""What a check found: frozen data with a versioned JSON form that reads back equal."""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Callable, Iterable
from typing import Any, cast

from gradproof._base._errors import GradproofError, UsageError
from gradproof._base._files import write_text
from gradproof._base._sources import SourceLine
from gradproof._report._evidence import Evidence
from gradproof._report._report_json import decode, encode, json_text, loads

SCHEMA_VERSION = 1


class Verdict(enum.StrEnum):
    """The answer to "is this claimed gradient the derivative of this function?".

    ==================  ===========================================================================
    CORRECT             nothing speaks against the claim, and the certificate of every leaf is below
                        ``max_bound``
    WRONG               some slope, measured twice, excludes the claim; or a contract is broken
    NOT_DIFFERENTIABLE  the one-sided slopes differ at the point and the claim lies between them
    INCONCLUSIVE        the numbers cannot tell; the report's `reason` and findings say why
    ==================  ===========================================================================
    """

    CORRECT = "CORRECT"
    WRONG = "WRONG"
    NOT_DIFFERENTIABLE = "NOT_DIFFERENTIABLE"
    INCONCLUSIVE = "INCONCLUSIVE"


WORST_FIRST = (Verdict.WRONG, Verdict.INCONCLUSIVE, Verdict.NOT_DIFFERENTIABLE, Verdict.CORRECT)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts; INCONCLUSIVE if there are none."""
    found = set(verdicts)
    return next((verdict for verdict in WORST_FIRST if verdict in found), Verdict.INCONCLUSIVE)


class Severity(enum.StrEnum):
    """How much a finding weighs: an error makes the verdict WRONG, a doubt INCONCLUSIVE at best, a note nothing."""

    ERROR = "error"
    DOUBT = "doubt"
    NOTE = "note"


class Reason(enum.StrEnum):
    """Why a check is INCONCLUSIVE: a closed list."""

    NOISE = "noise"
    PRECISION = "precision"
    DOMAIN = "domain"
    NO_CONVERGENCE = "no convergence"
    STOCHASTIC = "stochastic"
    UNSTABLE = "unstable measurement"
    DEGENERATE = "degenerate point"
    WITNESSES = "witnesses disagree"
    BUDGET = "budget"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to report.

    Attributes
    ----------
    id : str
        Stable identifier such as ``"GP101"``; each has a page in the documentation.
    severity : Severity
        ``error``, ``doubt`` or ``note``.
    path : str
        The place as Python source, ``params['W2']`` or ``params['W2'][1, 3]``; empty where the finding is about
        the function as a whole.
    entries : tuple of tuple of int
        Indices of the wrong entries within the leaf; empty where the finding is not about single entries.
    place : str
        The place within the leaf in words, such as ``"every entry"``; empty where there is none to name.
    kind : str
        The kind of mistake or circumstance in a few words, such as ``"claimed 2 times the true gradient"``.
    claimed, reference, error_bar : float or None
        Claimed value, measured value and the half-width that covers the latter's error, all in the unit that
        `quantity` names; None where no number applies.
    quantity : str
        What these three numbers are: ``"entry"``, ``"slope"`` (along a random direction through the leaf) or empty.
    factor : float or None
        claimed / true where the claim is a multiple of the true gradient.
    advice : str
        One sentence on the likely fix or the next thing to do.
    reproducer : str
        One line of Python that shows the finding again.
    sources : tuple of (str, int)
        File and line of what the finding accuses, where it is a part of f. It is no part of the JSON form, nor of
        comparisons.
    """

    id: str
    severity: Severity
    path: str = ""
    entries: tuple[tuple[int, ...], ...] = ()
    place: str = ""
    kind: str
    claimed: float | None = None
    reference: float | None = None
    error_bar: float | None = None
    quantity: str = ""
    factor: float | None = None
    advice: str = ""
    reproducer: str = ""
    sources: tuple[SourceLine, ...] = dataclasses.field(default=(), repr=False, compare=False, metadata={"json": False})


# What the note of an array without entries says.
EMPTY = "empty: nothing to check"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeafResult:
    """What was proved of one named array of the parameters.

    Attributes
    ----------
    path : str
        The leaf as Python source, such as ``params['W2']``.
    shape : tuple of int
    dtype : str
    verdict : Verdict
    bound : float or None
        The certificate: no error above ``bound`` times the norm of this leaf's gradient (each entry weighted by its
        natural size), with the report's confidence. None where none was reached.
    deviation : float or None
        Of a WRONG array ``|claim - true| / |true|``. Of any other the largest difference seen, relative to the norm of
        the claim; None where nothing was seen.
    estimated : bool
        Whether `deviation` was estimated from slopes along random directions. Else every entry, or all that is wrong,
        was measured.
    noticeable : float or None
        The smallest error of a single entry that would have been noticed with the report's confidence, relative to
        the root mean square of the leaf's entries (each weighted by its natural size).
    note : str
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    verdict: Verdict
    bound: float | None = None
    deviation: float | None = None
    estimated: bool = True
    noticeable: float | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModeResult:
    """What a framework's autodiff was found to be in one mode.

    Attributes
    ----------
    mode : str
        ``"rev"`` or ``"fwd"``, or outer and inner mode of the second order: ``"fwd-rev"`` is forward over reverse.
    verdict : Verdict or None
        None where the mode was not checked.
    note : str
        Why not, such as ``"not available: ..."`` with the framework's own words; or what the reference is, what was
        looked at, and what was left out.
    """

    mode: str
    verdict: Verdict | None = None
    note: str = ""

    @property
    def verdict_text(self) -> str:
        """The verdict, or why there is none."""
        return str(self.verdict.value) if self.verdict is not None else self.note


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What the check spent.

    Attributes
    ----------
    evaluations : int
        Points at which f was evaluated, repeats and location included.
    claims : int
        Calls of the claim (0 where it was given as a value).
    calls : int
        Calls of f.
    seconds : float
        Wall-clock time; part of the run section, left out of comparisons.
    """

    evaluations: int
    claims: int
    calls: int
    seconds: float = dataclasses.field(compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Where and when the check ran; left out of comparisons."""

    started: str
    python: str
    numpy: str
    gradproof: str
    platform: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """The result of a check: data, with views made from it.

    Attributes
    ----------
    verdict : Verdict
    reason : Reason or None
        Why, where the verdict is INCONCLUSIVE.
    findings : tuple of Finding
        Errors first, then doubts, then notes.
    leaves : tuple of LeafResult
        In the user's own order.
    cost : Cost
    name : str
        Name of the function (or of the case) that was checked.
    claim : str
        The claim's keyword, such as ``"grad"``, or ``"grad+hess"``; without a claim ``"autograd"`` (PyTorch) or
        ``"jax"``; ``"kernel"`` if a kernel was compared with a reference.
    level : str
        ``"certificate"`` (random directions through all leaves), ``"entries"`` (every entry measured alone) or
        ``"reference"`` (values and gradients compared with a reference).
    seed : int
        Replays the check: ``rng=report.seed``.
    rtol : float
        The smallest relative error worth an accusation, as used.
    max_bound : float
        The largest bound that may be called CORRECT, as used.
    confidence : float
        Of the certificates, over the choice of directions, as long as the error bars hold.
    run : Run
        Versions, machine and time; left out of comparisons.
    modes : tuple of ModeResult
        Where a framework's own autodiff is the claim: every mode that was asked for. Leaves and findings of modes other
        than "rev" name theirs.
    evidence : Evidence
        The numbers behind the verdict, thinned out to what a picture shows.
    suggested_args : tuple or any tree, optional
        Another point, in the form of `args`, where this one proves nothing or f has a kink; None elsewhere. It is no
        part of the JSON form, nor of comparisons.
    sources : tuple of (str, int)
        File and line where the claim, f and the `Case` are defined, as far as they stand in files of yours. It is no
        part of the JSON form, nor of comparisons.
    """

    verdict: Verdict
    reason: Reason | None = None
    findings: tuple[Finding, ...]
    leaves: tuple[LeafResult, ...]
    cost: Cost
    name: str
    claim: str
    level: str
    seed: int = dataclasses.field(metadata={"unlimited": True})
    rtol: float
    max_bound: float
    confidence: float
    run: Run
    modes: tuple[ModeResult, ...] = ()
    evidence: Evidence = dataclasses.field(default_factory=Evidence)
    suggested_args: Any = dataclasses.field(default=None, repr=False, metadata={"json": False})
    sources: tuple[SourceLine, ...] = dataclasses.field(default=(), repr=False, metadata={"json": False})

    @property
    def correct(self) -> bool:
        """Whether the verdict is CORRECT."""
        return self.verdict is Verdict.CORRECT

    def __bool__(self) -> bool:
        raise TypeError(
            "a Report has four verdicts and no truth value: INCONCLUSIVE must read neither as True nor as False. "
            "Use `report.correct`, or compare `report.verdict`."
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Report):
            return NotImplemented
        return self.to_json(run=False) == other.to_json(run=False)

    def __hash__(self) -> int:
        return hash(self.to_json(run=False))

    def __str__(self) -> str:
        return _views["text"](self)

    def to_json(self, path: str | os.PathLike[str] | None = None, *, run: bool = True) -> str:
        """Return the report as JSON text, and write it to `path` if one is given.

        Parameters
        ----------
        path : str or PathLike, optional
            File to write (UTF-8). It is replaced once the new one is complete: a failure leaves the old one.
        run : bool
            Whether to include the run section (seconds, versions, machine, time). Without it the text depends on
            the question and the seed alone.

        Returns
        -------
        str
        """
        document = document_of(self)
        if not run:
            del document["run"]
            del document["cost"]["seconds"]
        text = json_text(document)
        if path is not None:
            write_text(path, text + "\n")
        return text

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the report as a page of HTML, and write it to `path` if one is given.

        The page is one file that loads nothing and runs no script: the verdict, every finding with pictures of where
        and how far the claim is off, the leaves, what was covered and what was not, and how to run the check again.

        Parameters
        ----------
        path : str or PathLike, optional
            File to write (UTF-8). It is replaced once the new one is complete: a failure leaves the old one.

        Returns
        -------
        str

        Raises
        ------
        ImportError
            Where jinja2 or matplotlib is missing; the message says how to install them.

        Examples
        --------
        >>> import gradproof
        >>> report = gradproof.check(abs, 1.0, grad=2.0, rng=0)  # wrong on purpose
        >>> "claimed 2 times the true gradient" in report.to_html()
        True
        """
        text = _views["html"](self)
        if path is not None:
            write_text(path, text)
        return text

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict, the findings and the leaves, in brief and without pictures."""
        return _views["notebook"](self)

    @classmethod
    def from_json(cls, source: str | os.PathLike[str]) -> Report:
        """Read a report back from JSON text or from a file that holds it.

        Parameters
        ----------
        source : str or PathLike
            JSON text (a str that starts with ``{``), or the path of a file.

        Returns
        -------
        Report

        Raises
        ------
        UsageError
            If there is no such file, or it cannot be read; if the text is no report, or damaged (a key twice, a number
            that is none, a verdict that its findings contradict), or of a schema version that this gradproof does not
            read.
        """
        if isinstance(source, str) and source.lstrip().startswith("{"):
            return report_of(loads(source))
        if not isinstance(cast("object", source), (str, os.PathLike)):
            raise UsageError(f"`source` must be JSON text or a path, got {type(source).__name__}.")
        try:
            with open(source, encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError as error:
            raise UsageError(f"this is not JSON: the file is no UTF-8 ({error.reason}).") from error
        except (OSError, ValueError) as error:  # of a path that cannot be one
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise UsageError(f"the report cannot be read from {str(source)[:200]!r}: {reason}.") from error
        return report_of(loads(text))


def document_of(report: Report) -> dict[str, Any]:
    """A report as what `json.loads` makes of its JSON form."""
    return {"schema_version": SCHEMA_VERSION, **encode(report)}


def report_of(parsed: Any) -> Report:
    """The report back from that, or from anything else.

    Raises
    ------
    UsageError
        If it is none.
    """
    document = dict(cast("dict[str, Any]", parsed)) if isinstance(parsed, dict) else {}
    version = document.pop("schema_version", None)
    if type(version) is not int or version != SCHEMA_VERSION:
        raise UsageError(
            f"this is not a gradproof report of schema version {SCHEMA_VERSION}: "
            f"schema_version is {repr(cast('object', version))[:60]}."
        )
    document.setdefault("run", {"started": "", "python": "", "numpy": "", "gradproof": "", "platform": ""})
    try:
        document["cost"] = {"seconds": "nan", **document["cost"]}
        report = decode(Report, document)
        _require_sense(report)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"this gradproof report is damaged: {type(error).__name__}: {error}") from error
    return report


def _require_sense(report: Report) -> None:
    """Raise ValueError where a verdict contradicts what it rests on, or numbers do not belong together."""
    for ladder in report.evidence.ladders:
        count = len(ladder.steps)
        if len(ladder.differences) != count or not {len(ladder.left), len(ladder.right)} <= {0, count}:
            raise ValueError("a ladder has not as many differences as steps")
    for one in report.evidence.maps:
        maps = [cells for cells in (one.claimed, one.deviation, one.wrong) if cells]
        widths = {len(row) for cells in maps for row in cells}
        if not one.claimed or not one.wrong or len({len(cells) for cells in maps}) != 1 or len(widths | {0}) != 2:
            raise ValueError("the cells of a map are no matrix")
        if min(one.rows, one.columns) < 1 or min(one.shape, default=1) < 0:
            raise ValueError("a map has no rows or columns")
    if any(min(leaf.shape, default=1) < 0 for leaf in report.leaves):
        raise ValueError("a leaf has a negative length")
    if report.verdict is not Verdict.CORRECT:
        return
    if any(one.severity is Severity.ERROR for one in report.findings):
        raise ValueError("the verdict is CORRECT, and a finding is an error")
    if any(one.verdict is Verdict.WRONG for one in (*report.leaves, *report.modes)):
        raise ValueError("the verdict is CORRECT, and a part of it WRONG")


class GradientError(GradproofError, AssertionError):
    """Raised by `assert_grad`; carries the `report`."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return str(self.report)


_views: dict[str, Callable[[Report], str]] = {}


def install_view(name: str, view: Callable[[Report], str]) -> None:
    """Give reports a view. The rendering room lies above this one, so it puts its views in from there."""
    _views[name] = view
