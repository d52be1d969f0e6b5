"""The rows of a Jacobian in reverse mode: the derivatives of every entry of an output, many at a time."""

from __future__ import annotations

import warnings

import torch

Tensor = torch.Tensor
Tensors = tuple[Tensor, ...]

# Numbers in one batch of rows (they fit into a cache), and rows from which on a batch is faster.
ROW_NUMBERS, FEW_ROWS = 200_000, 4


def fill_rows(matrix: Tensor, output: Tensor, leaves: Tensors, factor: complex) -> None:
    """Write the derivatives of `factor` times every entry of an output: many rows at a time where torch can."""
    count = output.numel()
    if not output.requires_grad:
        return

    def pull_unit(unit: Tensor) -> Tensors:
        found: list[Tensor | None] = list(
            torch.autograd.grad([output], leaves, [unit], retain_graph=True, allow_unused=True)
        )
        return tuple(torch.zeros_like(leaf) if one is None else one for leaf, one in zip(leaves, found, strict=True))

    most = max(1, ROW_NUMBERS // (count + matrix.shape[1]))
    batched, start = count >= FEW_ROWS, 0
    while start < count:
        size = min(most if batched else 1, count - start)
        units = torch.zeros((size, count), dtype=output.dtype, device=output.device)
        units.diagonal(start).fill_(factor)
        try:
            if batched:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
                    # (Faster than `is_grads_batched`.)
                    found = torch.func.vmap(pull_unit)(units.reshape(size, *output.shape))
            else:
                found = pull_unit(units.reshape(output.shape))
        except Exception as error:
            if not batched:
                raise
            # Whatever it is: the rule is not made for a batch, or there is too much in it.
            batched = out_of_memory(error) and size > 1
            most = size // 2
            continue
        column = 0
        for leaf, gradient in zip(leaves, found, strict=True):
            for half in range(2 if leaf.is_complex() else 1):
                values = torch.view_as_real(gradient.resolve_conj())[..., half] if leaf.is_complex() else gradient
                matrix[start : start + size, column : column + leaf.numel()] = values.reshape(size, -1)
                column += leaf.numel()
        start += size


def out_of_memory(error: Exception) -> bool:
    """Whether torch had not enough memory, of a GPU or of the machine."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
