"""What a JAX function was seen to do besides its numbers."""

# jax's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import numpy as np

from gradproof._backends._jax_compile import is_near
from gradproof._backends._jax_function import JaxFunction
from gradproof._report import Finding, Severity


def findings(function: JaxFunction) -> list[Finding]:
    """Outputs that are others while JAX differentiates f than they are without."""
    found: list[Finding] = []
    for mode, outputs in function.primals():
        plain = function.plain
        for i, (one, other) in enumerate(zip(plain, outputs, strict=True)):
            if one.shape == other.shape and is_near(one, other):
                continue
            path = f"output[{i}]" if len(plain) > 1 else "output"
            if any(seen.path == path for seen in found):
                continue
            name = "reverse" if mode == "rev" else "forward"
            apart = f", by up to {_largest(one, other):.3g}" if one.shape == other.shape else ""
            found.append(
                Finding(
                    id="GP230",
                    severity=Severity.ERROR,
                    path=path,
                    kind=f"f returns another value while it is differentiated in {name} mode{apart}",
                    advice="Look at the rule that goes with `jax.custom_vjp` or `jax.custom_jvp`: the value that it "
                    "returns beside the derivative must be that of the function itself.",
                )
            )
    return found


def _largest(one: object, other: object) -> float:
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(np.abs(np.asarray(one) - np.asarray(other)), initial=0.0))
