"""A file of reports, as the command line and the pytest plugin write it; a file with one report is read as well."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections import Counter
from typing import IO, Any, cast

from gradproof._errors import UsageError
from gradproof._report import SCHEMA_VERSION, Report, json_text


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
            "reports": [json.loads(report.to_json()) for report in self.reports],
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
            parsed: Any = json.loads(text)
        except ValueError as error:  # of the encoding, or of JSON
            raise UsageError(f"this is not JSON: {error}") from error
        if not isinstance(parsed, dict) or "reports" not in parsed:
            return cls(reports=(Report.from_json(text if isinstance(parsed, dict) else "{}"),))
        document = cast("dict[str, Any]", parsed)
        if document.get("schema_version") != SCHEMA_VERSION:
            raise UsageError(
                f"this is no file of gradproof reports of schema version {SCHEMA_VERSION}: "
                f"schema_version is {document.get('schema_version')!r}."
            )
        try:
            reports = tuple(Report.from_json(json.dumps(dict(entry))) for entry in document["reports"])
            tests = tuple(str(test) for test in document.get("tests", ()))
            errors = tuple(
                {key: str(error[key]) for key in ("case", "error", "message")} for error in document["errors"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this file of gradproof reports is damaged: {type(error).__name__}: {error}") from error
        if tests and len(tests) != len(reports):
            raise UsageError(f"this file of gradproof reports is damaged: {len(tests)} tests, {len(reports)} reports")
        return cls(reports=reports, tests=tests, errors=errors)

    def write(self, path: str) -> None:
        """Write it to the file at `path`, replaced if it exists."""
        pathlib.Path(path).write_text(self.to_json(), encoding="utf-8")
