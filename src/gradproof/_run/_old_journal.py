"""The journals that sessions wrote up to version 0.1: JSON lines, which are read still."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._base._errors import UsageError

VERSION = 1


def read_old(path: str) -> tuple[int, list[tuple[str, NDArray[Any] | None]]] | None:
    """Return seed, points and values of a file of JSON lines; None where it is none.

    Raises
    ------
    UsageError
        If it is one, and cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(1) != b"{":
            return None
        file.seek(0)
        # What a killed process left of a line has no end.
        whole = file.read().rpartition(b"\n")[0]
    if not whole:
        return None
    try:
        head, *lines = [json.loads(line) for line in whole.split(b"\n")]
        if head["gradproof_journal"] != VERSION:
            raise UsageError(f"`{path}` is a journal of version {head['gradproof_journal']}, not {VERSION}.")
        return int(head["seed"]), [(str(line["point"]), _decoded(line)) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"`{path}` is not a journal of gradproof: {type(error).__name__}: {error}") from error


def _decoded(line: dict[str, Any]) -> NDArray[Any] | None:
    if line["value"] is None:
        return None
    dtype = np.dtype(line["dtype"])
    parts = np.array([float(number) if isinstance(number, str) else number for number in line["value"]])
    if dtype.kind == "c":
        parts = parts[::2] + 1j * parts[1::2]
    return parts.astype(dtype).reshape(line["shape"])
