"""A report as a notebook shows it: a fragment of HTML with styles of its own, made of strings alone.

It has to look right on any background, light or dark, of which it knows nothing: so it takes the colour of text from
the page, and its own colours are readable on white (4.5 to 1 and more) and on the dark grey of notebooks.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from html import escape

from gradproof._render import _numbers as numbers
from gradproof._render import _words as words
from gradproof._render._entries import PAGE_WIDTH, entry_tables
from gradproof._report import Finding, LeafResult, Report, Severity, Verdict

MOST_FINDINGS = 5
MOST_LEAVES = 10

# Filled labels, so that neither colour depends on the background.
_LABELS = {
    Verdict.CORRECT: "#1a7f37",
    Verdict.WRONG: "#cf222e",
    Verdict.NOT_DIFFERENTIABLE: "#a0307a",
    Verdict.INCONCLUSIVE: "#8a5d00",
}
_FAINT = "opacity:0.75"
_CELL = "text-align:left;vertical-align:top;padding:0.15em 1.2em 0.15em 0;background:none;border:0"
_NUMBER = f"{_CELL};text-align:right;white-space:nowrap"


def notebook_html(report: Report) -> str:
    """Return a fragment that says what the report says, in brief."""
    return "\n".join(
        [
            '<div style="font-variant-numeric:tabular-nums;overflow-wrap:anywhere;line-height:1.45;max-width:60em">',
            *_parts(report),
            "</div>",
        ]
    )


def _parts(report: Report) -> Iterator[str]:
    name = f" <code>{_text(report.name)}</code>" if report.name else ""
    yield f"<div>{_label(report.verdict)}{name} {_text(words.sentence(report))}</div>"
    for finding in report.findings[:MOST_FINDINGS]:
        yield from _finding(finding)
    beyond = len(report.findings) - MOST_FINDINGS
    if beyond > 0:
        yield f'<div style="{_FAINT}">and {numbers.count(beyond, "more finding")}: see report.findings</div>'
    for title, lines in entry_tables(report, PAGE_WIDTH):
        yield f'<div style="margin-top:0.5em">{_text(title)}</div>'
        yield f'<pre style="margin:0.2em 0;overflow-x:auto">{escape(chr(10).join(lines))}</pre>'
    if advice := words.general_advice(report):
        yield f"<div>{prose(advice)}</div>"
    if report.leaves:
        yield from _leaves(sorted(report.leaves, key=words.leaf_order))
    yield from _steps(report)
    closing = [*words.certificate(report), *words.mode_sentences(report), words.cost(report)]
    yield f'<div style="{_FAINT};margin-top:0.5em">{_text(" ".join(closing))}</div>'


def _steps(report: Report) -> Iterator[str]:
    """How the difference quotients of one slope depend on the step, where matplotlib is installed."""
    ladders = sorted(report.evidence.ladders, key=lambda one: not one.against)
    if not ladders or importlib.util.find_spec("matplotlib") is None:
        return
    from gradproof._render._step_picture import slope_of, step_picture

    try:
        drawn = step_picture(ladders[0])
    except ArithmeticError:
        return  # axes do not go to the largest numbers that a double holds
    is_open = "" if report.verdict is Verdict.CORRECT else " open"
    what = slope_of(ladders[0].path, ladders[0].entry, ladders[0].output)
    yield f'<details{is_open} style="margin-top:0.5em"><summary>Steps tried for {_text(what)}</summary>'
    # (Its colours are those of white paper, whatever the notebook's are.)
    yield f'<div style="background:#fff;max-width:32em;padding:0.4em;border-radius:4px">{drawn}</div></details>'


def _finding(finding: Finding) -> Iterator[str]:
    where = words.place(finding)
    title = f"<code>{_text(where)}</code> " if where else ""
    weight = "font-weight:600" if finding.severity is not Severity.NOTE else ""
    name = _text(f"{finding.severity.value} {finding.id}")
    yield f'<div style="margin-top:0.5em">{title}<span style="{weight}">{name}</span>'
    for label, value in words.rows(finding):
        shown = f"<code>{_text(value)}</code>" if label == "reproduce" else prose(value)
        yield f'<div style="margin-left:1.2em"><span style="{_FAINT}">{_text(label)}</span> '
        yield f"{shown}</div>"
    yield "</div>"


def _leaves(leaves: list[LeafResult]) -> Iterator[str]:
    yield '<table style="margin-top:0.5em;border-collapse:collapse;border:0"><thead><tr>'
    heads = (("array", _CELL), ("verdict", _CELL), ("bound", _NUMBER), ("deviation", _NUMBER), ("", _CELL))
    yield "".join(f'<th scope="col" style="{style};font-weight:normal;{_FAINT}">{name}</th>' for name, style in heads)
    yield "</tr></thead><tbody>"
    yield from (_row(leaf) for leaf in leaves[:MOST_LEAVES])
    yield "</tbody></table>"
    if len(leaves) > MOST_LEAVES:
        yield f'<div style="{_FAINT}">{_text(words.more_leaves(leaves[MOST_LEAVES:]))}</div>'


def _row(leaf: LeafResult) -> str:
    cells: Iterable[tuple[str, str]] = (
        (_label(leaf.verdict), _CELL),
        (numbers.significant(leaf.bound), _NUMBER),
        (words.deviations([leaf])[0].strip(), _NUMBER),
        (_text(leaf.note), _CELL),
    )
    path = f'<th scope="row" style="{_CELL};font-weight:normal"><code>{_text(leaf.path)}</code></th>'
    others = "".join(f'<td style="{style}">{cell}</td>' for cell, style in cells)
    return f"<tr>{path}{others}</tr>"


def _label(verdict: Verdict) -> str:
    style = f"background:{_LABELS[verdict]};color:#fff;padding:0.05em 0.45em;border-radius:3px;font-weight:600"
    return f'<span style="{style};font-size:0.9em;white-space:nowrap">{verdict.value}</span>'


def prose(sentence: str) -> str:
    """A sentence as HTML, what stands between backticks as code."""
    parts = _text(sentence).split("`")
    if len(parts) % 2 == 0:  # a lone backtick is the user's
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if k % 2 else part for k, part in enumerate(parts))


def _text(content: str) -> str:
    return escape(numbers.printable(content))
