"""Importing gradproof is cheap and loads nothing that it does not need."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import gradproof

SOURCE = str(pathlib.Path(gradproof.__file__).parents[1])
HEAVY = {"torch", "jax", "scipy", "click", "rich", "jinja2", "matplotlib"}


def run(code: str, **environment: str) -> str:
    code = f"import sys; sys.path.insert(0, {SOURCE!r})\n{code}"
    finished = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return finished.stdout


def test_loads_no_framework():
    """NumPy, optree and the standard library: nothing else, also after a check."""
    allowed = {"gradproof", "numpy", "optree", "typing_extensions"}

    loaded = set(
        run(
            "before = set(sys.modules)\nimport gradproof\n"
            "gradproof.check(lambda x: x**2, 1.0, grad=2.0)\n"
            "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
        ).split()
    )
    assert not loaded & HEAVY
    beyond = loaded - set(sys.stdlib_module_names) - allowed
    assert {name for name in beyond if "cython" not in name} == set()  # what numpy.random registers


def test_the_entry_points_for_scipy_do_not_load_it():
    """What its solvers take is recognised by its attributes."""
    printed = run(
        "import numpy as np, gradproof.scipy, gradproof.compat.scipy\n"
        "f, gradient = lambda x: x @ x, lambda x: 2 * x\n"
        "print(gradproof.scipy.check_minimize(f, [1.0, 2.0], jac=gradient, bounds=[(0, 3), (0, 3)]).correct)\n"
        "print(gradproof.compat.scipy.check_grad(f, gradient, [1.0, 2.0]) < 1e-6, 'scipy' in sys.modules)"
    )
    assert printed.splitlines() == ["True", "True False"]


def test_takes_less_than_a_tenth_of_a_second_beyond_numpy(tmp_path):
    """Of processor time, at best in fresh processes, with compiled modules as an installed package has them."""
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    code = "import numpy, time; start = time.process_time(); import gradproof; print(time.process_time() - start)"
    run(code, **compiled)  # compiles, fills the file cache
    seconds = []
    for _ in range(8):
        seconds.append(float(run(code, **compiled)))
        if seconds[-1] < 0.1:
            break
    assert min(seconds) < 0.1


def test_public_names():
    """Everything in `__all__` is there, lazily or not, and nothing else is offered."""
    printed = run(
        "import gradproof\nprint('gradproof.course' in sys.modules)\n"
        "print([name for name in gradproof.__all__ if not hasattr(gradproof, name)])\n"
        "print(gradproof.__version__ != '')\nprint(hasattr(gradproof, 'no_such_name'))"
    )
    assert printed.splitlines() == ["False", "[]", "True", "False"]
    assert set(gradproof.__all__) <= set(dir(gradproof))
