"""Views of reports: text for terminals and logs."""

from __future__ import annotations

from gradproof._render._changes import changes_view
from gradproof._render._demo import Comparison, DemoResult, RuleStep, demo_view
from gradproof._render._summary import NamedReport, summary_view, tally
from gradproof._render._tests import tests_text
from gradproof._render._text import banner, report_text, report_view, styled

__all__ = [
    "Comparison",
    "DemoResult",
    "NamedReport",
    "RuleStep",
    "banner",
    "changes_view",
    "demo_view",
    "report_text",
    "report_view",
    "styled",
    "summary_view",
    "tally",
    "tests_text",
]
