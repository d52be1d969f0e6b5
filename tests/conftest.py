"""Settings that all tests share."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

# Timings vary on shared machines: no deadline. CI must not fail by luck: the same examples each time.
hypothesis.settings.register_profile("gradproof", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("gradproof")

# Where all frameworks and a browser are meant to be there, as in `.ci/run`, a test that is skipped was not run.
SKIPS_FAIL = os.environ.get("GRADPROOF_SKIPS") == "fail"


def _failed(report: Any) -> None:
    if SKIPS_FAIL and report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {reason} (GRADPROOF_SKIPS=fail: every test must run here)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    _failed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    _failed(report)
    return report
