"""The command line: `gradproof check`, `diff`, `demo`, and the terminal that they write to.

Nothing imports it but `__main__` and the entry point of the package.
"""
