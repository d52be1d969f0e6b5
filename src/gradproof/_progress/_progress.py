"""How far a check is: counted where f is evaluated, and told to a display that is asked for at the front door.

While nobody watches, it costs a call that does nothing for each evaluation; with a line on the terminal, a look at the
clock. There is no thread: what is shown changes between evaluations.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

from gradproof._base._errors import GradproofWarning

# Seconds until a line appears unasked, between two looks of a display, and between lines in a log.
AFTER, EVERY, LOGGED = 1.0, 0.1, 10.0
# Seconds that measuring entries must have taken before its pace says anything.
PACE = 0.5
# Seconds from which on the time of a single evaluation is shown.
SLOW = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a check is: what the callable `progress=` of `gradproof.check` receives. Its `str` is one line.

    Attributes
    ----------
    name : str
        Of what is checked; in a series of checks that of the series or the case first.
    seconds : float
        Since the check began.
    evaluations : int
        Of f so far, in all checks of a series; of its claimed gradient where this is what is differentiated.
    phase : str
        ``"evaluating the claim"``, ``"proving"``, ``"confirming"`` (a deviation is measured again) or ``"locating"``
        (a wrong claim is searched for its wrong entries).
    place : str
        The leaf, leaves, entry or module that is looked at, as Python source or in words; may be empty.
    mode : str
        Of a framework's autodiff, such as ``"fwd-rev"``; empty for a claim.
    seconds_left : float or None
        Where every entry is measured by itself, what the others take at the pace so far; confirming and locating come
        on top. None where the number of evaluations depends on what they show.
    number, count : int
        Which check of how many; 1 and 1 for one by itself.
    finished : bool
        Whether the check has ended, by an exception too: the last call.
    """

    name: str
    seconds: float
    evaluations: int
    phase: str = "proving"
    place: str = ""
    mode: str = ""
    seconds_left: float | None = None
    number: int = 1
    count: int = 1
    finished: bool = False

    def __str__(self) -> str:
        return self.line()

    def line(self, width: int | None = None, dots: str = "...") -> str:
        """What is shown, no longer than `width`: first the place gives way in its middle, then the end."""
        numbers = [f"{self.number} of {self.count}"] if self.count > 1 else []
        evaluations = f"{self.evaluations:,} evaluation{'' if self.evaluations == 1 else 's'}"
        if self.evaluations and self.seconds / self.evaluations >= SLOW:
            evaluations += f" ({self.seconds / self.evaluations:.2g} s each)"
        numbers += [duration(self.seconds), evaluations]
        if self.seconds_left is not None:
            numbers.append(f"about {duration(self.seconds_left)} left")
        subject = ", ".join(part for part in (self.name, self.mode) if part)
        doing = "finished" if self.finished else self.phase
        text = f"gradproof  {'  '.join(numbers)}  {f'{subject}: ' if subject else ''}{doing}"
        if not self.place or self.finished:
            return text if width is None else shortened(text, width, dots, at_end=True)
        if width is None:
            return f"{text} {self.place}"
        room = width - len(text) - 1
        if room >= min(12, len(self.place)):
            return f"{text} {shortened(self.place, room, dots)}"
        return shortened(f"{text} {self.place}", width, dots, at_end=True)


def duration(seconds: float) -> str:
    """``8 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    whole = max(0, math.floor(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def shortened(text: str, width: int, dots: str, *, at_end: bool = False) -> str:
    """`text` in `width` characters, with `dots` for what is left out of its middle, or at its end."""
    if len(text) <= width:
        return text
    room = max(0, width - len(dots))
    head = room if at_end else room // 2
    return text[:head] + dots[:width] + text[len(text) - (room - head) :] * (room > head)


class Display(Protocol):
    """What shows progress."""

    def show(self, progress: Progress) -> None:
        """Show it in place of what was shown before."""
        ...

    def close(self, progress: Progress) -> None:
        """The check has ended: remove what is shown."""
        ...


# What the option `progress` may be; see `gradproof.check`.
Setting: TypeAlias = "bool | Callable[[Progress], object] | None"


class Silent:
    """What is told while nobody watches."""

    def evaluated(self, points: int = 1) -> None:
        """So many evaluations begin, or have ended."""

    def look(self, **what: Any) -> None:
        """What is looked at now: `phase`, `place`, `mode`, `number` and `count` of a `Progress`."""

    def ask(self, phase: str, place: Callable[[], str]) -> None:
        """A question of a proof is answered next: what for, and what tells the place if somebody wants to know it."""

    def answered(self) -> None:
        """The last question of a proof has been answered."""

    def measure(self, count: int, *, of: int, each: int) -> None:
        """So many entries `of` all are measured next, by so many evaluations `each`; 0 `of` 0: no longer."""

    @contextlib.contextmanager
    def during(self, phase: str, place: str = "") -> Generator[None]:
        """Within this context the check is in another phase, and looks at one place."""
        yield


@dataclasses.dataclass
class _Pass:
    """Entries that are measured one by one: how many have been, and those that are being measured."""

    total: int
    began: float
    done: int = 0
    count: int = 0
    each: int = 1
    evaluations: int = 0


class Watch(Silent):
    """Counts evaluations, knows what is looked at, and tells a display of it now and then."""

    def __init__(
        self,
        setting: Setting,
        make: Callable[[], Display | None],
        *,
        name: str,
        started: float,
        after: float = 0.0,
        every: float = EVERY,
    ) -> None:
        self.setting = setting
        self._make = make
        self._display: Display | None = None
        self._error: Exception | None = None
        self._due = started + after
        self._every = every
        self.started = started
        self.latest = Progress(name=name, seconds=0.0, evaluations=0)
        self.evaluations = 0
        self._question: tuple[str, Callable[[], str]] | None = None
        self._pass: _Pass | None = None

    def evaluated(self, points: int = 1) -> None:
        if time.perf_counter() >= self._due:
            self._show()
        self.evaluations += points

    def look(self, **what: Any) -> None:
        self.latest = dataclasses.replace(self.latest, **what)

    def ask(self, phase: str, place: Callable[[], str]) -> None:
        self._question = phase, place

    def answered(self) -> None:
        self._question = self._pass = None

    def measure(self, count: int, *, of: int, each: int) -> None:
        if not of:
            self._pass = None
            return
        if self._pass is None or self._pass.total != of:
            self._pass = _Pass(total=of, began=time.perf_counter())
        self._pass.done += self._pass.count
        self._pass.count, self._pass.each, self._pass.evaluations = count, each, self.evaluations

    @contextlib.contextmanager
    def during(self, phase: str, place: str = "") -> Generator[None]:
        before = self.latest
        self.look(phase=phase, place=place)
        try:
            yield
        finally:
            self.look(phase=before.phase, place=before.place)

    @contextlib.contextmanager
    def named(self, name: str) -> Generator[None]:
        """Within this context another check is watched: its evaluations are counted on."""
        before = self.latest
        names = dict.fromkeys(one for one in (before.name, name) if one)
        self.look(name=", ".join(names), place="", mode="")
        try:
            yield
        finally:
            self.latest = before

    def _show(self) -> None:
        self._due = math.inf  # a display that runs a check itself is not asked again
        try:
            self._display = self._display or self._make()
            if self._display is None:
                return
            self._display.show(self._progress())
        except Exception as error:
            self._error = error
            return
        self._due = time.perf_counter() + self._every

    def close(self) -> None:
        """Remove what is shown, and warn of what went wrong with it."""
        self._due = math.inf
        if self._display is not None:
            try:
                self._display.close(dataclasses.replace(self._progress(), finished=True))
            except Exception as error:
                self._error = self._error or error
        if self._error is not None:
            raised = f"{type(self._error).__name__}: {self._error}"
            warnings.warn(f"`progress` raised {raised}; it was not called again.", GradproofWarning, stacklevel=2)

    def _progress(self) -> Progress:
        now = time.perf_counter()
        what: dict[str, Any] = {}
        if self._question is not None:
            phase, place = self._question
            what["place"] = self.latest.place or place()
            if self.latest.phase == "proving":
                what["phase"] = phase
        return dataclasses.replace(
            self.latest,
            seconds=now - self.started,
            evaluations=self.evaluations,
            seconds_left=self._left(now),
            **what,
        )

    def _left(self, now: float) -> float | None:
        here = self._pass
        if here is None or now - here.began < PACE:
            return None
        done = here.done + min(here.count, (self.evaluations - here.evaluations) / here.each)
        return (now - here.began) / done * max(0.0, here.total - done) if done else None


SILENT = Silent()
# Of the check that runs here.
WATCH: ContextVar[Watch | None] = ContextVar("gradproof._progress", default=None)


def current() -> Silent:
    """Who watches the check that runs here."""
    return WATCH.get() or SILENT
