"""What a session has been told, in a file from which it goes on."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradproof._base._errors import UsageError

VERSION = 1


class Journal:
    """Values of f by point in a file of JSON lines, which begins with the seed; only ever appended to.

    Raises
    ------
    UsageError
        If there is a file that is no journal.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.seed: int | None = None
        self._lines: list[dict[str, Any]] = []
        self._end = 0
        if os.path.exists(path):
            self._load()

    def _load(self) -> None:
        with open(self._path, "rb") as file:
            # What a killed process left of a line has no end.
            whole = file.read().rpartition(b"\n")[0]
        self._end = len(whole) + 1 if whole else 0
        if not whole:
            return
        try:
            head, *self._lines = [json.loads(line) for line in whole.split(b"\n")]
            if head["gradproof_journal"] != VERSION:
                raise UsageError(f"`{self._path}` is a journal of version {head['gradproof_journal']}, not {VERSION}.")
            self.seed = int(head["seed"])
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"`{self._path}` is no journal of gradproof: {type(error).__name__}: {error}") from error

    def start(self, seed: int) -> list[tuple[str, Any]]:
        """Begin the file if there is none; return the points and values in it."""
        with open(self._path, "ab") as file:
            file.truncate(self._end)
            if self._end == 0:
                file.write(json.dumps({"gradproof_journal": VERSION, "seed": seed}).encode() + b"\n")
        try:
            return [(str(line["point"]), _decoded(line)) for line in self._lines]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"`{self._path}` is damaged: {type(error).__name__}: {error}") from error

    def write(self, points: Sequence[str], values: Sequence[Any]) -> None:
        """Append points and values, safe from a crash once this returns."""
        with open(self._path, "ab") as file:
            for point, value in zip(points, values, strict=True):
                file.write(json.dumps({"point": point, **_encoded(value)}, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _encoded(value: NDArray[Any] | None) -> dict[str, Any]:
    """A value as JSON: numbers that are not finite as strings, complex ones as pairs; null for a failure."""
    if value is None:
        return {"value": None}
    numbers: list[Any] = np.ravel(value).tolist()
    if value.dtype.kind == "c":
        numbers = [part for number in numbers for part in (number.real, number.imag)]
    flat = [number if math.isfinite(number) else str(number) for number in numbers]
    return {"value": flat, "dtype": str(value.dtype), "shape": list(value.shape)}


def _decoded(line: dict[str, Any]) -> NDArray[Any] | None:
    if line["value"] is None:
        return None
    dtype = np.dtype(line["dtype"])
    parts = np.array([float(number) if isinstance(number, str) else number for number in line["value"]])
    if dtype.kind == "c":
        parts = parts[::2] + 1j * parts[1::2]
    return parts.astype(dtype).reshape(line["shape"])
