"""In `.ci/run` nothing is skipped: a framework or a browser that is missing there fails."""

import pathlib
import sys

import pytest

SUITES = {
    "test_module": "import pytest\npytest.importorskip('no_such_framework')\n\ndef test_it():\n    pass\n",
    "test_one": "import pytest\n\ndef test_it():\n    pytest.importorskip('no_such_framework')\n",
    "test_marked": "import pytest\n\n@pytest.mark.skipif(True, reason='no browser')\ndef test_it():\n    pass\n",
    "test_right": "def test_it():\n    pass\n",
    "test_known": "import pytest\n\n@pytest.mark.xfail\ndef test_it():\n    raise ValueError\n",
}


@pytest.mark.parametrize(("setting", "outcomes"), [("fail", {"failed": 1, "errors": 2}), ("", {"skipped": 3})])
def test_what_is_skipped_fails_where_everything_must_run(pytester, monkeypatch, setting, outcomes):
    """By module, by test and by mark; what is expected to fail does so in either case."""
    monkeypatch.setenv("GRADPROOF_SKIPS", setting)
    pytester.makeconftest((pathlib.Path(__file__).parent / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(**SUITES)

    result = pytester.run(sys.executable, "-m", "pytest", "--continue-on-collection-errors", "-p", "no:randomly")

    result.assert_outcomes(passed=1, xfailed=1, **outcomes)
    assert ("no_such_framework" in result.stdout.str()) == (setting == "fail")
