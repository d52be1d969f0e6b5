"""Settings that all tests share."""

from __future__ import annotations

import hashlib
import itertools as it
import os
import signal
import sys
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


@pytest.fixture(autouse=True, scope="session")
def outside_of_github() -> Generator[None]:
    """Tests see no GitHub Actions, so that what they run annotates nothing, and adds to no summary."""
    found = {name: value for name, value in os.environ.items() if name.startswith("GITHUB_")}
    for name in found:
        del os.environ[name]
    yield
    os.environ.update(found)


@pytest.fixture
def ctrl_c_raises() -> Generator[None]:
    """Ctrl-C is a KeyboardInterrupt, also where tests run in the background, whose shell lets it be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Drawn:
    """Stands for `os.urandom` in a test: gradproof gets no seed from the system there, so that every run is the same.

    A check without a seed fails the test, unless that is what it is about (`fresh_seeds`). Drop-ins take no seed, and
    the originals none either; theirs follow from the name of the test.
    """

    def __init__(self, item: pytest.Item) -> None:
        self.item, self.system, self.count = item, os.urandom, it.count()

    def __call__(self, size: int) -> bytes:
        module = str(sys._getframe(1).f_globals.get("__name__"))
        if not module.startswith("gradproof") or "fresh_seeds" in getattr(self.item, "fixturenames", ()):
            return self.system(size)
        if not module.startswith("gradproof.compat"):
            pytest.fail("this check would draw its seed from the system: pass `rng=`")
        return hashlib.sha256(f"{self.item.nodeid} {next(self.count)}".encode()).digest()[:size]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", Drawn(item))
        return (yield)


@pytest.fixture
def fresh_seeds() -> None:
    """Lets checks without a seed draw one from the system."""
