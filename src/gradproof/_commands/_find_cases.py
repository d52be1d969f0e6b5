"""The cases that a TARGET of the command line names: a file or a module is loaded, and looked through."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, cast

import gradproof
from gradproof._base._errors import users_traceback


@dataclasses.dataclass(kw_only=True)
class Found:
    """A Case, the variable (and target) that it was found under, and the name to show."""

    case: Any
    target: str
    label: str
    shown: str


class TargetError(Exception):
    """A TARGET that gives no cases; `trace` is the traceback of the user's own code, if that is what failed."""

    def __init__(self, message: str, *, kind: str = "TargetError", trace: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.trace = trace


def find_cases(target: str) -> list[Found]:
    """Load the module that `target` names and return the Cases there, in the order of their definition."""
    where, name = _split(target)
    module = _load(where)
    found = list(_cases_in(module))
    if name:
        root = re.split(r"[.\[]", name, maxsplit=1)[0]
        chosen = [case for case in found if case.label == name or case.label.startswith(f"{name}[")]
        chosen = chosen or [case for case in found if case.shown == name]
        if not chosen:
            raise TargetError(_why_not(module, where, name, root, found))
        found = chosen
    if not found:
        raise TargetError(
            f"no gradproof.Case at module level of {where}: write one as `case = gradproof.Case(f, args, grad=g)`."
        )
    return [dataclasses.replace(case, target=where) for case in found]


def _why_not(module: ModuleType, where: str, name: str, root: str, found: list[Found]) -> str:
    if hasattr(module, root) and root == name:
        kind = type(getattr(module, root)).__name__
        return f"`{name}` in {where} is of type {kind}, neither a gradproof.Case nor a list, tuple or dict of Cases."
    names = [case.label for case in found] + [re.split(r"\[", case.label, maxsplit=1)[0] for case in found]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return f"{where} has no Case named `{name}`.{hint}"


def _split(target: str) -> tuple[str, str]:
    """The file or module, and the name in it; the colon of a Windows drive is no separator."""
    match = re.fullmatch(r"(?P<where>.+\.py|(?:(?!\.py:)[^:])+)(?::(?P<name>.+))?", target)
    if match is None:
        raise TargetError("must be FILE.py, FILE.py:NAME, package.module or package.module:NAME.")
    return match["where"], match["name"] or ""


def _cases_in(module: ModuleType) -> Iterator[Found]:
    for variable, value in list(vars(module).items()):
        if variable.startswith("__"):
            continue
        for label, case in _walk(variable, value, ()):
            yield Found(case=case, target="", label=label, shown=case.name or label)


def _walk(label: str, value: Any, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, gradproof.Case):
        yield label, value
        return
    if id(value) in above:
        return
    above = (*above, id(value))
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = cast(dict[Any, Any], value).items()
    elif isinstance(value, list | tuple):
        items = enumerate(cast(list[Any], value))
    for key, item in items:
        yield from _walk(f"{label}[{key!r}]", item, above)


def distinct_cases(cases: list[Found], *, prefixed: bool) -> list[Found]:
    """Each Case once, under the first name it was found by; names of several targets say which."""
    once = {id(case.case): case for case in reversed(cases)}
    kept = [case for case in cases if once[id(case.case)] is case]
    if prefixed:
        kept = [dataclasses.replace(case, shown=f"{case.target}:{case.shown}") for case in kept]
    return kept


def _load(where: str) -> ModuleType:
    cwd = os.getcwd()
    if cwd not in sys.path and "" not in sys.path:
        sys.path.insert(0, cwd)
    try:
        return _load_file(pathlib.Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and (where == error.name or where.startswith(f"{error.name}.")):
            raise TargetError(f"no module named {error.name!r} here or installed.", kind=type(error).__name__) from None
        raise _import_failed(where, error) from None
    except (TargetError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the user's code may raise anything
        raise _import_failed(where, error) from None


def in_words(error: BaseException) -> str:
    """What an exception says, where it can be asked."""
    try:
        return str(error)
    except Exception as another:
        return f"<its text cannot be shown: {type(another).__name__}>"


def _import_failed(where: str, error: BaseException) -> TargetError:
    kind = type(error).__name__
    return TargetError(f"{kind} while importing {where}", kind=kind, trace=users_traceback(error))


def _load_file(path: pathlib.Path) -> ModuleType:
    """Import a file by the name that other modules would import it by, as its folder and packages give it."""
    if not path.is_file():
        raise TargetError("no such file.", kind="FileNotFoundError")
    path = path.resolve()
    folder, name = path.parent, path.stem
    while (folder / "__init__.py").is_file():
        folder, name = folder.parent, f"{folder.name}.{name}"
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    if not _stands_for(name, path):
        # Another module has this name (a test.py, a torch.py): import the file under a name of its own.
        name = "gradproof_target_" + re.sub(r"\W", "_", str(path))
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[name]
                raise
    return importlib.import_module(name)


def _stands_for(name: str, path: pathlib.Path) -> bool:
    """Whether `import name` would give the file at `path`."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None and spec.origin is not None and pathlib.Path(spec.origin).resolve() == path
