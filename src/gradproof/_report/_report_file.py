"""A file of reports, as the command line and the pytest plugin write it; a file with one report is read as well."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import IO, Any, cast

from gradproof._base._errors import UsageError
from gradproof._base._files import write_text
from gradproof._report._report import SCHEMA_VERSION, Report, document_of, report_of
from gradproof._report._report_json import json_text, loads


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportFile:
    """Reports, the tests that they come from, and what could not run.

    Attributes
    ----------
    reports : tuple of Report
    tests : tuple of str
        pytest's node id for each report, or empty where they come from no tests.
    errors : tuple of dict
        ``case``, ``error`` (the class) and ``message`` of each case or test that could not run.
    """

    reports: tuple[Report, ...]
    tests: tuple[str, ...] = ()
    errors: tuple[dict[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """One name for each report, and no name twice: the test and what it checked, numbered where that repeats."""
        tests = self.tests or ("",) * len(self.reports)
        plain = [f"{test}  {report.name}".strip() for test, report in zip(tests, self.reports, strict=True)]
        seen: Counter[str] = Counter()
        names: list[str] = []
        for name in plain:
            seen[name] += 1
            names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
        return tuple(names)

    def to_json(self, *, ascii_only: bool = False) -> str:
        """Return the file's text."""
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "reports": [document_of(report) for report in self.reports],
            "errors": list(self.errors),
        }
        if self.tests:
            document["tests"] = list(self.tests)
        return json_text(document, ascii_only=ascii_only) + "\n"

    @classmethod
    def read(cls, file: IO[str]) -> ReportFile:
        """Read what `to_json` wrote, or a single report.

        Raises
        ------
        UsageError
            If it is neither.
        """
        try:
            text = file.read()
        except ValueError as error:  # of the encoding
            raise UsageError(f"this is not JSON: {error}") from error
        parsed = loads(text)
        if not isinstance(parsed, dict) or "reports" not in parsed:
            return cls(reports=(report_of(parsed),))
        document = cast("dict[str, Any]", parsed)
        version = document.pop("schema_version", None)
        if type(version) is not int or version != SCHEMA_VERSION:
            raise UsageError(
                f"this is no file of gradproof reports of schema version {SCHEMA_VERSION}: "
                f"schema_version is {repr(version)[:60]}."
            )
        try:
            more = document.keys() - {"reports", "errors", "tests"}
            if more:
                raise TypeError(f"it has no {repr(min(more))[:60]}")
            reports, errors, tests = (
                _items(document.get(key, [] if key == "tests" else None), kind, key)
                for key, kind in (("reports", dict), ("errors", dict), ("tests", str))
            )
            read = tuple(report_of(entry) for entry in reports)
            failed = tuple(
                {key: _items([error[key]], str, key)[0] for key in ("case", "error", "message")} for error in errors
            )
        except (KeyError, TypeError) as error:
            raise UsageError(f"this file of gradproof reports is damaged: {type(error).__name__}: {error}") from error
        if tests and len(tests) != len(read):
            raise UsageError(f"this file of gradproof reports is damaged: {len(tests)} tests, {len(read)} reports")
        return cls(reports=read, tests=tuple(tests), errors=failed)

    def write(self, path: str) -> None:
        """Write it to the file at `path`, replaced once the new one is complete."""
        write_text(path, self.to_json())


def _items(given: Any, kind: type, key: str) -> list[Any]:
    """A list of members of one kind; TypeError if it is none."""
    if not isinstance(given, list) or not all(isinstance(one, kind) for one in cast("list[Any]", given)):
        raise TypeError(f"{key!r} must hold {kind.__name__}")
    return cast("list[Any]", given)
