"""Views of reports: text for terminals and logs, pages of HTML, a view for notebooks.

`_ask` and `_commands` use them; they see a report and its evidence, and nothing of the engine.
"""

from __future__ import annotations

from gradproof._render._changes import changes_view
from gradproof._render._demo import Comparison, DemoResult, RuleStep, demo_view
from gradproof._render._github import Checked, job_summary, sources_of, workflow_commands
from gradproof._render._html import report_html, require_html, run_html
from gradproof._render._notebook import notebook_html
from gradproof._render._summary import NamedReport, summary_view, tally
from gradproof._render._tests import headline, tests_text
from gradproof._render._text import report_text, report_view, styled

__all__ = [
    "Checked",
    "Comparison",
    "DemoResult",
    "NamedReport",
    "RuleStep",
    "changes_view",
    "demo_view",
    "headline",
    "job_summary",
    "notebook_html",
    "report_html",
    "report_text",
    "report_view",
    "require_html",
    "run_html",
    "sources_of",
    "styled",
    "summary_view",
    "tally",
    "tests_text",
    "workflow_commands",
]
