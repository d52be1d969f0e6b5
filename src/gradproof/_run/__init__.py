"""Who evaluates the questions: here and now, one after the other."""

from gradproof._run._serial import Witness as Witness
from gradproof._run._serial import answer as answer
