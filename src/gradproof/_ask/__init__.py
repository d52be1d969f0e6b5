"""The front door: from what the user passes to a report.

`_check` is `gradproof.check` and what all doors share, `_session` that with the values computed elsewhere, `_scipy` and
`_scipy_parts` what SciPy's signatures add. The public modules, `compat` and `_commands` use it.
"""
