"""The derivative of phi(t) = f(x + t v) at 0 with an honest error bar.

Pure calculation: `slope` is a generator that asks for values of phi at some steps and is sent them. `_prove` and
`_claims` use it; it imports nothing of gradproof.
"""

from gradproof._line._estimate import pair as pair
from gradproof._line._ladder import slope as slope
from gradproof._line._noise import lowest_bit as lowest_bit
from gradproof._line._shape import Shape as Shape
from gradproof._line._shape import ShapeKind as ShapeKind
from gradproof._line._shape import explains as explains
from gradproof._line._shape import shape_near as shape_near
from gradproof._line._slope import LOW_RATIO as LOW_RATIO
from gradproof._line._slope import TRUST as TRUST
from gradproof._line._slope import Jump as Jump
from gradproof._line._slope import Known as Known
from gradproof._line._slope import Slope as Slope
from gradproof._line._slope import Tread as Tread
from gradproof._line._slope import balanced_step as balanced_step
from gradproof._line._slope import coarse_levels as coarse_levels
from gradproof._line._slope import learn as learn
from gradproof._line._slope import sharp_levels as sharp_levels
