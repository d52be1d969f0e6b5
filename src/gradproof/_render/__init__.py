"""Views of reports: text for terminals and logs."""

from __future__ import annotations

from gradproof._render._changes import changes_view
from gradproof._render._demo import Comparison, DemoResult, RuleStep, demo_view
from gradproof._render._summary import NamedReport, summary_view, tally
from gradproof._render._tests import headline, tests_text
from gradproof._render._text import report_text, report_view, styled

__all__ = [
    "Comparison",
    "DemoResult",
    "NamedReport",
    "RuleStep",
    "changes_view",
    "demo_view",
    "headline",
    "report_text",
    "report_view",
    "styled",
    "summary_view",
    "tally",
    "tests_text",
]
