"""What must hold besides the numbers: data in, findings out. One contract per file.

======  ========  ============================================================
GP201   error     a gradient has another shape than its leaf
GP202   error     the claim lacks leaves, or has others
GP203   error     a gradient holds nan or infinity
GP204   error     a gradient is not of a real number type
GP210   error     f changes its arguments in place
GP211   error     the claim changes its arguments in place
GP304   doubt     f is not finite at the point
GP401   note      differentiated leaves share memory
GP404   note      a gradient has a lower precision than its leaf
======  ========  ============================================================
"""

from gradproof._contracts._aliasing import find_aliases as find_aliases
from gradproof._contracts._claim import Judged as Judged
from gradproof._contracts._claim import is_value as is_value
from gradproof._contracts._claim import judge_claim as judge_claim
from gradproof._contracts._domain import find_undefined as find_undefined
from gradproof._contracts._mutation import find_mutations as find_mutations
