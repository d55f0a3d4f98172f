"""Children that are started afresh, by ``spawn`` and ``forkserver``, have our modules in place as their parent has.

``multiprocessing`` sends such a child a dictionary before it runs anything of the program. One entry more in it
is an object that is made by running ``_spawned.py``, so that comes first. The module that makes the dictionary is
changed when it is loaded; it is not loaded for that.
"""

from __future__ import annotations

import functools
import os
import runpy
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

SPAWNING = "multiprocessing.spawn"
"""The module that makes the dictionary."""

_FUNCTION = "get_preparation_data"
_ENTRY = "telemetry_py"
_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_spawned.py")


class _Installed:
    """What has run `_spawned.py` by the time it is there."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, None, str]]:
        return runpy.run_path, (_PROGRAM, None, "__main__")


def reach() -> None:
    """Have children that are spawned from now on do what this process does."""
    loaded = sys.modules.get(SPAWNING)
    if loaded is not None:
        _change(loaded)


def spec_of(path: Sequence[str] | None) -> ModuleSpec | None:
    """How `SPAWNING` is loaded: as ever, and then changed."""
    spec = PathFinder.find_spec(SPAWNING, path)
    loader: Any = spec and spec.loader
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return spec

    def exec_module(module: ModuleType) -> None:
        execute(module)
        _change(module)

    try:
        loader.exec_module = exec_module
    except AttributeError:
        # One that takes no change: the module is loaded as ever.
        pass
    return spec


def _change(module: ModuleType) -> None:
    before = vars(module).get(_FUNCTION)
    if not callable(before) or not os.path.isfile(_PROGRAM):
        return

    @functools.wraps(before)
    def prepared(*arguments: Any, **named: Any) -> Any:
        data = before(*arguments, **named)
        if isinstance(data, dict):
            data.setdefault(_ENTRY, _Installed())
        return data

    vars(module)[_FUNCTION] = prepared
