"""The errors that gradproof raises, and its warning."""


class GradproofError(Exception):
    """Base of every error that gradproof raises on its own account."""


class UsageError(GradproofError, ValueError):
    """An argument of `check` cannot be used; the message says which, why, and what to pass instead."""


class FunctionError(GradproofError, RuntimeError):
    """The user's function raised, or returned something that is no real number.

    The original exception, where there is one, is chained (``__cause__``).
    """


class ClaimError(GradproofError, RuntimeError):
    """The callable that computes the claimed derivative raised; the original exception is chained."""


class NotAvailableError(Exception):
    """A framework has no rule for a mode; the message is its own, in one line. It never reaches the user."""


class GradproofWarning(UserWarning):
    """Something the user should know although nothing is wrong, such as a valid subgradient at a kink."""
