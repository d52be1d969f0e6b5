"""Independent witnesses besides differences of f: the complex step, and a trusted, more precise f.

`_claims` alone uses them, and hands them to the room that evaluates (`_run`).
"""

from gradproof._reference._complex import ComplexStep as ComplexStep
from gradproof._reference._complex import complex_leaves as complex_leaves
from gradproof._reference._trusted import Trusted as Trusted
from gradproof._reference._trusted import double_leaves as double_leaves
