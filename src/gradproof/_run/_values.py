"""What f returns, as bytes of JSON, and back: every bit, and no pickle."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from gradproof import _backends

_PLAIN = (bool, int, str)


class CannotKeepError(Exception):
    """A value is of a kind that has no written form; the text names it."""


def encoded(value: Any) -> str:
    """Return a value as JSON.

    Raises
    ------
    CannotKeepError

    Examples
    --------
    >>> encoded({"loss": 0.1, "n": 3})
    '{"d": [["loss", {"f": "0x1.999999999999ap-4"}], ["n", 3]]}'
    >>> decoded(encoded((1j, np.array([np.nan], dtype=np.float32))))
    (1j, array([nan], dtype=float32))
    """
    return json.dumps(_tree(value), allow_nan=False)


def decoded(text: str) -> Any:
    """Return what was encoded.

    Raises
    ------
    ValueError, KeyError, TypeError
        If nothing was.
    """
    return _value(json.loads(text))


def _tree(value: Any) -> Any:
    kind = cast("type[Any]", type(value))
    if value is None or kind in _PLAIN:
        return value
    if kind is float:
        return {"f": value.hex()}
    if kind is complex:
        return {"c": [value.real.hex(), value.imag.hex()]}
    if kind in (list, tuple):
        return {"l" if kind is list else "t": [_tree(one) for one in value]}
    if kind is dict and all(type(key) is str for key in value):
        pairs = cast("Mapping[str, Any]", value).items()
        return {"d": [[key, _tree(one)] for key, one in pairs]}
    if isinstance(value, np.generic) or kind is np.ndarray:
        return _array(value, "scalar" if isinstance(value, np.generic) else "")
    if _backends.is_array(value):
        written = _array(_backends.of(value).as_numpy(value), _library(value))
        if not _backends.same_bits(_value(written), value):
            raise CannotKeepError(f"an array of {kind.__module__} of dtype {value.dtype}")
        return written
    raise CannotKeepError(f"a {kind.__name__}")


def _library(value: Any) -> str:
    torch = sys.modules.get("torch")
    return "torch" if torch is not None and isinstance(value, torch.Tensor) else "jax"


def _array(value: Any, of: str) -> dict[str, Any]:
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise CannotKeepError("an array of objects")
    # (Sums over another layout may be rounded otherwise.)
    strides = np.copy(array, order="K").strides
    axes = sorted(range(array.ndim), key=lambda k: -strides[k])
    data = base64.b64encode(np.ascontiguousarray(array.transpose(axes)).tobytes()).decode()
    written = {"a": data, "dtype": array.dtype.name, "shape": list(array.shape), "of": of}
    return written if axes == list(range(array.ndim)) else written | {"axes": axes}


def _value(tree: Any) -> Any:
    if tree is None or isinstance(tree, _PLAIN):
        return tree
    ((kind, what), *_) = tree.items()
    if kind == "f":
        return float.fromhex(what)
    if kind == "c":
        return complex(float.fromhex(what[0]), float.fromhex(what[1]))
    if kind == "l":
        return [_value(one) for one in what]
    if kind == "t":
        return tuple(_value(one) for one in what)
    if kind == "d":
        return {key: _value(one) for key, one in what}
    if kind != "a":
        raise ValueError(f"{kind!r} is no kind of value")
    flat = np.frombuffer(base64.b64decode(what), dtype=np.dtype(tree["dtype"]))
    axes = tree.get("axes") or list(range(len(tree["shape"])))
    array = flat.reshape([tree["shape"][k] for k in axes]).transpose(np.argsort(axes)).copy(order="K")
    of = tree["of"]
    if of == "scalar":
        return array[()]
    if of in ("torch", "jax"):
        library = sys.modules[of]
        return library.from_numpy(array) if of == "torch" else library.numpy.asarray(array)
    return array
