"""The options of `check_kernel`, as they are asked and as they are written in a replay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradproof._backends._torch_kernel import CONTIGUOUS, LAYOUTS, available_devices, name_of_device, name_of_dtype
from gradproof._base._errors import UsageError
from gradproof._kernels._outcome import Case
from gradproof._kernels._sizes import listed
from gradproof._kernels._study import Plan


def asked(make_inputs: Callable[..., Any], sizes: Any, dtypes: Any, layouts: Any, devices: Any) -> Plan:
    """The cases that are asked for.

    Raises
    ------
    UsageError
        If an option cannot be used.
    """
    found = (None,) if dtypes is None else tuple(dict.fromkeys(map(name_of_dtype, _several(dtypes, "dtypes"))))
    return Plan(
        sizes=listed(sizes, make_inputs),
        dtypes=found,
        devices=_devices(devices),
        layouts=_layouts(layouts),
    )


def written(axes: int, case: Case, later: Case | None = None) -> str:
    """The options that ask for one case alone, as Python source; `axes` is how many sizes `make_inputs` takes.

    Or for one at other sizes after it.
    """
    each = [dict.fromkeys((n, m)) for (_, n), (_, m) in zip(case.sizes, (later or case).sizes, strict=True)]
    lists = [f"[{', '.join(map(str, one))}]" for one in each]
    # (One size by itself is a list of one.)
    named = [text if later else text[1:-1] for text in lists]
    values = [f"{axis!r}: {text}" for (axis, _), text in zip(case.sizes, named, strict=True)]
    parts = [f"sizes={lists[0]}" if len(values) == axes == 1 else f"sizes={{{', '.join(values)}}}"]
    parts += [f"dtypes=[torch.{case.dtype}]"] if case.dtype is not None else []
    parts += [f"layouts=[{'' if case.layout == CONTIGUOUS else repr(case.layout)}]"]
    parts += [f"devices=[{case.device!r}]"] if case.device is not None else []
    return ", ".join(parts)


def _devices(devices: Any) -> tuple[str | None, ...]:
    if devices is None:
        return (None,)
    if isinstance(devices, str) and devices == "available":
        return tuple(available_devices())
    return tuple(dict.fromkeys(map(name_of_device, _several(devices, "devices"))))


def _layouts(layouts: Any) -> tuple[str, ...]:
    if layouts is None:
        return tuple(LAYOUTS)
    names = () if isinstance(layouts, (list, tuple)) and not layouts else _several(layouts, "layouts")
    for name in names:
        if name not in (*LAYOUTS, CONTIGUOUS):
            known = ", ".join(map(repr, LAYOUTS))
            raise UsageError(f"`layouts` must be some of {known}, got {name!r}. Contiguous inputs are always tried.")
    return tuple(name for name in LAYOUTS if name in names)


def _several(values: Any, name: str) -> tuple[Any, ...]:
    """A list, or one value in place of a list of one."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        return (values,)
    found = tuple(values)
    if not found:
        raise UsageError(f"`{name}` must not be empty: name at least one, or leave it out.")
    return found
