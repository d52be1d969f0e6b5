"""Mistakes that people make in hand-written gradients, planted in correct ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from functions import Leaves, Model

from gradproof._prove._directions import natural_size

Array = np.ndarray


@dataclasses.dataclass
class Scene:
    """What a mistake may use: the model, its point, its correct gradient, the leaf it is planted in."""

    rng: np.random.Generator
    model: Model
    point: Leaves
    gradient: Leaves
    key: str

    @property
    def g(self) -> Array:
        return self.gradient[self.key]

    @property
    def x(self) -> Array:
        return self.point[self.key]

    @property
    def rms(self) -> float:
        return float(np.sqrt(np.mean(self.g**2)))

    def entry_near_median(self) -> int:
        """Flat index of an entry whose size is near the median of the nonzero ones."""
        size = np.abs(self.g).reshape(-1)
        nonzero = np.flatnonzero(size)
        return int(nonzero[np.argsort(size[nonzero])[len(nonzero) // 2]])

    def any_entry(self) -> int:
        """Flat index of a random nonzero entry."""
        return int(self.rng.choice(np.flatnonzero(self.g.reshape(-1))))


# Each returns the wrong leaf, a dict of wrong leaves, or None where it does not apply.
Mistake = Callable[[Scene], "Array | Leaves | None"]
MISTAKES: dict[str, Mistake] = {}


def mistake(plant: Mistake) -> Mistake:
    MISTAKES[plant.__name__] = plant
    return plant


def changed_entry(scene: Scene, index: int, factor: float) -> Array | None:
    g = scene.g.copy()
    g.reshape(-1)[index] *= factor
    return g


def factor(name: str, value: Callable[[Scene], float]) -> None:
    MISTAKES[name] = lambda scene: scene.g * value(scene)


factor("times 2", lambda scene: 2.0)
factor("half", lambda scene: 0.5)
factor("sign", lambda scene: -1.0)
factor("times m (sum in place of mean)", lambda scene: float(scene.model.count))
factor("1/m (mean in place of sum)", lambda scene: 1.0 / scene.model.count)
factor("times 1.01", lambda scene: 1.01)
factor("times 1.001", lambda scene: 1.001)
factor("times 1.00001", lambda scene: 1.00001)

MISTAKES["one entry zero"] = lambda scene: changed_entry(scene, scene.any_entry(), 0.0)
MISTAKES["one entry sign"] = lambda scene: changed_entry(scene, scene.entry_near_median(), -1.0)
MISTAKES["one entry times 2"] = lambda scene: changed_entry(scene, scene.entry_near_median(), 2.0)
MISTAKES["one entry times 1.001"] = lambda scene: changed_entry(scene, scene.entry_near_median(), 1.001)
MISTAKES["any entry sign"] = lambda scene: changed_entry(scene, scene.any_entry(), -1.0)


@mistake
def transposed(scene: Scene) -> Array | None:
    return np.ascontiguousarray(scene.g.T).reshape(scene.g.shape) if scene.g.ndim >= 2 else None


@mistake
def flipped(scene: Scene) -> Array | None:
    return scene.g[::-1].copy() if scene.g.ndim else None


@mistake
def rolled(scene: Scene) -> Array | None:
    return np.roll(scene.g, 1, axis=0) if scene.g.ndim else None


@mistake
def permuted_rows(scene: Scene) -> Array | None:
    return scene.rng.permutation(scene.g, axis=0) if scene.g.ndim else None


@mistake
def two_entries_swapped(scene: Scene) -> Array | None:
    if scene.g.size < 2:
        return None
    g = scene.g.copy().reshape(-1)
    i, j = scene.rng.choice(g.size, 2, replace=False)
    g[i], g[j] = g[j], g[i]
    return g.reshape(scene.g.shape)


@mistake
def one_row_wrong(scene: Scene) -> Array | None:
    if scene.g.ndim < 2:
        return None
    g = scene.g.copy()
    g[scene.rng.integers(len(g))] *= 1.5
    return g


@mistake
def tail_of_rows_zero(scene: Scene) -> Array | None:
    if scene.g.ndim == 0 or len(scene.g) < 2:
        return None
    g = scene.g.copy()
    g[max(1, 3 * len(g) // 4) :] = 0
    return g


@mistake
def one_column_wrong(scene: Scene) -> Array | None:
    if scene.g.ndim < 2:
        return None
    g = scene.g.copy()
    g[..., scene.rng.integers(g.shape[-1])] *= -1
    return g


@mistake
def one_block_wrong(scene: Scene) -> Array | None:
    if scene.g.ndim < 2 or min(scene.g.shape[:2]) < 3:
        return None
    g = scene.g.copy()
    rows, columns = g.shape[:2]
    g[: rows // 2, columns // 2 :] *= 0.5
    return g


@mistake
def leaf_zeroed(scene: Scene) -> Array | None:
    return np.zeros_like(scene.g)


@mistake
def leaves_swapped(scene: Scene) -> Leaves | None:
    others = [k for k, g in scene.gradient.items() if k != scene.key and g.shape == scene.g.shape]
    if not others:
        return None
    other = others[int(scene.rng.integers(len(others)))]
    return {scene.key: scene.gradient[other].copy(), other: scene.g.copy()}


@mistake
def weight_decay_missing(scene: Scene) -> Array | None:
    return scene.g - 0.01 * scene.rms / max(float(np.sqrt(np.mean(scene.x**2))), 1e-300) * scene.x


@mistake
def l1_missing(scene: Scene) -> Array | None:
    return scene.g - 0.01 * scene.rms * np.sign(scene.x)


@mistake
def constant_missing(scene: Scene) -> Array | None:
    return scene.g - 0.05 * scene.rms


@mistake
def branch_missing(scene: Scene) -> Array | None:
    """A second path through the same parameters is forgotten: here one that looks like the gradient elsewhere."""
    elsewhere = {k: x * 1.3 for k, x in scene.point.items()}
    return scene.g - 0.3 * scene.model.gradient(elsewhere)[scene.key]


@mistake
def noise_1e_minus_3(scene: Scene) -> Array | None:
    return scene.g * (1 + 1e-3 * scene.rng.standard_normal(scene.g.shape))


@mistake
def stale(scene: Scene) -> Leaves | None:
    """The gradient of the step before."""
    before = {
        k: x + 1e-3 * np.reshape(natural_size(np.ravel(x)) * scene.rng.standard_normal(x.size), x.shape)
        for k, x in scene.point.items()
    }
    return scene.model.gradient(before)


@mistake
def accumulated_twice(scene: Scene) -> Leaves | None:
    return {k: 2 * g for k, g in scene.gradient.items()}


@mistake
def mean_broadcast(scene: Scene) -> Array | None:
    """Reduced over the wrong axis, then broadcast back."""
    if scene.g.ndim == 0 or scene.g.size < 2:
        return None
    return np.broadcast_to(scene.g.mean(axis=0, keepdims=True), scene.g.shape).copy()


@mistake
def repeated(scene: Scene) -> Array | None:
    """The first half twice."""
    half = scene.g.size // 2
    if half == 0:
        return None
    flat = scene.g.reshape(-1)
    return np.resize(flat[:half], flat.size).reshape(scene.g.shape)


@mistake
def small_entries_flipped(scene: Scene) -> Array | None:
    """The smallest tenth of the nonzero entries has the wrong sign."""
    size = np.abs(scene.g)
    nonzero = size[size > 0]
    if nonzero.size < 10:
        return None
    return np.where(size <= np.quantile(nonzero, 0.1), -scene.g, scene.g)


@mistake
def random_leaf(scene: Scene) -> Array | None:
    return scene.rms * scene.rng.standard_normal(scene.g.shape)


@mistake
def absolute_values(scene: Scene) -> Array | None:
    return np.abs(scene.g)


@mistake
def clipped(scene: Scene) -> Array | None:
    limit = float(np.quantile(np.abs(scene.g), 0.9))
    return np.clip(scene.g, -limit, limit)


@mistake
def zeros_filled(scene: Scene) -> Array | None:
    """Entries that take no part get a gradient all the same."""
    return np.where(scene.g == 0, 0.1 * scene.rms, scene.g) if (scene.g == 0).any() and scene.rms > 0 else None


@mistake
def one_unused_entry_filled(scene: Scene) -> Array | None:
    """One exact zero becomes 1e-3 of the typical entry."""
    zeros = np.flatnonzero(scene.g.reshape(-1) == 0)
    if zeros.size == 0 or scene.rms == 0:
        return None
    g = scene.g.copy()
    g.reshape(-1)[scene.rng.choice(zeros)] = 1e-3 * scene.rms
    return g


@mistake
def flat_leaf_filled(scene: Scene) -> Leaves | None:
    """A leaf that f does not feel gets 1e-3 of a neighbour's gradient."""
    flat = [k for k, g in scene.gradient.items() if not g.any()]
    loud = [k for k, g in scene.gradient.items() if g.any()]
    if not flat or not loud:
        return None
    leaf = scene.gradient[flat[0]]
    return {flat[0]: 1e-3 * np.resize(scene.gradient[loud[0]], leaf.shape)}
