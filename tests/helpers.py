"""Shared builders and questions."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from gradproof import Finding, LeafResult, Report


def snapshot(tree: Any) -> list[tuple[int, str, tuple[int, ...], bytes]]:
    """Identity, dtype, shape and bits of every array in a tree, to be compared before and after."""
    leaves = optree.tree_leaves(tree, none_is_leaf=True, namespace="gradproof")
    arrays = [leaf for leaf in leaves if isinstance(leaf, np.ndarray)]
    return [(id(array), str(array.dtype), array.shape, array.tobytes()) for array in arrays]


def ids(report: Report) -> list[str]:
    """Ids of all findings, in the order of the report."""
    return [finding.id for finding in report.findings]


def finding(report: Report, id: str) -> Finding:
    """Return the one finding with this id."""
    (found,) = [finding for finding in report.findings if finding.id == id]
    return found


def leaf(report: Report, path: str) -> LeafResult:
    """Return the result of the leaf at this path."""
    (found,) = [leaf for leaf in report.leaves if leaf.path == path]
    return found
