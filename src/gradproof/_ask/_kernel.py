"""A kernel of low precision held against a reference, for every library: what the entry points share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gradproof import _backends
from gradproof._ask._call import explained
from gradproof._ask._check import Options, Seed, check_against
from gradproof._base._errors import UsageError
from gradproof._base._names import function_name, function_source, type_name
from gradproof._base._sources import definitions
from gradproof._progress import Setting
from gradproof._report import Report

# Fewer tell nothing of how errors scatter.
LEAST_DRAWS = 4


@explained(
    "gradproof.compare_with_reference(kernel, reference, inputs, vjp=backward, reference_vjp=reference_backward)"
)
def compare_with_reference(
    kernel: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Any,
    *,
    vjp: Callable[..., Any] | None = None,
    reference_vjp: Callable[..., Any] | None = None,
    wrt: int | tuple[int, ...] | None = None,
    precision: str | None = None,
    draws: int = 16,
    max_bound: float | None = None,
    confidence: float = 1 - 1e-6,
    rng: Seed = None,
    progress: Setting = None,
    name: str | None = None,
) -> Report:
    """Compare a low-precision NumPy kernel with a reference: its values, and its gradients.

    For PyTorch and JAX use `gradproof.torch.compare_with_reference` and `gradproof.jax.compare_with_reference`, which
    need no backward passes from you.

    The truth is the reference in float64, on the kernel's own rounded inputs and the same cotangent; the baseline is
    the reference in the kernel's dtype. The kernel is WRONG if its error is larger than the baseline's error explains.

    Parameters
    ----------
    kernel, reference : callable
        ``kernel(*inputs)`` and ``reference(*inputs)`` return arrays of the same shapes. The reference must compute in
        the dtype of what it is given.
    inputs : tuple or any tree
        As `args` of `gradproof.check`, in the kernel's own dtypes: float16 or float32.
    vjp, reference_vjp : callable, optional
        ``vjp(cotangent, *inputs)`` of the kernel and of the reference, as for `gradproof.check`; both or neither.
        Without them only values are compared.
    wrt : int or tuple of int, optional
        The arguments that `vjp` returns gradients for; all floating arrays by default.
    precision : {"float32", "tf32", "float16"}, optional
        What the kernel computes in, if that is lower than the dtype of its inputs.
    draws : int
        How many inputs (each moved by a few rounding units) and cotangents are compared; at least 4. More draws find
        smaller errors of single entries.
    max_bound : float, optional
        The largest bound that may be called CORRECT. None is 32 machine epsilons of the kernel, within 0.05 and 0.5.
    confidence : float
        1 - `confidence` is the largest chance that a right kernel is called WRONG, and that normal random cotangents
        hide an error above the bound.
    rng, progress, name
        As for `gradproof.check`.

    Returns
    -------
    Report
        ``report.leaves`` are the outputs and then the gradients, and findings about values come first: a kernel that
        computes a different function is WRONG, even if its gradient is right.

    Raises
    ------
    UsageError
        If an argument cannot be used, for example inputs that are float64 already.
    FunctionError
        If a function raises at the point, or the two return arrays of other shapes.

    Notes
    -----
    Errors are squared and summed over regions (the whole, rows, slices along each axis, blocks of 4, 8, 16, ... of
    these, single entries) and over the draws. A region is wrong if the ratio of the kernel's sum to the baseline's, or
    to that of one rounding of a typical entry if that is larger, exceeds ``c**2 f``. The first factor is what a right
    kernel may lose: ``c**2 = 9 + n / 2 (u32 / u)**2``, 9 roundings in place of one, and sums of n terms in any order in
    float32, whose unit roundoff is u32; u is that of the kernel. The second is how far such a ratio scatters by chance:
    Chernoff's bound for two sums of squares of normal numbers, with the degrees of freedom that the sums show over the
    draws, and with the chance of a false alarm divided among all regions. A region is called WRONG only if it is wrong
    again in 8 other draws.

    FlashAttention's tests have a similar rule: at most twice the error of the same computation in PyTorch. Here it
    holds for every region, with a stated chance of a false alarm.

    Examples
    --------
    >>> import numpy as np
    >>> import gradproof
    >>> def reference(x):
    ...     e = np.exp(x - x.max(axis=-1, keepdims=True))
    ...     return e / e.sum(axis=-1, keepdims=True)
    >>> def kernel(x):
    ...     return reference(x.astype(np.float32)).astype(x.dtype)
    >>> def broken(x):
    ...     y = kernel(x)
    ...     y[-8:] *= 2  # wrong on purpose
    ...     return y
    >>> x = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float16)
    >>> gradproof.compare_with_reference(kernel, reference, x, rng=0).verdict
    <Verdict.CORRECT: 'CORRECT'>
    >>> report = gradproof.compare_with_reference(broken, reference, x, rng=0)
    >>> [(finding.id, finding.path, finding.kind) for finding in report.findings]
    [('GP130', 'output[24:]', "claimed 2 times the reference's value")]
    """
    from gradproof._backends import _numpy_sides

    started = time.perf_counter()
    if _backends.has_autodiff(inputs):
        raise UsageError(
            "`inputs` must be NumPy arrays: for PyTorch and JAX use `gradproof.torch.compare_with_reference` and "
            "`gradproof.jax.compare_with_reference`."
        )
    if (vjp is None) != (reference_vjp is None):
        missing = "reference_vjp" if reference_vjp is None else "vjp"
        raise UsageError(f"pass `vjp` and `reference_vjp` together, or neither: `{missing}` is missing.")
    require(kernel, reference, draws)
    options = Options(max_bound=max_bound, confidence=confidence, rng=rng, progress=progress)
    sides = _numpy_sides.NumpySides((kernel, vjp), (reference, reference_vjp), inputs, wrt, precision)
    inputs_and_products = "inputs" if vjp is None else "inputs, vjp=vjp, reference_vjp=reference_vjp"
    called = called_by(
        "gradproof.compare_with_reference", kernel, reference, options, wrt, precision, draws, inputs_and_products
    )
    return check_against(
        sides,
        name=name or function_name(kernel),
        claim="kernel",
        options=options,
        called=called,
        started=started,
        sources=definitions(kernel, vjp),
        draws=draws,
    )


def require(kernel: Any, reference: Any, draws: Any) -> None:
    """Raise UsageError if these are not what they must be."""
    for word, given in (("kernel", kernel), ("reference", reference)):
        if not callable(given):
            raise UsageError(f"`{word}` must be callable, got {type_name(given)}.")
    if not isinstance(draws, int) or isinstance(draws, bool) or draws < LEAST_DRAWS:
        raise UsageError(f"`draws` must be a whole number of at least {LEAST_DRAWS}, got {draws!r}.")


def called_by(
    entry: str,
    kernel: Any,
    reference: Any,
    options: Options,
    wrt: Any,
    precision: str | None,
    draws: int,
    inputs: str = "inputs",
) -> str:
    """The call of an entry point as Python source, up to its seed."""
    written = "" if wrt is None else f", wrt={wrt!r}"
    written += "" if precision is None else f", precision={precision!r}"
    written += "" if draws == 16 else f", draws={draws}"
    names = function_source(kernel, "kernel"), function_source(reference, "reference")
    return f"{entry}({names[0]}, {names[1]}, {inputs}{written}{options.written()}"
