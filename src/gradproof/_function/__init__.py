"""The user's function at its point: what is passed to it, what it returns, where it is defined, how it is counted.

The rooms that ask for values use it (`_contracts`, `_reference`, `_prove`, `_run`, `_claims`, `_ask`).
"""
