"""What a claim of any kind says about f, proved: `prove_claims`.

It joins the user's function and claims, the contracts, the engine and the room that evaluates; `_ask` and `compat` use
it.
"""

from gradproof._claims._around import Surroundings as Surroundings
from gradproof._claims._dispatch import KEYWORDS as KEYWORDS
from gradproof._claims._dispatch import prove_claims as prove_claims
from gradproof._claims._dispatch import require_claims as require_claims
from gradproof._claims._dispatch import shown_name as shown_name
from gradproof._claims._result import Result as Result
