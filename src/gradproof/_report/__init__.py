"""What a check found, as data: `Report` and its parts, and the file that it is kept in.

Every room that decides or shows something uses it. It imports `_base` alone.
"""

from gradproof._report._guarded import GuardReport as GuardReport
from gradproof._report._guarded import is_wrong as is_wrong
from gradproof._report._report import EMPTY as EMPTY
from gradproof._report._report import WORST_FIRST as WORST_FIRST
from gradproof._report._report import Cost as Cost
from gradproof._report._report import Finding as Finding
from gradproof._report._report import GradientError as GradientError
from gradproof._report._report import LeafResult as LeafResult
from gradproof._report._report import ModeResult as ModeResult
from gradproof._report._report import Reason as Reason
from gradproof._report._report import Report as Report
from gradproof._report._report import Run as Run
from gradproof._report._report import Severity as Severity
from gradproof._report._report import Verdict as Verdict
from gradproof._report._report import install_view as install_view
from gradproof._report._report import worst as worst
