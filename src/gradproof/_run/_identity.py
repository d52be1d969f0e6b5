"""What tells a function, with all that its values depend on, from another one, in any process.

A digest of its code and of everything that the code can reach: constants, defaults, variables of closures, globals, the
functions, classes and objects among them with all that these reach. It ends at functions of known libraries whose
values depend on their arguments alone. Whatever else is reached, such as a file, a clock, another program, random
numbers or compiled code, may change unseen: then there is no identity.
"""

from __future__ import annotations

import abc
import dis
import functools as ft
import hashlib
import sys
import types
from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np

from gradproof._base._away import is_from_handler

# Objects that are looked at, at most.
MOST = 20_000
# Modules whose functions and classes depend on their arguments alone, all that lies below them included, ...
_PURE = (
    *("math", "cmath", "operator", "functools", "itertools", "collections", "_collections_abc", "_operator"),
    *(
        "_functools",
        "_collections",
        "dataclasses",
        "typing",
        "abc",
        "enum",
        "numbers",
        "fractions",
        "copy",
        "contextlib",
    ),
    *("scipy.special", "scipy.linalg", "scipy.fft", "scipy.integrate", "scipy.interpolate", "scipy.sparse"),
    *("numpy.linalg", "numpy.fft", "numpy.polynomial", "numpy.lib.stride_tricks", "gradproof.course"),
    *("gradproof._base._errors", "gradproof._ask._scipy", "gradproof._ask._scipy_parts"),
)
# ... such modules by themselves, ...
_PURE_ALONE = ("numpy",)
# ... and what they hold that reads files or a clock, or draws random numbers, or may.
_IMPURE = {
    *("load", "loadtxt", "genfromtxt", "fromfile", "fromregex", "memmap", "DataSource", "datetime64", "load_npz"),
    *("random", "rand", "random_array", "qmc_quad", "eigs", "eigsh", "svds", "lobpcg", "expm_multiply", "onenormest"),
    *("interpolative", "clarkson_woodruff_transform", "geterr", "show_config", "show_runtime", "get_include"),
}
_BUILTINS = {
    *("abs", "all", "any", "bool", "bytes", "callable", "classmethod", "complex", "dict", "divmod", "enumerate"),
    *("filter", "float", "format", "frozenset", "hasattr", "int", "isinstance", "issubclass", "iter", "len", "list"),
    *("map", "max", "min", "next", "object", "pow", "print", "property", "range", "repr", "reversed", "round", "set"),
    *("slice", "sorted", "staticmethod", "str", "sum", "super", "tuple", "type", "zip", "__build_class__"),
    *("Ellipsis", "NotImplemented"),
}
# What a class holds that says nothing of what its functions return.
_BESIDE = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__annotate__", "__annotations_cache__"),
    *("__static_attributes__", "__firstlineno__", "__dataclass_fields__", "__dataclass_params__", "__match_args__"),
    *("_abc_impl", "__abstractmethods__", "__orig_bases__", "__parameters__", "__slots__"),
}
_ATOMS = (type(None), bool, int, str, bytes, type(Ellipsis), type(NotImplemented), range, slice)
_EMPTY = types.CellType()


class _UnknownError(Exception):
    """Something is reached that may change unseen."""


def identity(*things: Any) -> str:
    """Return what tells these from others; empty where something is reached that may change unseen.

    Examples
    --------
    >>> def scaled(x, factor=2.0):
    ...     return factor * np.cos(x)
    >>> before = identity(scaled)
    >>> scaled.__defaults__ = (3.0,)
    >>> before != "", identity(scaled) != before, identity(lambda path: np.load(path))
    (True, True, '')
    """
    walk = _Walk()
    try:
        for one in things:
            walk.see(one)
    except Exception as error:  # the attributes of the user's objects may do anything
        if is_from_handler(error):
            raise
        return ""
    return walk.digest()


class _Walk:
    """Adds things to a digest, each once."""

    def __init__(self) -> None:
        self._found = hashlib.blake2b(digest_size=16)
        self._seen: dict[int, int] = {}
        # (What is gone would leave its id to another.)
        self._kept: list[Any] = []
        self._say(sys.version, np.__version__)

    def digest(self) -> str:
        return self._found.hexdigest()

    def _say(self, *words: Any) -> None:
        for word in words:
            text = word if isinstance(word, bytes) else str(word).encode(errors="surrogatepass")
            self._found.update(b"%d:" % len(text))
            self._found.update(text)

    def see(self, value: Any) -> None:
        """Add one thing, with all that it reaches.

        Raises
        ------
        _UnknownError
            If that is something that may change unseen.
        """
        kind = cast("type[Any]", type(value))
        if kind in _ATOMS or kind in (float, complex):
            self._say(kind.__name__, repr(value))
        elif kind in (tuple, frozenset):
            self._say_members(value)
        elif id(value) in self._seen:
            self._say("again", self._seen[id(value)])
        else:
            if len(self._seen) == MOST:
                raise _UnknownError
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            self._see_object(value, kind)

    def _see_object(self, value: Any, kind: type[Any]) -> None:
        home = _home(value)
        if home:
            self._say("known", home)
        elif kind in (list, set, dict):
            self._say_members(value)
        elif isinstance(value, (np.ndarray, np.generic, np.dtype)):
            self._see_numbers(value)
        elif isinstance(value, types.FunctionType):
            self._see_function(value)
        elif isinstance(value, types.MethodType):
            self._say("method")
            self._all(value.__func__, value.__self__)
        elif isinstance(value, (staticmethod, classmethod)):
            self._say(kind.__name__)
            self.see(cast("Any", value).__func__)
        elif kind is property:
            self._say("property")
            self._all(value.fget, value.fset, value.fdel)
        elif kind is ft.partial:
            self._say("partial")
            self._all(value.func, value.args, value.keywords, value.__dict__)
        elif isinstance(value, types.MemberDescriptorType):
            self._say("slot", value.__name__)
        elif isinstance(value, type):
            self._see_class(value)
        else:
            self._see_instance(value, kind)

    def _all(self, *values: Any) -> None:
        for one in values:
            self.see(one)

    def _say_members(self, value: Any) -> None:
        kind = type(value).__name__
        self._say(kind, len(value))
        if kind in ("set", "frozenset"):
            # (Their order is another in another process.)
            self._say(*sorted(identity(one) or _unknown() for one in value))
        elif kind == "dict":
            for key, one in cast("Mapping[Any, Any]", value).items():
                self._all(key, one)
        else:
            self._all(*value)

    def _see_numbers(self, value: Any) -> None:
        kind = cast("type[Any]", type(value))
        if isinstance(value, np.dtype):
            self._say("dtype", repr(cast("Any", value)))
            return
        if (kind is not np.ndarray and not issubclass(kind, np.generic)) or value.dtype.hasobject:
            raise _UnknownError
        # (Sums over another layout may be rounded otherwise.)
        self._say(kind.__name__, repr(value.dtype), value.shape, value.strides)
        flat: Any = np.ascontiguousarray(value).reshape(-1)
        self._found.update(flat.view(np.uint8).data if flat.size else b"")

    def _see_function(self, f: types.FunctionType) -> None:
        self._say("function")
        self._see_code(f.__code__)
        self._all(f.__defaults__, f.__kwdefaults__, vars(f))
        for cell in f.__closure__ or ():
            self.see(None if cell == _EMPTY else cell.cell_contents)
        builtins = f.__builtins__
        for chain in _globals_in(f.__code__):
            self._say("global", *chain)
            name, *attributes = chain
            if name in f.__globals__:
                value = f.__globals__[name]
                while isinstance(value, types.ModuleType) and attributes:
                    value = getattr(value, attributes.pop(0), _EMPTY)
                if isinstance(value, types.ModuleType) or value is _EMPTY:
                    raise _UnknownError
                self.see(value)
            elif name not in _BUILTINS and not _is_exception(builtins.get(name)):
                raise _UnknownError

    def _see_code(self, code: types.CodeType) -> None:
        for one in _codes_in(code):
            self._say(one.co_code, one.co_exceptiontable, one.co_flags, one.co_names, one.co_varnames)
            self._say(one.co_freevars, one.co_cellvars, one.co_argcount, one.co_kwonlyargcount)
            self._all(*(constant for constant in one.co_consts if not isinstance(constant, types.CodeType)))

    def _see_class(self, kind: type[Any]) -> None:
        if type(kind) not in (type, abc.ABCMeta):
            raise _UnknownError
        self._say("class", kind.__qualname__)
        self._all(*(base for base in kind.__bases__ if base is not object))
        if kind.__flags__ & (1 << 9) == 0:
            raise _UnknownError  # of compiled code
        for name, one in vars(kind).items():
            if name not in _BESIDE and not _is_made_repr(name, one):
                self._say(name)
                self.see(one)

    def _see_instance(self, value: Any, kind: type[Any]) -> None:
        is_plain = all(
            getattr(kind, name) is getattr(object, name) for name in ("__reduce__", "__reduce_ex__", "__getstate__")
        )
        if not is_plain or isinstance(value, types.ModuleType) or hasattr(kind, "__getnewargs__"):
            raise _UnknownError
        try:
            # (It refuses objects that hold more than Python sees.)
            state = object.__reduce_ex__(value, 2)[2:]
        except TypeError:
            raise _UnknownError from None
        self._say("object")
        self._all(kind, *state)


def _is_made_repr(name: str, one: Any) -> bool:
    """Whether this is the `__repr__` that a dataclass is given, which shows its fields."""
    module = getattr(one, "__globals__", {}).get("__name__")
    return name == "__repr__" and module in ("dataclasses", "reprlib")


def _unknown() -> str:
    raise _UnknownError


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _home(value: Any) -> str:
    """The name and the version of a known function or class that depends on its arguments alone; empty for others."""
    if isinstance(value, np.ufunc):
        module, name = next(((one, value.__name__) for one in _of_ufuncs() if _has(one, value)), ("", ""))
    else:
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module not in sys.modules:
        return ""
    if module == "builtins":
        is_known = name in _BUILTINS or _is_exception(value)
    else:
        is_known = module in _PURE_ALONE or any(module == one or module.startswith(f"{one}.") for one in _PURE)
    if not is_known or not callable(value):
        return ""
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not value:
        return ""
    if _IMPURE.intersection(name.split(".")) or _IMPURE.intersection(module.split(".")):
        raise _UnknownError
    version = getattr(sys.modules[module.partition(".")[0]], "__version__", "")
    return f"{module}.{name} {version}"


def _of_ufuncs() -> Iterable[str]:
    return (one for one in ("numpy", "scipy.special") if one in sys.modules)


def _has(module: str, ufunc: np.ufunc) -> bool:
    return getattr(sys.modules[module], ufunc.__name__, None) is ufunc


@ft.lru_cache(maxsize=4096)
def _codes_in(code: types.CodeType) -> tuple[types.CodeType, ...]:
    """A code with those of all functions that are defined within it."""
    inner = (one for one in code.co_consts if isinstance(one, types.CodeType))
    return (code, *(each for one in inner for each in _codes_in(one)))


@ft.lru_cache(maxsize=4096)
def _globals_in(code: types.CodeType) -> tuple[tuple[str, ...], ...]:
    """The globals that a code reads, each with the attributes that are read of it at once.

    Raises
    ------
    _UnknownError
        If it imports something.
    """
    found: dict[tuple[str, ...], None] = {}
    for one in _codes_in(code):
        chain = tuple[str, ...]()
        for step in dis.get_instructions(one):
            if step.opname.startswith("IMPORT_"):
                raise _UnknownError
            if step.opname == "EXTENDED_ARG":
                continue
            if chain and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                chain = (*chain, str(step.argval))
                continue
            if chain:
                found[chain] = None
            is_global = "GLOBAL" in step.opname or step.opname == "LOAD_NAME"
            chain = (str(step.argval),) if is_global and step.opname.startswith("LOAD_") else ()
    return tuple(found)
