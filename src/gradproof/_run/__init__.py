"""Who evaluates the questions: here and now, one after the other or many points at once.

`_claims` and `_ask` use it; it knows what a question is (`_prove`), and nothing of how it is judged.
"""

from gradproof._run._batched import LEAST as LEAST
from gradproof._run._batched import Beside as Beside
from gradproof._run._batched import along as along
from gradproof._run._batched import outputs as outputs
from gradproof._run._batched import pays as pays
from gradproof._run._serial import Witness as Witness
from gradproof._run._serial import answer as answer
