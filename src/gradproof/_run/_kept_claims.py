"""Claims of which a journal keeps what they returned, so that a killed check need not call them again."""

from __future__ import annotations

import functools as ft
from collections.abc import Callable, Mapping
from typing import Any

import optree

from gradproof._run._identity import identity
from gradproof._run._journal import Journal


def kept(claims: Mapping[str, Any], journal: Journal) -> Mapping[str, Any]:
    """The same claims: what a callable one has returned is looked up, as long as the claim is what it was.

    A call is kept where the claim has an identity, and the call has left it and its arguments as they were. So a call
    that is not made leaves nothing behind that is missing: no count, no buffer, no cache.
    """
    return {keyword: _kept(claim, journal) if _is_function(claim) else claim for keyword, claim in claims.items()}


def _is_function(claim: Any) -> bool:
    """Whether a claim is called, and is no value: trees and operators may be callable as well."""
    is_leaf = optree.all_leaves([claim], none_is_leaf=True, namespace="gradproof")
    return callable(claim) and is_leaf and not hasattr(claim, "shape")


def _kept(claim: Callable[..., Any], journal: Journal) -> Callable[..., Any]:
    @ft.wraps(claim, updated=())
    def call(*args: Any) -> Any:
        key = identity(claim, args)
        if not key:
            return claim(*args)
        number, known = journal.find_call(key)
        if known is not None:
            return known.result(args)
        returned = claim(*args)
        if identity(claim, args) == key:
            journal.keep_call(key, number, returned)
        return returned

    return call
