"""What a PyTorch function was seen to do besides its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradproof._backends._torch_autodiff import TorchAutodiff
from gradproof._backends._torch_primals import Apart
from gradproof._report import Finding, Severity, Verdict

# Paths that one note lists.
_SHOWN = 5


def findings(function: TorchAutodiff, leaves: Mapping[str, Verdict]) -> list[Finding]:
    """What became of tensors, values, and derivatives that reverse mode gave None for, given the leaves' verdicts."""
    found = [_other_value(one) for one in function.primals.apart]
    lost = function.state.lost
    found += [_written(path, is_lost=path in lost) for path in dict.fromkeys([*function.state.written, *lost])]
    for path in function.spoilt:
        found.append(
            Finding(
                id="GP212",
                severity=Severity.ERROR,
                path=path,
                kind="the backward changes this buffer",
                advice="Training would not be the same with and without a backward; `gradproof` has put it back. "
                "Where a checkpoint runs the forward again, that updates it twice.",
            )
        )
    for path in function.names[: function.count]:
        if path in function.undefined and leaves.get(path) is Verdict.WRONG:
            found.append(_without_graph(path))
    unused = [path for path in function.names if path in function.undefined]
    unused = [path for path in unused if leaves.get(path) is Verdict.CORRECT]
    found += summary("GP407", unused, "unused: f does not depend on it, and its gradient is None")
    found += summary("GP409", function.hooked, "has hooks of yours, which are part of the gradient that is checked")
    found += _module_itself(function.called, function.roots)
    found += summary("GP408", function.updated, "f updates this buffer: put back before and after every evaluation")
    return found


def _module_itself(f: Any, roots: Sequence[str]) -> list[Finding]:
    """Where f is a module, its parameters stay what they are."""
    count = sum(one.requires_grad for one in f.parameters()) if isinstance(f, torch.nn.Module) else 0
    if not count:
        return []
    parameters = "1 parameter" if count == 1 else f"{count} parameters"
    return [
        Finding(
            id="GP413",
            severity=Severity.NOTE,
            path="",
            kind=f"{parameters} of the module were not checked: the derivatives here are with respect to "
            f"{', '.join(f'`{root}`' for root in roots)}",
            advice="`gradproof.torch.check_module(model, loss, batch)` checks the parameters, by "
            "`loss(model, batch)` or by a criterion such as `torch.nn.MSELoss()` and a batch `(inputs, targets)`.",
        )
    ]


def summary(id: str, paths: Sequence[str], kind: str) -> list[Finding]:
    """One note that is about all of the paths; none if there are none."""
    if not paths:
        return []
    shown = ", ".join(paths[1:_SHOWN])
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    kind += f" (also {shown}{more})" if shown else ""
    return [Finding(id=id, severity=Severity.NOTE, path=paths[0], kind=kind)]


def _other_value(apart: Apart) -> Finding:
    by = "" if apart.largest is None else f", by up to {apart.largest:.3g}"
    return Finding(
        id="GP230",
        severity=Severity.ERROR,
        path=apart.path,
        kind=f"f returns another value while it is differentiated in {apart.mode} mode{by}",
        advice="Look for what asks `torch.is_grad_enabled()` or `requires_grad`, and for a rule whose forward is not "
        "the function itself: training minimises another function than evaluation shows.",
    )


def _written(path: str, *, is_lost: bool) -> Finding:
    put_back = "`gradproof` has put it back."
    if is_lost:
        put_back = "It is not what it was: there was no memory for a copy, and nothing of torch wrote into it."
    return Finding(
        id="GP210",
        severity=Severity.ERROR,
        path=path,
        kind="f changes this parameter in place",
        advice=f"{put_back} A loss must not take steps, and nothing that it calls may write into parameters: work on "
        f"a copy of `{path}` in f.",
    )


def _without_graph(path: str) -> Finding:
    return Finding(
        id="GP121",
        severity=Severity.ERROR,
        path=path,
        kind="detached: f depends on it, but its gradient is None",
        factor=0.0,
        advice="Look for `.detach()`, `.data`, `.item()`, `torch.no_grad()` or a round trip through NumPy on the way "
        "from it to the loss. If it is meant (a stop-gradient, a straight-through estimator, a frozen part), set "
        "`requires_grad` to False, or leave it out with `wrt=`.",
    )
