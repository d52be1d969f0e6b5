"""A check without a claim, of something that no framework differentiates: what was meant, and how it is written."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any, cast

from gradproof import _backends
from gradproof._base import _tree
from gradproof._base._advice import foreign, library_of
from gradproof._base._errors import UsageError
from gradproof._base._names import argument_names, function_name, type_name
from gradproof._function._lists import as_numbers


def no_claim(f: Any, args: Any) -> UsageError:
    """The error for a check of f at `args` that has neither a claim nor a framework to make one."""
    positional = cast("tuple[Any, ...]", args) if type(args) is tuple else (args,)
    from gradproof import _claims

    keywords = ", ".join(f"`{keyword}=`" for keyword in _claims.KEYWORDS)
    if len(positional) == 1 and inspect.isroutine(positional[0]):
        name = function_name(positional[0])
        shown = name if name.isidentifier() else "df"
        return UsageError(
            f"the point is missing, `args` is a function: the point comes second, and the claim by its keyword "
            f"(`gradproof.check(f, x, grad={shown})`)."
        )
    names = argument_names(f, len(positional))
    leaves = _tree.flatten(positional, names).leaves
    for leaf in leaves:
        if library_of(leaf.value) in ("torch", "jax"):
            objection = _backends.of(leaf.value).objection(leaf.value, leaf.path)
            if objection is not None:
                return UsageError(f"a claim is missing, and autodiff has none of this: {objection}.")
    for path, value in [(leaf.path, cast("object", leaf.value)) for leaf in leaves]:
        if isinstance(value, Iterator):
            kind = type_name(cast("Any", value))
            return UsageError(f"`{path}` is a {kind}, which can be read once: pass `list({path})`.{_module(f)}")
    lists = [(name, value) for name, value in zip(names, positional, strict=True) if as_numbers(value) is not None]
    said = foreign(f, lists) or foreign(f, [(leaf.path, leaf.value) for leaf in leaves])
    if said:
        said = f"a claim is missing: {said}, and its own autodiff is the claim; or pass one of {keywords}."
    else:
        said = f"a claim is missing, or it is None: pass one of {keywords}, as in `gradproof.check(f, x, grad=df)`."
    return UsageError(said + _module(f))


def _module(f: Any) -> str:
    """Where the parameters of a module of PyTorch are checked."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(f, torch.nn.Module):
        return ""
    return " The parameters of a module are checked by `gradproof.torch.check_module(model, loss, batch)`."
