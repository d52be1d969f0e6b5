"""What of a PyTorch model a check looks at: the modules that are called, and the rules that they apply."""

# torch's own annotations are partial:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from gradproof._backends._torch_held import path_of
from gradproof._backends._torch_state import undone

Module = torch.nn.Module

# A cap of display: characters that all names may take together, so that the line has some 120.
MOST = 60


@contextlib.contextmanager
def called_modules(roots: Mapping[str, Module], loss: Any) -> Generator[list[str]]:
    """Yield a list to which the paths of modules come when they are first called.

    It stays empty where a model or its loss is compiled, which would be compiled once more to be watched.
    """
    paths: dict[Module, str] = {}
    for root, module in roots.items():
        for name, part in module.named_modules():
            paths.setdefault(part, root + path_of(module, name))
    called: list[str] = []

    def enter(module: Module, args: Any) -> None:
        path = paths.pop(module, None)
        if path is not None:
            called.append(path)

    if hasattr(loss, "_torchdynamo_orig_callable") or any(hasattr(module, "_orig_mod") for module in paths):
        yield called
        return
    handle = register_module_forward_pre_hook(enter)
    with undone(handle.remove):
        yield called


def covered(rules: Sequence[str], modules: Sequence[str]) -> str:
    """Say in one line which rules and modules these are, the rules first, as far as there is room.

    Empty where no module was seen to be called: of what is compiled nothing is known.
    """
    if not modules:
        return ""
    parts: list[str] = []
    room = MOST
    for names, noun in ((rules, "Function"), (modules, "module")):
        shown: list[str] = []
        for name in names:
            if shown and len(name) > room:
                break
            shown.append(name)
            room -= len(name) + len(", ")
        more = len(names) - len(shown)
        listed = ", ".join(shown) + (f" and {more:,} more" if more else "")
        counted = f"{f'{len(names):,}' if names else 'no'} {noun}{'' if len(names) == 1 else 's'}"
        parts.append(f"{counted} ({listed})" if names else counted)
    return f"looked at {' and '.join(parts)}"
