"""How layouts of memory are spoken of."""

from __future__ import annotations

# By name, each word beginning with it where the user may pass it: those of torch, and then those of NumPy.
WORDS = {
    "transposed": "transposed",
    "sliced": "sliced (every other entry of a wider one)",
    "narrowed": "narrowed (part of a wider one, as of `chunk` or `cat`)",
    "offset": "offset (contiguous, but one entry into its storage)",
    "channels_last": "channels_last",
    "expanded": "expanded (stride 0, as after `.sum()`)",
    "repeated": "repeated (stride 0 along the first axis, as after `.sum(0)`)",
    "Fortran order": "in Fortran order",
    "strided": "a strided view (every other entry of a wider one)",
    "broadcast": "broadcast (stride 0)",
}
