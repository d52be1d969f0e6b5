"""GP231: the `vmap` rule that an `autograd.Function` brings along gives what the loop over its points gives."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from gradproof._backends._torch_autodiff import TorchAutodiff, is_floating
from gradproof._backends._torch_parts import applications
from gradproof._base import _tree
from gradproof._base._away import is_from_handler
from gradproof._report import Finding, Severity

Tensor = torch.Tensor
Rule = type[torch.autograd.Function]

# Points along the new axis, and how far apart they are relative to the values.
POINTS, APART = 3, 0.1
# Roundings by which two orders of the same operations may differ, beside one for each entry that a sum may run over (in
# the worst case they add up).
ROUNDINGS = 64.0


def find_rules_apart(function: TorchAutodiff) -> list[Finding]:
    """One finding for each Function whose own `vmap` rule returns something else than the Function, point by point."""
    found: dict[Rule, Finding] = {}
    for rule, args in applications(function, has_own_vmap):
        if rule not in found:
            apart = _difference(rule, args)
            if apart:
                found[rule] = Finding(
                    id="GP231",
                    severity=Severity.ERROR,
                    path=rule.__name__,
                    kind=f"its `vmap` rule differs from the loop over the points, {apart}",
                    advice="`vmap(info, in_dims, *args)` gets the whole batch: reduce over the axes of one point only, "
                    "move the axis that `in_dims` names (None where an argument has none), and return where it is.",
                )
    return list(found.values())


def has_own_vmap(rule: Rule) -> bool:
    """Whether a Function brings a `vmap` rule along, rather than have torch make it."""
    return rule.vmap is not torch.autograd.Function.vmap and not rule.generate_vmap_rule


def _difference(rule: Rule, args: tuple[Any, ...]) -> str:
    """In which call the rule differs from the loop: with the axis in front, at the end, or for one argument alone.

    What the rule refuses is no answer, and so no wrong one.
    """
    places = [i for i, one in enumerate(args) if is_floating(one) and one.layout is torch.strided]
    calls: list[tuple[str, tuple[int, ...], int]] = [("with the new axis in front", tuple(places), 0)]
    if any(args[i].dim() for i in places):
        calls.append(("with the new axis at the end", tuple(places), -1))
    if len(places) > 1:
        calls += [(f"with a new axis for argument {i} alone", (i,), 0) for i in places]
    for words, batched, axis in calls:
        points = {i: [args[i].detach() * (1 + APART * k) for k in range(POINTS)] for i in batched}
        given = [torch.stack(points[i], axis) if i in points else one for i, one in enumerate(args)]
        axes = tuple(axis if i in points else None for i in range(len(args)))
        try:
            with torch.no_grad():
                loop = [_outputs(rule.apply(*_at(args, points, k))) for k in range(POINTS)]
                together = _outputs(torch.func.vmap(rule.apply, in_dims=axes)(*given))
        except Exception as error:
            if is_from_handler(error):
                raise
            continue
        entries = sum(one.numel() for one in args if isinstance(one, Tensor))
        if not all(
            _agree(batch, list(rows), entries) for batch, rows in zip(together, zip(*loop, strict=True), strict=True)
        ):
            return words
    return ""


def _at(args: tuple[Any, ...], points: dict[int, list[Tensor]], k: int) -> list[Any]:
    return [points[i][k] if i in points else one for i, one in enumerate(args)]


def _outputs(returned: Any) -> list[Tensor]:
    leaves = _tree.flatten((returned,), ("output",), none_is_leaf=True).leaves
    return [leaf.value for leaf in leaves if is_floating(leaf.value)]


def _agree(batch: Tensor, rows: Sequence[Tensor], entries: int) -> bool:
    """Whether a batch holds these rows, up to the order in which sums over all entries may be taken."""
    if batch.shape != (len(rows), *rows[0].shape):
        return False
    loop = torch.stack(list(rows))
    largest = float(loop.abs().max()) if loop.numel() else 0.0
    if not math.isfinite(largest) or not bool(torch.isfinite(batch).all()):
        return bool(((batch == loop) | (batch.isnan() & loop.isnan())).all()) or not math.isfinite(largest)
    allowed = (ROUNDINGS + entries) * torch.finfo(loop.dtype).eps * largest
    return bool(((batch - loop).abs() <= allowed).all())
