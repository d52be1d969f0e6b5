"""What has become of evaluations, in a file of SQLite from which a killed check goes on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CodeType
from typing import Any, cast

import numpy as np
import optree

from gradproof import _backends
from gradproof._base._away import CrashError, StopError, is_out_of_memory, name_of
from gradproof._base._errors import GradproofWarning, UsageError
from gradproof._run._old_journal import read_old
from gradproof._run._values import CannotKeepError, decoded, encoded
from gradproof._run._worker import Outcome, named

VERSION = 2
# "gprf" in the header of the file: no other program's database is taken for a journal.
APPLICATION = 0x67707266
# Characters of what a claim returned, up to which it is kept: SQLite takes no more than 1e9.
LONGEST = 1 << 28
# Seconds for which another process that writes is waited for.
PATIENCE = 30.0

_TABLES = """
CREATE TABLE IF NOT EXISTS head (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS evaluation (
    point TEXT NOT NULL, number INTEGER NOT NULL, outcome TEXT NOT NULL, PRIMARY KEY (point, number)
);
CREATE TABLE IF NOT EXISTS claimed (
    call TEXT NOT NULL, number INTEGER NOT NULL, outcome TEXT NOT NULL, PRIMARY KEY (call, number)
);
"""
# What must be as it was, and what it is called.
_SAME = {
    "format": "format {0}, and this version of gradproof writes format {1}",
    "gradproof": "gradproof {0}, which may ask for other points than {1}",
    "name": "a check of `{0}`, not of `{1}`",
    "point": "another point, or other arguments",
    "code": "`{name}` with different code",
    "seed": "rng={0}, not rng={1}",
}


class Journal:
    """Outcomes of evaluations by point, and by how often f has been evaluated there; each is safe once it is kept.

    Parameters
    ----------
    path : str
        Made if it is not there. A file of JSON lines, as sessions wrote them before, is turned into a journal.

    Attributes
    ----------
    seed : int or None
        With which it was begun.
    is_lost : bool
        Whether it could not be written to, which has been said in a warning: nothing is kept any more.

    Raises
    ------
    UsageError
        If there is something else at `path`, or nothing can be there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.is_lost = False
        self._visits: dict[str, int] = {}
        self._own = os.getpid()
        self._start = self._prefix = ""
        self._timeout = 0.0
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise UsageError(f"`journal`: there is no folder `{os.path.dirname(path)}`.")
        self._turn_old_into_new()
        self._file = self._opened()
        head = self._head()
        self.seed = int(head["seed"]) if "seed" in head else None

    def close(self) -> None:
        """Close the file, which then is one by itself."""
        with contextlib.suppress(sqlite3.Error):
            self._file.close()

    def begin(self, **head: str) -> None:
        """Begin the journal with what identifies the problem, or see that it is one of this problem.

        Raises
        ------
        UsageError
            If it is of another problem, seed or version.
        """
        wanted = {"format": str(VERSION), **head}
        self._require(wanted)
        self._write("INSERT OR IGNORE INTO head VALUES (?, ?)", wanted.items())
        self._require(wanted)  # another process may have begun it in between

    def _require(self, wanted: Mapping[str, str]) -> None:
        """Raise UsageError where the journal says otherwise; one that a session began does not say all."""
        known = self._head()
        for key, value in wanted.items():
            if known.get(key, value) != value:
                what, _, part = key.partition(":")
                name = wanted.get(f"name:{part}".rstrip(":"), "f")
                said = _SAME[what].format(known[key], value, name=name)
                raise UsageError(
                    f"`{self._path}` is a journal of {said}. Pass another path, or delete it to start again."
                )

    def of_check(
        self,
        f: Callable[..., Any],
        arguments: Any,
        *,
        name: str,
        seed: int,
        version: str,
        timeout: float,
        part: str = "",
    ) -> None:
        """Begin the journal of one check of f at these arguments, or go on with it.

        Several checks of one call share a journal: each is a `part` of it.
        """
        self._timeout, self._prefix = timeout, f"{part}:" if part else ""
        self._start = self._key(arguments)
        own = {"name": name, "point": self._start, "code": code_digest(f)}
        head = {"gradproof": version, "seed": str(seed), **{f"{key}:{part}".rstrip(":"): own[key] for key in own}}
        self.begin(**{key: value for key, value in head.items() if value})

    def _key(self, arguments: Any) -> str:
        return self._prefix + _backends.digest(arguments)

    # ------------------------------------------------------------------------------------------- of a check

    def find(self, arguments: tuple[Any, ...]) -> tuple[str, int, Outcome | None]:
        """Return the key of the next evaluation at these arguments, its number, and what became of it, if known."""
        key = self._key(arguments)
        return key, *self._find("SELECT outcome FROM evaluation WHERE point = ? AND number = ?", key)

    def _find(self, query: str, key: str) -> tuple[int, Outcome | None]:
        """The number of what comes next under a key, and what became of it, if known."""
        number = self._visits[key] = self._visits.get(key, 0) + 1
        try:
            row = self._file.execute(query, (key, number)).fetchone()
        except sqlite3.Error as error:
            self._lose(error)
            return number, None
        return number, None if row is None else self._outcome(row[0])

    def keep(self, key: str, number: int, outcome: Outcome) -> None:
        """Keep what became of an evaluation, safe from a crash once this returns.

        Raises
        ------
        StopError
            If what f returns has no written form.
        """
        error = outcome.error
        at_point = key == self._start
        if error is not None and (at_point or not isinstance(error, Exception) or is_out_of_memory(error)):
            return  # it ends the check, and may not come again
        try:
            written = _written(outcome, self._timeout)
        except CannotKeepError as error:
            raise StopError(
                UsageError(
                    f"`journal` cannot keep what `f` returns, {error}: numbers and arrays of NumPy, PyTorch and JAX "
                    "can be kept, in lists, tuples and dicts with keys of str."
                )
            ) from None
        self._write("INSERT OR REPLACE INTO evaluation VALUES (?, ?, ?)", [(key, number, written)])

    def find_call(self, key: str) -> tuple[int, Outcome | None]:
        """Return the number of the next call of a claim that this identifies, and what it returned, if known."""
        return self._find("SELECT outcome FROM claimed WHERE call = ? AND number = ?", key)

    def keep_call(self, key: str, number: int, returned: Any) -> None:
        """Keep what a claim returned, safe from a crash once this returns; not so if it has no written form."""
        try:
            written = _written(Outcome(value=returned), self._timeout)
        except CannotKeepError:
            return
        if len(written) <= LONGEST:
            self._write("INSERT OR REPLACE INTO claimed VALUES (?, ?, ?)", [(key, number, written)])

    def _outcome(self, text: str) -> Outcome | None:
        try:
            kept = json.loads(text)
            changed = None if "changed" not in kept else decoded(kept["changed"])
            if "error" not in kept:
                return Outcome(value=decoded(kept["value"]), changed=changed)
            if kept["error"] == "TimeoutError" and kept["timeout"] < self._timeout:
                return None  # it may take longer now
            is_crash = kept["error"] == CrashError.__name__
            error = CrashError(kept["text"]) if is_crash else named(kept["error"], kept["text"])
            return Outcome(error=error, changed=changed)
        except (ValueError, KeyError, TypeError) as error:
            raise StopError(self._damaged(error)) from error

    # ----------------------------------------------------------------------------------------- of a session

    def told(self) -> list[tuple[str, Any]]:
        """Return all points with the values that were told, in their order; None is a failure."""
        rows = self._file.execute("SELECT point, outcome FROM evaluation ORDER BY rowid").fetchall()
        try:
            return [(point, _array(json.loads(text))) for point, text in rows]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> UsageError:
        """What is raised where a row cannot be read."""
        return UsageError(
            f"`{self._path}` is damaged. Pass another path, or delete it ({type(error).__name__}: {error})."
        )

    def tell(self, points: Sequence[str], values: Sequence[Any]) -> None:
        """Keep values that were told of points, in their order; None is a failure."""
        rows = [(point, self._next(point), _told(value)) for point, value in zip(points, values, strict=True)]
        self._write("INSERT OR REPLACE INTO evaluation VALUES (?, ?, ?)", rows)

    def _next(self, point: str) -> int:
        if point not in self._visits:
            count = self._file.execute("SELECT COUNT(*) FROM evaluation WHERE point = ?", (point,)).fetchone()[0]
            self._visits[point] = int(count)
        self._visits[point] += 1
        return self._visits[point]

    # -------------------------------------------------------------------------------------------------- file

    def _opened(self) -> sqlite3.Connection:
        try:
            file = sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)
            # (In this order: another process may make it in between.)
            is_new = not file.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
            found = file.execute("PRAGMA application_id").fetchone()[0]
            if found != APPLICATION and not (is_new and found == 0):
                raise UsageError(f"`{self._path}` is a database of another program, not a journal of gradproof.")
        except sqlite3.Error as error:
            raise UsageError(f"`{self._path}` is not a journal of gradproof and cannot become one: {error}.") from error
        try:
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = FULL")
            if is_new:
                file.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION}; COMMIT;")
        except sqlite3.Error as error:
            if error.sqlite_errorname not in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR"):
                raise UsageError(f"`{self._path}` cannot be written to: {error}.") from error
            self._lose(error)
            file = sqlite3.connect(":memory:", isolation_level=None)
            file.executescript(_TABLES)
        return file

    def _head(self) -> dict[str, str]:
        try:
            return dict(self._file.execute("SELECT key, value FROM head").fetchall())
        except sqlite3.Error as error:
            raise UsageError(f"`{self._path}` is not a journal of gradproof: {error}.") from error

    def _write(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write all rows or none; a file that cannot be written to costs the journal, not the check."""
        if self.is_lost or os.getpid() != self._own:  # f may have forked
            return
        try:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany(statement, rows)
            self._file.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._file.execute("ROLLBACK")
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        if not self.is_lost:
            self.is_lost = True
            warnings.warn(
                f"`{self._path}` cannot be written to ({error}): the check goes on, but what it evaluates from now on "
                "is not kept.",
                GradproofWarning,
                stacklevel=2,
            )

    def _turn_old_into_new(self) -> None:
        """Put a journal in the place of a file of JSON lines, all at once."""
        if not os.path.isfile(self._path):
            return
        try:
            old = read_old(self._path)
        except OSError as error:
            raise UsageError(f"`{self._path}` cannot be read: {error.strerror or error}.") from error
        if old is None:
            return
        seed, told = old
        made = f"{self._path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.remove(made)
        new = Journal(made)
        new.begin(seed=str(seed))
        new.tell([point for point, _ in told], [value for _, value in told])
        new._file.execute("PRAGMA journal_mode = DELETE")  # all in one file
        new.close()
        if new.is_lost:
            os.remove(made)
            raise UsageError(f"`{self._path}` is an older journal, and the disk has no room to convert it.")
        os.replace(made, self._path)


def _told(value: Any) -> str:
    if value is None:
        return json.dumps({"error": "ArithmeticError", "text": "the run failed (None was told)"})
    return json.dumps({"value": encoded(np.asarray(value))})


def _array(kept: Mapping[str, Any]) -> Any:
    return None if "error" in kept else np.asarray(decoded(kept["value"]))


def _written(outcome: Outcome, timeout: float) -> str:
    kept: dict[str, Any] = {}
    if outcome.error is None:
        kept["value"] = encoded(outcome.value)
    else:
        kept |= {"error": name_of(outcome.error), "text": str(outcome.error), "timeout": timeout}
    if outcome.changed is not None:
        leaves: list[Any] = optree.tree_leaves(outcome.changed, none_is_leaf=True, namespace="gradproof")
        kept["changed"] = encoded([leaf if _backends.is_array(leaf) else None for leaf in leaves])
    return json.dumps(kept)


def code_digest(f: Callable[..., Any]) -> str:
    """What tells the code of one function from that of another, comments apart; empty where f has none in Python."""
    found = hashlib.blake2b(digest_size=16)
    found.update(".".join(map(str, sys.version_info[:2])).encode())
    codes = list(_codes(f, set()))
    for code in codes:
        _add_code(found, code)
    return found.hexdigest() if codes else ""


def _codes(f: Any, seen: set[int]) -> Iterator[CodeType]:
    """The code of f, of what it wraps, and, where it is an object, of the functions that it holds."""
    if id(f) in seen or isinstance(f, type):
        return
    seen.add(id(f))
    call: Any = vars(cast("type[Any]", type(f))).get("__call__")
    code = getattr(f, "__code__", None)
    own = cast("Mapping[str, Any]", getattr(f, "__dict__", {}))
    within: list[Any] = [own.get("__wrapped__")]
    if isinstance(f, functools.partial):
        within = [cast("functools.partial[Any]", f).func]
    elif code is None:
        code, within = getattr(call, "__code__", None), [one for one in own.values() if callable(one)]
    if isinstance(code, CodeType):
        yield code
    for one in within:
        if callable(one):
            yield from _codes(one, seen)


def _add_code(found: Any, code: CodeType) -> None:
    found.update(code.co_code + repr((code.co_names, code.co_varnames)).encode())
    for one in code.co_consts:
        if isinstance(one, CodeType):
            _add_code(found, one)
        else:
            # (The order of a set is another in another process.)
            members = sorted(map(repr, cast("frozenset[Any]", one))) if isinstance(one, frozenset) else one
            found.update(repr(members).encode())
