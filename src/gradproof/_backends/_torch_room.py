"""How much memory is free, where copies of large tensors would go."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import torch

# Copies may take so much of what is free: the check itself needs room as well.
SHARE = 0.25


def has_room(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether there is room for a copy of each, device by device; False where nobody can tell."""
    needed: dict[torch.device, int] = {}
    for tensor in tensors:
        needed[tensor.device] = needed.get(tensor.device, 0) + tensor.numel() * tensor.element_size()
    return all(size <= SHARE * free_memory(device) for device, size in needed.items())


def free_memory(device: torch.device) -> float:
    """Bytes that are free on a device; 0 where that is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return _free_here() if device.type == "cpu" else 0.0


def _free_here() -> float:
    """What the machine has, or what the container may take."""
    found: list[float] = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        found += [] if limit == "max" else [float(limit) - float((group / "memory.current").read_text())]
    return max(0.0, min(found, default=0.0))
