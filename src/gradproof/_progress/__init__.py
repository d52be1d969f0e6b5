"""How far a check is, and who is shown it.

The rooms that evaluate tell it; `_ask` and `_commands` say who watches. It imports `_base` alone.
"""

from gradproof._progress._progress import SILENT as SILENT
from gradproof._progress._progress import Progress as Progress
from gradproof._progress._progress import Setting as Setting
from gradproof._progress._progress import Silent as Silent
from gradproof._progress._progress import current as current
from gradproof._progress._watching import watching as watching
