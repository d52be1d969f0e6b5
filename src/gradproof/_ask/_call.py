"""Calls that do not fit an entry point: what is wrong with them, and the call that was meant."""

from __future__ import annotations

import functools as ft
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from gradproof._base._errors import UsageError
from gradproof._base._names import function_name

P = ParamSpec("P")
R = TypeVar("R")

# What other gradient checkers and frameworks call what we do without, or call otherwise.
_STEPS = (
    *("eps", "epsilon", "h", "dx", "delta", "step", "steps", "step_size", "stepsize", "num_steps"),
    *("perturbation", "rel_step", "abs_step"),
)
_TOLERANCES = (
    *("atol", "tol", "tolerance", "abs_tol", "rel_tol", "ftol", "gtol", "nondet_tol"),
    *("threshold", "thresh"),
)
_OTHERWISE = {
    "f": "func fun fn function forward primal",
    "args": "x x0 point at inputs input primals params parameters theta",
    "grad": "gradient gradients grads grad_fn fprime df derivative claim claimed backward",
    "jac": "jacobian",
    "hess": "hessian",
    "hvp": "hessp",
    "wrt": "argnum argnums arg_nums",
    "modes": "mode",
    "rng": "seed key random_state generator",
    "domain": "bounds",
    "progress": "verbose verbosity disp",
    "loss": "criterion loss_fn",
    "batch": "data",
}
_MEANT = {name: option for option, names in _OTHERWISE.items() for name in names.split()}
_CLAIMS = ("grad", "jac", "vjp", "jvp", "hess", "hvp")
_RAISES = ("raise_exception", "raises", "throw")


def explained(usage: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate an entry point: a call that does not fit its signature is a UsageError that says what to write.

    Parameters
    ----------
    usage : str
        A call as Python source, such as ``gradproof.check(f, x, grad=df)``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @ft.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            __tracebackhide__ = True
            try:
                signature.bind(*args, **kwargs)
            except TypeError:
                raise UsageError(_misfit(usage, signature, args, kwargs)) from None
            if "grad" in signature.parameters:
                require_gradient(kwargs)
            return function(*args, **kwargs)

        return call

    return decorate


def require_gradient(options: Mapping[str, Any]) -> None:
    """Refuse a `grad` that was passed and is None, so that nothing else is taken for the claim."""
    claims = [options[name] for name in _CLAIMS if name in options]
    if "grad" in options and all(claim is None for claim in claims):
        raise UsageError(
            "`grad` is None: there is no gradient to check. The `.grad` of a tensor is None until `backward()` has "
            "filled it: run that first. To check what the framework's own autodiff returns for f, leave `grad` out."
        )


def unknown_options(entry: str, unknown: Iterable[str], known: Sequence[str]) -> str:
    """Say of each option that an entry point does not have what to pass instead, if anything."""
    return " ".join(f"`{name}` is no option of `{entry}`{_instead(name, known)}" for name in unknown)


def _instead(name: str, known: Sequence[str]) -> str:
    plain = name.lower()
    if plain in _STEPS:
        return ": gradproof chooses its own steps, from what f shows of its noise and curvature. Leave it out."
    if plain in _TOLERANCES:
        rtol = " `rtol=` is the smallest relative error worth an accusation, and derived if left out."
        return ": every measured slope has an error bar of its own, which takes its place. Leave it out." + (
            rtol if "rtol" in known else ""
        )
    if plain in _RAISES and "rtol" in known:
        return ": a wrong gradient is reported by `check`, and raised by `assert_grad`."
    if plain == "name":
        return ": `gradproof.Case(..., name=...).check()` has a name."
    meant = _MEANT.get(plain)
    if meant not in known:
        import difflib

        meant = next(iter(difflib.get_close_matches(plain, known, n=1)), None)
    return f"; it takes {', '.join(known)}." if meant is None else f": did you mean `{meant}`?"


def _misfit(usage: str, signature: inspect.Signature, args: Sequence[Any], options: Mapping[str, Any]) -> str:
    """Say why a call does not fit, as far as possible in one go, and how it is written."""
    entry = usage.partition("(")[0].rpartition(".")[2]
    parameters = {name: one for name, one in signature.parameters.items() if name != "self"}
    args = args[len(signature.parameters) - len(parameters) :]
    positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    if "f" in positional and "grad" in parameters and _are_swapped(args, options):
        f, claim = _named(args[0], "f"), _named(args[1], "df")
        way = f"`gradproof.{entry}({f}, x, grad={claim})`"
        return f"`{entry}` takes the point second, and the claim by its keyword: {way}."
    said: list[str] = []
    if len(args) > len(positional):
        if entry == "Session" and _is_function(args[0]):
            return f"`Session` takes no f: it asks for values of f, and is told them. Write `{usage}`."
        said += _too_many(entry, positional, args)
        if "grad" in parameters:
            return " ".join([*said, _claim_by_keyword(entry, positional, args)])
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    unknown = [] if takes_any else [name for name in options if name not in parameters]
    said += [unknown_options(entry, unknown, list(parameters))] if unknown else []
    twice = [name for name in positional[: len(args)] if name in options]
    said += [f"`{name}` is passed twice, by position and by keyword." for name in twice]
    meant = {_MEANT.get(name) for name in unknown}
    needed = [name for name in positional[len(args) :] if parameters[name].default is inspect.Parameter.empty]
    missing = [name for name in needed if name not in options and name not in meant]
    said += [f"`{name}` is missing{_what(name)}." for name in missing]
    return " ".join([*said, f"Write `{usage}`."] if missing or twice or not unknown else said)


def _are_swapped(args: Sequence[Any], options: Mapping[str, Any]) -> bool:
    """Whether the claim was passed in place of the point, and the point after it or by a name."""
    return (
        len(args) >= 2
        and _is_function(args[1])
        and (len(args) > 2 or any(_MEANT.get(name) == "args" for name in options))
    )


def _too_many(entry: str, positional: Sequence[str], args: Sequence[Any]) -> list[str]:
    """Say what an entry point takes by position, and how what is more is passed."""
    said = [f"`{entry}` takes {', '.join(f'`{name}`' for name in positional)} by position, got {len(args)}."]
    if positional[-1] == "batch":
        said.append("What the loss is given beside the model is one batch, such as `(inputs, targets)`.")
    return said


def _claim_by_keyword(entry: str, positional: Sequence[str], args: Sequence[Any]) -> str:
    """Say how the claim is passed that was passed by position."""
    f = f"{_named(args[0], 'f')}, " if positional[0] == "f" else ""
    more = args[len(positional)]
    claim = _named(more, "df") if _is_function(more) else "df"
    return f"The claim is passed by its keyword: `gradproof.{entry}({f}x, grad={claim})`."


_WORDS = {
    "f": "the function",
    "args": "the point",
    "batch": "what `loss` is given beside the model, `(inputs, targets)` if it is a criterion",
}


def _what(name: str) -> str:
    return f": {_WORDS[name]}" if name in _WORDS else ""


def _is_function(value: Any) -> bool:
    """Whether a value is called rather than moved: containers of parameters may be callable, too."""
    return callable(value) and (inspect.isroutine(value) or isinstance(value, ft.partial) or hasattr(value, "__name__"))


def _named(function: Any, other: str) -> str:
    name = function_name(function)
    return name if name.isidentifier() else other
