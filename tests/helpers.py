"""Shared builders and questions."""

from __future__ import annotations

import ast
import re
from pathlib import Path
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


def ids_in_code() -> set[str]:
    """Every id of a finding that stands in src as a string by itself; docstrings that mention one do not count."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (Path(__file__).parents[1] / "src").rglob("*.py"))
    constants = (node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str) and re.fullmatch(r"GP\d{3}", value)}


OFFSETS = np.array([0.0, 1.0, 0.3])


def log_sum_exp(z):
    return z.max() + np.log(np.sum(np.exp(z - z.max())))


def free_energy(p):
    """It does not depend on `a`, which cancels: what is left is rounding."""
    return np.sum(np.sin(p["b"])) + log_sum_exp(p["a"] + OFFSETS) - p["a"]


def free_energy_gradient(p):
    """The derivative by `a` is what the weights, normalised by logarithms, lack of 1."""
    z = p["a"] + OFFSETS
    return {"a": np.sum(np.exp(z - log_sum_exp(z))) - 1, "b": np.cos(p["b"])}
