"""Nested parameters <-> named leaves."""

from __future__ import annotations

import collections
import concurrent.futures
from typing import Any, NamedTuple

import hypothesis
import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import optree
import pytest

import gradproof
from gradproof._base._tree import flatten
from gradproof._function._problem import Primal, Problem


class Layer(NamedTuple):
    w: Any
    b: Any


class Box:
    def __init__(self, inside: Any, label: str) -> None:
        self.inside = inside
        self.label = label


optree.register_pytree_node(
    Box,
    lambda box: ((box.inside,), box.label, ("inside",)),
    lambda label, children: Box(children[0], label),
    path_entry_type=optree.GetAttrEntry,
    namespace="gradproof",
)


def zero(*args: Any) -> float:
    return 0.0


def give_back(args: Any) -> Any:
    return args


def names_of_two(weights: Any, bias: Any) -> float:
    return 0.0


def paths(tree: Any, root: str = "x") -> list[str]:
    return [leaf.path for leaf in flatten((tree,), (root,)).leaves]


floats = st.floats(-1e6, 1e6)
arrays = npst.arrays(
    dtype=st.sampled_from([np.float16, np.float32, np.float64, np.dtype(">f8")]),
    shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    elements=st.floats(-100, 100, width=16),
)
leaves = floats | arrays | floats.map(np.float64)
keys = st.text("abcdWb", min_size=1, max_size=3) | st.integers(0, 9)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict)
        | st.builds(Layer, inner, inner | st.none())
        | st.builds(Box, inner, st.just("label"))
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """The same containers, kinds of leaves, dtypes, shapes and bits."""
    ones, structure = optree.tree_flatten(one, namespace="gradproof")
    others, other_structure = optree.tree_flatten(other, namespace="gradproof")
    return structure == other_structure and all(
        type(a) is type(b) and np.array(a).dtype == np.array(b).dtype and np.array(a).tobytes() == np.array(b).tobytes()
        for a, b in zip(ones, others, strict=True)
    )


def insertion_order(tree: Any) -> list[Any]:
    """The leaves by a plain walk in the user's own order."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in insertion_order(value)]
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in insertion_order(value)]
    if isinstance(tree, Box):
        return insertion_order(tree.inside)
    return [] if tree is None else [tree]


@hypothesis.given(trees)
def test_trees_round_trip(tree):
    """What f gets at the point equals what the user gave: containers, kinds, dtypes and bits; none is the user's."""
    leaves = optree.tree_leaves(tree, namespace="gradproof")
    hypothesis.assume(any(np.size(leaf) for leaf in leaves))
    primal = Primal(give_back, [tree])
    (got,), changed = primal.call(give_back)
    assert same(got, tree)
    assert changed == []
    for mine, theirs in zip(optree.tree_leaves(got, namespace="gradproof"), leaves, strict=True):
        if isinstance(theirs, np.ndarray):
            assert not np.shares_memory(mine, theirs)


@hypothesis.given(trees)
def test_leaves_come_in_the_users_order(tree):
    """Leaves are listed as the user wrote them, dictionaries in insertion order, and the flat vector follows."""
    expected = insertion_order(tree)
    found = flatten((tree,), ("x",)).leaves
    assert [id(leaf.value) for leaf in found] == [id(leaf) for leaf in expected]
    hypothesis.assume(any(np.size(leaf) for leaf in expected))
    primal = Primal(zero, [tree])
    flat = np.concatenate([np.ravel(np.asarray(leaf, dtype=float)) for leaf in expected])
    np.testing.assert_array_equal(primal.point, flat)
    assert primal.leaves[-1].stop == flat.size


@hypothesis.given(trees)
def test_paths_are_python_source(tree):
    """A path, evaluated, is the leaf it names."""
    for leaf in flatten((tree,), ("x",)).leaves:
        assert eval(leaf.path, {"x": tree}) is leaf.value


def test_paths():
    """Keys by repr, fields by name, positions by number, custom nodes by what they registered."""
    tree = {"W2": 1.0, "a": [2.0, (3.0,)], 7: Layer(w=4.0, b=None), "box": Box({"z": 5.0, "y": 6.0}, "label")}
    assert paths(tree, "params") == [
        "params['W2']",
        "params['a'][0]",
        "params['a'][1][0]",
        "params[7].w",
        "params['box'].inside['z']",
        "params['box'].inside['y']",
    ]
    assert paths(1.0, "theta") == ["theta"]


def test_roots_are_the_functions_own_names():
    """The first part of a path is the parameter's name in f's signature, else its position."""
    assert [leaf.path for leaf in Primal(names_of_two, (1.0, {"c": 2.0}), (0, 1)).leaves] == ["weights", "bias['c']"]
    assert [leaf.path for leaf in Primal(zero, (1.0, 2.0), -1).leaves] == ["args[1]"]
    assert Primal(np.add, (1.0, 2.0)).leaves[0].path in ("args[0]", "x1")


def test_dictionaries_in_threads():
    """Insertion order does not hang on a process-wide switch that threads could turn."""
    tree = {name: float(i) for i, name in enumerate("zyxwvu")}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: paths(tree), range(200)))
    assert all(one == [f"x[{name!r}]" for name in "zyxwvu"] for one in found)
    assert not optree._C.is_dict_insertion_ordered("gradproof")


def keep_kinds(tree: Any) -> float:
    assert type(tree["python"]) is float
    assert type(tree["scalar"]) is np.float32
    assert type(tree["zero"]) is np.ndarray
    assert tree["zero"].shape == ()
    assert tree["fortran"].flags.f_contiguous
    assert tree["matrix"].__class__ is np.matrix
    assert tree["half"].dtype == np.float16
    assert tree["big"].dtype == np.dtype(">f8")
    assert all(leaf.flags.writeable for leaf in optree.tree_leaves(tree) if isinstance(leaf, np.ndarray))
    return 0.0


def test_f_gets_the_same_kinds_at_every_step():
    """Python floats stay Python floats, scalars scalars, and arrays keep dtype, order and subclass."""
    read_only = np.ones(3)
    read_only.flags.writeable = False
    tree = {
        "python": 1.0,
        "scalar": np.float32(2),
        "zero": np.array(3.0),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "matrix": np.ones((2, 2)).view(np.matrix),
        "half": np.ones(2, np.float16),
        "big": np.ones(2, ">f8"),
        "read_only": read_only,
        "strided": np.arange(10.0)[::3],
    }
    primal = Primal(keep_kinds, tree)
    problem = Problem(primal, {i: np.zeros(leaf.shape) for i, leaf in enumerate(primal.leaves)})
    v = np.ones(problem.point.size)
    assert [problem.evaluate(v, step) for step in (0.0, 0.5, -2.0)] == [0.0, 0.0, 0.0]
    assert problem.eps == np.finfo(np.float16).eps


def weighted(tree: Any) -> float:
    return float(np.sum(tree["a"] * np.arange(6.0).reshape(2, 3)) + 100 * tree["b"] + 1000 * tree["c"].sum())


@pytest.mark.parametrize("order", ["C", "F"])
def test_steps_land_where_the_flat_vector_says(order):
    """x + step v, entry by entry, whatever the memory order."""
    tree = {"c": np.ones(2), "a": np.array(np.arange(6.0).reshape(2, 3), order=order), "b": 3.0}
    primal = Primal(weighted, tree)
    problem = Problem(primal, {i: np.zeros(leaf.shape) for i, leaf in enumerate(primal.leaves)})
    v = np.zeros(9)
    v[2 + 4] = 1.0  # a[1, 1], whose weight is 4
    assert problem.evaluate(v, 0.5) - problem.evaluate(v, 0.0) == 2.0
    v = np.zeros(9)
    v[8] = 1.0  # b
    assert problem.evaluate(v, 0.5) - problem.evaluate(v, 0.0) == 50.0
    assert problem.evaluations == problem.calls == 4


def test_a_leaf_set_aside_stays_at_the_point():
    """Only measured leaves move; the others are made anew for each evaluation all the same."""
    tree = {"c": np.ones(2), "a": np.ones((2, 3)), "b": 3.0}
    problem = Problem(Primal(weighted, tree), {2: 0.0})
    assert [leaf.path for leaf in problem.leaves] == ["tree['b']"]
    assert problem.leaves[0].start == 0
    assert problem.evaluate(np.ones(1), 1.0) - problem.evaluate(np.ones(1), 0.0) == 100.0


def float32_sum(x: Any) -> float:
    return float(np.sum(x.astype(np.float64) * 3.0))


def test_low_precision_is_corrected_to_first_order():
    """Where x + t v is rounded to float32, the value is moved back to x + t v along the claim."""
    x = np.array([1.0, 2.0, 3.0], np.float32)
    problem = Problem(Primal(float32_sum, x), {0: np.full(3, 3.0)})
    v = np.array([0.1, -0.3, 0.7])
    step = 1e-5  # 84 ulps of float32: its rounding would show in the third digit
    rise = problem.evaluate(v, step) - problem.evaluate(v, 0.0)
    assert rise == pytest.approx(step * 3.0 * v.sum(), rel=1e-9)


@pytest.mark.parametrize("passive", [False, True])
def test_endless_trees_are_refused(passive):
    """A list that holds itself is an error of ours that names the argument, not a RecursionError."""
    endless = [1.0]
    endless.append(endless)
    args = (1.0, endless) if passive else (endless,)

    with pytest.raises(gradproof.UsageError, match="nested too deeply"):
        gradproof.check(lambda *args: 1.0, args, grad=1.0, rng=0)
