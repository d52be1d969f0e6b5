"""GP401: differentiated leaves have memory of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradproof._backends._numpy import is_array, share_memory
from gradproof._function._layout import Origin
from gradproof._report import Finding, Severity


def find_aliases(origins: Sequence[Origin]) -> list[Finding]:
    """Return a note for each array that shares memory with an earlier one."""
    arrays = [(origin.path, origin.value) for origin in origins if is_array(origin.value) and origin.size]
    if len({id(value) for _, value in arrays}) == len(arrays) and all(value.flags.owndata for _, value in arrays):
        return []
    # Sweep in order of address: only arrays whose extents overlap are compared exactly.
    extents = sorted((*np.lib.array_utils.byte_bounds(value), i) for i, (_, value) in enumerate(arrays))
    findings: list[Finding] = []
    reach: list[tuple[int, int]] = []
    for low, high, i in extents:
        reach = [(end, j) for end, j in reach if end > low]
        other = next((j for _, j in reach if share_memory(arrays[i][1], arrays[j][1])), None)
        reach.append((high, i))
        if other is not None:
            first, second = sorted((i, other))
            findings.append(
                Finding(
                    id="GP401",
                    severity=Severity.NOTE,
                    path=arrays[second][0],
                    kind=f"shares memory with {arrays[first][0]}",
                    advice="they are measured as separate arrays; a tied parameter has one gradient, the sum of both.",
                )
            )
    return findings
