"""What the interpreter and its libraries do, as events; and the context of callers, carried along.

Each ``instrument_...`` returns an :class:`Instrumentation`, which undoes it. A second call changes nothing
but what its arguments say, and undoing once is enough. What is instrumented stays so in forked children.
"""

from __future__ import annotations

from ._handle import Instrumentation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .asyncio import instrument_asyncio
    from .carriers import Carried, carried
    from .excepthooks import instrument_excepthooks
    from .executors import instrument_executors
    from .runtime import instrument_runtime

_RARE = {
    "Carried": ".carriers",
    "carried": ".carriers",
    "instrument_asyncio": ".asyncio",
    "instrument_excepthooks": ".excepthooks",
    "instrument_executors": ".executors",
    "instrument_runtime": ".runtime",
}
"""Imported when they are asked for."""


def __getattr__(name: str) -> object:
    """Import what is asked for at last."""
    if name not in _RARE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_RARE[name], __name__), name)
    return found


__all__ = [
    "Carried",
    "Instrumentation",
    "carried",
    "instrument_asyncio",
    "instrument_excepthooks",
    "instrument_executors",
    "instrument_runtime",
]
