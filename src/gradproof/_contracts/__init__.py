"""What must hold besides the numbers: data in, findings out, of products `Breach`. One contract per file.

`_claims` and `compat` ask for them; no contract evaluates anything.

======  ========  ============================================================
GP201   error     a gradient has another shape than its leaf
GP202   error     the claim lacks leaves, or has others
GP203   error     a gradient holds nan or infinity
GP204   error     a gradient is not of a number type that fits
GP205   error     the vjp is not linear in its cotangent
GP206   error     the jvp or hvp is not linear in its tangent
GP207   error     the second derivative is not symmetric
GP208   error     the two products of a linear operator are not adjoint
GP210   error     f changes its arguments in place
GP211   error     the claim changes its arguments in place
GP213   error     the claim remembers earlier calls (`gradproof._claims._repeats`)
GP214   error     the arguments of a product are swapped (`gradproof._claims._meant`)
GP216   error     the gradient depends on the layout of the cotangent in memory
GP217   error     the gradient depends on the layout of the inputs in memory
GP218   error     the backward changes its cotangent in place
GP219   error     the backward changes what was saved for it
GP220   error     a second backward gives another gradient
GP221   error     the gradient is not zero where the cotangent is
GP222   error     an undefined cotangent is not taken as zeros
GP224   error     a gradient is not of the form of its input
GP225   error     a gradient depends on which others are needed
GP226   error     gradients do not add up, or an earlier one is changed later
GP227   error     the gradient is wrong for other shapes
GP228   error     the backward goes by the last forward, not by its own
GP229   error     memory is read before it is written
GP304   doubt     f is not finite at the point
GP305   doubt     f is not defined around the point
GP306   doubt     the claim is random (`gradproof._claims._repeats`)
GP401   note      differentiated leaves share memory
GP404   note      a gradient has another type, or a lower precision, than its leaf
GP411   note      gradients are named after their parameters, as ``dW`` for ``W``
GP412   note      a list stands for an array, or an array for a list
======  ========  ============================================================
"""

from gradproof._contracts._accumulation import earlier_changed as earlier_changed
from gradproof._contracts._accumulation import not_added as not_added
from gradproof._contracts._agreement import Allowance as Allowance
from gradproof._contracts._agreement import Apart as Apart
from gradproof._contracts._agreement import apart as apart
from gradproof._contracts._agreement import largest as largest
from gradproof._contracts._agreement import largest_difference as largest_difference
from gradproof._contracts._aliasing import find_aliases as find_aliases
from gradproof._contracts._broken import Accused as Accused
from gradproof._contracts._choice import CONTRACTS as CONTRACTS
from gradproof._contracts._choice import chosen as chosen
from gradproof._contracts._choice import require_known as require_known
from gradproof._contracts._claim import Judged as Judged
from gradproof._contracts._claim import is_value as is_value
from gradproof._contracts._claim import judge_claim as judge_claim
from gradproof._contracts._claim import judge_jacobian as judge_jacobian
from gradproof._contracts._claim import judge_tree as judge_tree
from gradproof._contracts._cotangent_layout import cotangent_layout as cotangent_layout
from gradproof._contracts._cotangent_unchanged import cotangent_changed as cotangent_changed
from gradproof._contracts._domain import find_refusals as find_refusals
from gradproof._contracts._domain import find_undefined as find_undefined
from gradproof._contracts._form import other_forms as other_forms
from gradproof._contracts._input_layout import input_layout as input_layout
from gradproof._contracts._mutation import find_mutations as find_mutations
from gradproof._contracts._needed import depends_on_needs as depends_on_needs
from gradproof._contracts._other_shapes import wrong_afterwards as wrong_afterwards
from gradproof._contracts._other_shapes import wrong_elsewhere as wrong_elsewhere
from gradproof._contracts._other_values import last_values as last_values
from gradproof._contracts._products import Breach as Breach
from gradproof._contracts._products import Identity as Identity
from gradproof._contracts._products import check_adjoint as check_adjoint
from gradproof._contracts._products import check_linear as check_linear
from gradproof._contracts._products import check_symmetric as check_symmetric
from gradproof._contracts._products import check_symmetric_product as check_symmetric_product
from gradproof._contracts._saved_unchanged import saved_changed as saved_changed
from gradproof._contracts._shape import fit_block as fit_block
from gradproof._contracts._twice import not_the_same_twice as not_the_same_twice
from gradproof._contracts._undefined import undefined_refused as undefined_refused
from gradproof._contracts._uninitialised import reads_uninitialised as reads_uninitialised
from gradproof._contracts._uninitialised import unwritten as unwritten
from gradproof._contracts._vanishing import ROW_ROUNDINGS as ROW_ROUNDINGS
from gradproof._contracts._vanishing import row_floor as row_floor
from gradproof._contracts._vanishing import vanished as vanished
from gradproof._contracts._vanishing import vanishing as vanishing
from gradproof._contracts._zero import not_zero as not_zero
