"""Released wrong gradients: what gradproof says, and what the checkers of PyTorch, JAX and SciPy say, of each.

    python benchmarks/zoo.py                  # the table, on the screen
    python benchmarks/zoo.py --write          # ... and into docs/explanation/zoo.md
    python benchmarks/zoo.py --seeds 20       # gradproof alone, over seeds: what is not as it should be
    python benchmarks/zoo.py --only softplus  # names that match

The programs are in `tests/zoo`. Each is checked as it is and as its corrected twin. The other checkers get the same
function at the same point, in float64 whatever it runs in, as they need it: `torch.autograd.gradcheck` in slow and in
fast mode (with forward mode where the mistake is there), `gradgradcheck` for second derivatives (forward over reverse
where the mistake is there), `jax.test_util.check_grads` in both modes, to order 2 where the mistake is there, and
`scipy.optimize.check_grad` for functions of NumPy, weighted where they return arrays. Modules are checked by gradcheck
as functions of their parameters.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import pathlib
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "explanation" / "zoo.md"
sys.path.insert(0, str(ROOT / "tests"))

import gradproof  # noqa: E402
from zoo import _frame  # noqa: E402
from zoo._frame import Animal  # noqa: E402

PASSES, FAILS, ABSENT = "passes", "fails", "has no such mode"
BEGIN, END = "<!-- table: python benchmarks/zoo.py --write -->", "<!-- end of table -->"
# What SciPy's number, relative to the norm of the gradient, is taken to say: it has no threshold of its own.
SCIPY_LIMIT = 1e-5


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def outcome(call: Callable[[], bool]) -> str:
    """Whether a checker passes or fails; or what is raised instead, by it or by the program."""
    try:
        return PASSES if call() else FAILS
    except AssertionError:
        return FAILS
    except (RuntimeError, TypeError, ValueError) as error:
        name = type(error).__name__
        if name == "GradcheckError":
            return FAILS
        return ABSENT if "forward-mode autodiff" in str(error) else name


# ------------------------------------------------------------------------------------- PyTorch


def torch_outcomes(animal: Animal, *, right: bool) -> tuple[str, str]:
    """What slow and fast gradcheck say, or gradgradcheck for second derivatives."""
    import torch

    # (The package's attribute of this name is the function.)
    from torch.autograd import gradcheck, gradgradcheck

    function, inputs = torch_question(animal, right=right)
    modes = animal.options.get("modes", ())

    def ask(*, fast: bool) -> str:
        options: dict[str, Any] = {"fast_mode": fast, "raise_exception": True}
        if animal.second:
            options |= {"check_fwd_over_rev": "fwd-rev" in modes, "check_rev_over_rev": True}
            return outcome(lambda: gradgradcheck(function, inputs, **options))
        return outcome(lambda: gradcheck(function, inputs, check_forward_ad="fwd" in modes, **options))

    torch.manual_seed(0)
    return ask(fast=False), ask(fast=True)


def torch_question(animal: Animal, *, right: bool) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function and its inputs, which require grad."""
    import torch

    chosen = animal.right if right else animal.wrong
    if animal.how == "module":
        model, loss, batch = chosen()
        names, parameters = zip(*model.named_parameters(), strict=True)

        class Called(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, batch: Any) -> Any:
                return loss(self.model, batch)

        called = Called()

        def function(*values: Any) -> Any:
            named = {f"model.{name}": value for name, value in zip(names, values, strict=True)}
            return torch.func.functional_call(called, named, (batch,))

        return function, tuple(one.detach().clone().requires_grad_() for one in parameters)
    args = animal.args()
    inputs = args if type(args) is tuple else (args,)
    return chosen, tuple((one.double() if not one.is_complex() else one).clone().requires_grad_() for one in inputs)


# ------------------------------------------------------------------------------------- JAX


def jax_outcomes(animal: Animal, *, right: bool) -> tuple[str, str]:
    """What check_grads says in reverse and in forward mode."""
    from jax.test_util import check_grads

    chosen = animal.right if right else animal.wrong
    args = animal.args()
    inputs = args if type(args) is tuple else (args,)

    def ask(mode: str) -> str:
        return outcome(lambda: check_grads(chosen, inputs, 2 if animal.second else 1, modes=(mode,)) is None)

    return ask("rev"), ask("fwd")


# ------------------------------------------------------------------------------------- SciPy


def scipy_outcomes(animal: Animal, *, right: bool) -> tuple[str, str]:
    """The number of check_grad, relative to the norm of the claim."""
    from scipy.optimize import check_grad

    claim = animal.right if right else animal.wrong
    f, args = animal.f, animal.args()
    assert f is not None
    several = type(args) is tuple
    leaves = list(args.values()) if isinstance(args, dict) else list(args) if several else [args]
    shapes = [np.shape(leaf) for leaf in leaves]
    sizes = [int(np.prod(shape)) for shape in shapes]

    def unflat(x: np.ndarray) -> Any:
        parts = [part.reshape(shape) for part, shape in zip(np.split(x, np.cumsum(sizes)[:-1]), shapes, strict=True)]
        return dict(zip(args, parts, strict=True)) if isinstance(args, dict) else tuple(parts)

    def call(function: Callable[..., Any], x: np.ndarray, *before: Any) -> Any:
        tree = unflat(x)
        return function(*before, *tree) if isinstance(tree, tuple) else function(*before, tree)

    x0 = np.concatenate([np.ravel(leaf).astype(float) for leaf in leaves])
    u = np.random.default_rng(0).standard_normal(np.shape(call(f, x0)))

    def value(x: np.ndarray) -> float:
        return float(np.sum(u * call(f, x))) if animal.claim == "vjp" else float(call(f, x))

    def gradient(x: np.ndarray) -> np.ndarray:
        found = call(claim, x, u) if animal.claim == "vjp" else call(claim, x)
        parts = list(found.values()) if isinstance(found, dict) else list(found) if several else [found]
        return np.concatenate([np.ravel(part) for part in parts]).astype(float)

    def ask() -> bool:
        norm = float(np.linalg.norm(gradient(x0)))
        return bool(check_grad(value, gradient, x0) <= SCIPY_LIMIT * max(norm, 1e-300))

    return outcome(ask), ""


ASKED = {"torch": torch_outcomes, "module": torch_outcomes, "jax": jax_outcomes, "numpy": scipy_outcomes}
CHECKERS = {
    "torch": ("gradcheck", "fast_mode"),
    "module": ("gradcheck", "fast_mode"),
    "jax": ("check_grads, rev", "fwd"),
    "numpy": ("check_grad", ""),
}


def other_checkers(animal: Animal) -> list[tuple[str, str, str]]:
    """The checkers, and what each says of the wrong one and of the twin."""
    with quietly(), _frame.precision(animal):
        wrong, right = (ASKED[animal.how](animal, right=side) for side in (False, True))
    names = CHECKERS[animal.how]
    if animal.second and animal.how in ("torch", "module"):
        names = tuple(name.replace("gradcheck", "gradgradcheck") for name in names)
    found = [one for one in zip(names, wrong, right, strict=True) if one[0]]
    return [one for one in found if one[1:] != (ABSENT, ABSENT)]


def cell(said: list[tuple[str, str, str]]) -> str:
    """What others say, in bold where that is not right."""
    return "<br>".join(
        f"{name}: {f'**{wrong}**' if wrong == PASSES else wrong} / "
        f"{right if right in (PASSES, ABSENT) else f'**{right}**'}"
        for name, wrong, right in said
    )


def ours(animal: Animal, seed: int = 0) -> tuple[str, str, list[str]]:
    """What gradproof says of both, in words, and what is not as it should be."""
    if animal.how in ("torch", "module"):
        import torch

        torch.manual_seed(seed)  # for the masks of dropout
    with quietly():
        wrong, right = (_frame.check(animal, right=side, seed=seed) for side in (False, True))
    errors = [one for one in wrong.findings if one.severity is gradproof.Severity.ERROR]
    said = wrong.verdict.value
    if errors:
        first = errors[0]
        place = f"`{first.path}`" + (f", {first.place}" if first.place else "")
        said = f"{said} {first.id}: {place}: {first.kind}"
    return said.replace("|", "\\|"), right.verdict.value, _frame.mistakes(animal, wrong, right)


def table(animals: list[Animal]) -> Iterator[str]:
    rows, wrong, spared, misled, accused = [], 0, 0, 0, 0
    for animal in animals:
        said, twin, _ = ours(animal)
        others = other_checkers(animal)
        wrong += said.startswith("WRONG")
        spared += twin == animal.twin.value
        misled += any(one == PASSES for _, one, _ in others)
        accused += any(one not in (PASSES, ABSENT) for *_, one in others)
        mistake = animal.mistake.replace("|", "\\|")
        rows.append(f"| [{animal.name}]({animal.url}) | {mistake} | {said} | {twin} | {cell(others)} |")
    yield f"{versions()}"
    yield (
        f"Of {len(animals)} pairs, gradproof calls {wrong} wrong ones WRONG, and {spared} twins what they are. "
        f"In {misled} pairs another checker, or one of its modes, passes the wrong one; in {accused} it fails the twin."
    )
    yield ""
    yield "| bug | what it was | gradproof, of the wrong one | of the twin | the other checkers, wrong / twin |"
    yield "|---|---|---|---|---|"
    yield from rows


def versions() -> str:
    import jax
    import scipy
    import torch

    return (
        f"Run on {datetime.date.today():%-d %B %Y} with Python {platform.python_version()}, NumPy {np.__version__}, "
        f"SciPy {scipy.__version__}, PyTorch {torch.__version__} and JAX {jax.__version__}, seed 0."
    )


def over_seeds(animals: list[Animal], seeds: int) -> int:
    """How many answers are not as they should be; each is printed."""
    bad = 0
    for animal in animals:
        for seed in range(seeds):
            *_, mistakes = ours(animal, seed)
            bad += bool(mistakes)
            if mistakes:
                print(f"{animal.name}, seed {seed}: {'; '.join(mistakes)}")
    print(f"{len(animals)} pairs, {seeds} seeds each: {bad} not as they should be")
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table into docs/explanation/zoo.md")
    parser.add_argument("--seeds", type=int, default=0, help="gradproof alone, over so many seeds")
    parser.add_argument("--only", default="", help="a regular expression for names")
    options = parser.parse_args()
    animals = [animal for animal in _frame.animals() if re.search(options.only, animal.name)]
    if options.seeds:
        sys.exit(bool(over_seeds(animals, options.seeds)))
    start = time.process_time()
    lines = [BEGIN, "", *table(animals), "", END]
    text = "\n".join(lines)
    print(text)
    print(f"{len(animals)} pairs, {time.process_time() - start:.0f} s of processor time", file=sys.stderr)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(before + text + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
