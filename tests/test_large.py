"""Large problems: vectors in pieces, memory and evaluations spared; the same answers."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import gradproof
from gradproof import Verdict, check
from gradproof._base import _pieces
from gradproof._base._leaf import Leaf
from gradproof._base._pieces import LeafSizes, Pieces, joined
from gradproof._prove._directions import Coin, Direction, Directions, Spans

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(_pieces, "LARGE", 20)
    monkeypatch.setattr(_pieces, "CHUNK", 64)


def parts(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(size) for size in sizes]


def laid(*sizes):
    """Leaves of these sizes, one after the other."""
    stops = np.cumsum(sizes).tolist()
    return tuple(
        Leaf(path=f"x[{i}]", shape=(size,), dtype="float64", start=stop - size, stop=stop)
        for i, (size, stop) in enumerate(zip(sizes, stops, strict=True))
    )


def test_pieces_give_what_an_array_gives():
    vectors = parts(3, 0, 5, 1)
    pieces, flat = Pieces(vectors), np.concatenate(vectors)

    assert len(pieces) == pieces.size == 9
    assert [pieces[i] for i in range(9)] == flat.tolist()
    for start in range(10):
        for stop in range(start, 10):
            np.testing.assert_array_equal(pieces[start:stop], flat[start:stop])
    assert np.shares_memory(pieces[3:8], vectors[2])
    np.testing.assert_array_equal(np.asarray(pieces) + 0, flat)
    np.testing.assert_array_equal((pieces * 2.0).copy(), 2 * flat)
    v = parts(9, seed=1)[0]
    np.testing.assert_array_equal(pieces.moved(np.empty(9), v, 0.3), v * 0.3 + flat)


def test_small_vectors_stay_arrays():
    assert type(joined(parts(3, 4))) is np.ndarray
    assert joined([]).size == 0


@pytest.mark.usefixtures("_everything_is_large")
def test_directions_are_the_same_in_pieces(monkeypatch):
    """Bit for bit, with parts and floors: a report does not depend on where the vectors lie."""
    sizes = (150, 1, 70)
    leaves = laid(*sizes)
    points, claims = parts(*sizes), parts(*sizes, seed=1)
    points[2] *= np.logspace(-3, 3, 70)  # natural sizes of its own for every entry
    pieces = Directions(leaves, joined(points), joined(claims), 5)
    flat = Directions(leaves, np.concatenate(points), np.concatenate(claims), 5)
    assert pieces.large
    assert not flat.large
    for direction in (
        Direction(stream=0, group=(0, 1, 2), scales=(1.0, 0.5, 0.1)),
        Direction(stream=1, group=(0, 2), scales=(1.0, 1.0), floor=0.01),
        Direction(stream=2, group=(0,), scales=(1.0,), parts=(Coin(3, 0), Spans(((10, 140),)))),
        Direction(stream=-1, group=(2,), scales=(1.0,), entry=200),
    ):
        np.testing.assert_array_equal(pieces.vector(direction), flat.vector(direction))
        np.testing.assert_allclose(pieces.slope(direction), flat.slope(direction), rtol=1e-13)


def test_sizes_are_found_by_leaf():
    sizes = LeafSizes(laid(2, 0, 3), [2.0, 1.0, np.array([3.0, 4.0, 5.0])])
    assert [float(sizes[i]) for i in range(5)] == [2, 2, 3, 4, 5]
    assert sizes[0:2] == 2.0
    assert sizes[3:5].tolist() == [4, 5]


def loss(p):
    return np.sum(np.sin(p["w"])) * p["scale"][0] + 0.5 * np.sum(p["b"] ** 2)


def gradient(p):
    return {"w": np.cos(p["w"]) * p["scale"][0], "scale": np.array([np.sin(p["w"]).sum()]), "b": p["b"]}


def point():
    w, b = parts(300, 40)
    return {"w": w.reshape(10, 30), "scale": np.array([3.0]), "b": b}


@pytest.mark.usefixtures("_everything_is_large")
def test_a_right_claim_is_certified_with_fewer_evaluations(monkeypatch):
    """Two directions instead of three; a claim that returns its own argument keeps its numbers."""
    p = point()
    bits = {name: array.copy() for name, array in p.items()}

    report = check(loss, p, grad=gradient, rng=0)

    assert report.verdict is Verdict.CORRECT
    assert all(np.array_equal(p[name], bits[name]) for name in p)
    monkeypatch.setattr(_pieces, "LARGE", 10**6)
    usual = check(loss, p, grad=gradient, rng=0)
    assert report.cost.evaluations < usual.cost.evaluations
    assert usual.verdict is Verdict.CORRECT


@pytest.mark.usefixtures("_everything_is_large")
@pytest.mark.parametrize("leaf", ["w", "b"])
def test_a_wrong_claim_is_found_and_named(leaf):
    def wrong(p):
        claimed = gradient(p)
        return {**claimed, leaf: claimed[leaf] * 1.001}  # wrong on purpose

    report = check(loss, point(), grad=wrong, rng=0)

    assert [one.path for one in report.leaves if one.verdict is Verdict.WRONG] == [f"p['{leaf}']"]
    assert report.findings[0].factor == pytest.approx(1.001)


@pytest.mark.usefixtures("_everything_is_large")
def test_one_wrong_entry_is_found_and_named():
    def wrong(p):
        claimed = gradient(p)
        claimed["w"][7, 3] *= -1  # wrong on purpose
        return claimed

    report = check(loss, point(), grad=wrong, rng=0)

    assert [one.path for one in report.findings if one.id == "GP101"] == ["p['w'][7, 3]"]


@pytest.mark.usefixtures("_everything_is_large")
def test_a_model_is_certified():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = [torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 2)]
    model = torch.nn.Sequential(*layers).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    report = gradproof.torch.check_module(
        model, lambda model, x: model(x).square().mean(), torch.rand(5, 6).double(), rng=0
    )

    assert report.verdict is Verdict.CORRECT
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def transformer(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(ROOT / "benchmarks" / "transformer.py"), *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return json.loads(finished.stdout)


@pytest.mark.slow
def test_every_parameter_of_a_small_transformer_is_certified():
    pytest.importorskip("torch")
    found = transformer("--small", "--only", "right")

    assert found["verdict"] == "CORRECT"
    assert found["evaluations"] <= 100
    assert found["flat"] == [f"model.blocks[{i}].attention.key.bias" for i in range(4)]


@pytest.mark.slow
def test_one_wrong_bias_of_a_small_transformer_is_named():
    pytest.importorskip("torch")
    found = transformer("--small", "--only", "wrong")

    assert found["verdict"] == "WRONG"
    assert found["wrong"] == ["model.blocks[2].up.bias"]
    assert found["undecided"] == []
    said = r"in `model\.blocks\[2\]\.up` \(Shift\): claimed (1\.001|\(1 \+ 0\.001\)) times the true gradient"
    assert re.search(said, found["said"][0])


@pytest.mark.usefixtures("_everything_is_large")
def test_of_many_wrong_leaves_a_few_are_named_and_the_others_left():
    """Each accusation costs as much as a certificate."""

    def squares(p):
        return sum(np.sum(x**2) for x in p)

    def wrong(p):
        return [2 * x * np.where(np.arange(x.size) % 3, 1.0, -1.0) for x in p]  # wrong on purpose

    report = check(squares, parts(*[30] * 12), grad=wrong, rng=0)

    verdicts = [leaf.verdict for leaf in report.leaves]
    assert report.verdict is Verdict.WRONG
    assert verdicts.count(Verdict.WRONG) == 3
    assert {leaf.note for leaf in report.leaves if leaf.verdict is Verdict.INCONCLUSIVE} == {
        "not judged: others are wrong already"
    }
