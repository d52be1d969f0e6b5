"""From estimates to a verdict. Pure: generators that ask questions and are sent values.

`_claims` asks for proofs, `_run` answers their questions; it sees flat vectors, `_line` and the report.
"""

from gradproof._prove._directions import Direction as Direction
from gradproof._prove._directions import Directions as Directions
from gradproof._prove._directions import leaf_size as leaf_size
from gradproof._prove._directions import natural_size as natural_size
from gradproof._prove._measure import Question as Question
from gradproof._prove._probe import COARSE as COARSE
from gradproof._prove._probe import SECOND as SECOND
from gradproof._prove._probe import Line as Line
from gradproof._prove._probe import Probe as Probe
from gradproof._prove._probe import Record as Record
from gradproof._prove._probe import Yardstick as Yardstick
from gradproof._prove._probe import allowance as allowance
from gradproof._prove._probe import scales as scales
from gradproof._prove._prove import Options as Options
from gradproof._prove._prove import Outcome as Outcome
from gradproof._prove._prove import prove as prove
from gradproof._prove._tolerance import REACH as REACH
from gradproof._prove._tolerance import ROUNDINGS as ROUNDINGS
from gradproof._prove._tolerance import RTOL32 as RTOL32
from gradproof._prove._tolerance import Limits as Limits
