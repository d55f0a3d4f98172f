"""The class of events that a program has generated from the protocol's description."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MODULE = "snakepit_bridge_pb2"
"""What generated modules are called."""

_PLACES = (f"snakepit_bridge.{_MODULE}", _MODULE, f"snakepit_bridge.proto.{_MODULE}")
"""Where a program that has not imported its own yet may have it."""

_MESSAGE = "snakepit.bridge.TelemetryEvent"


def find_event_class() -> type[Any]:
    """The program's ``TelemetryEvent``: one that is loaded, or can be, under a usual name, or else the one
    that protobuf knows.

    Raises ``LookupError`` where there is none.
    """
    for name, module in list(sys.modules.items()):
        if name.rpartition(".")[2] == _MODULE:
            found = getattr(module, "TelemetryEvent", None)
            if found is not None:
                return _as_class(found)
    for place in _PLACES:
        try:
            __import__(place)
            return _as_class(sys.modules[place].TelemetryEvent)
        except (ImportError, AttributeError):
            continue
    try:
        from google.protobuf import descriptor_pool, message_factory

        known = descriptor_pool.Default().FindMessageTypeByName(_MESSAGE)
        return _as_class(message_factory.GetMessageClass(known))
    except (ImportError, KeyError):
        raise LookupError(
            f"no class {_MESSAGE} is loaded; import the generated module {_MODULE}, give event_class=, or use stream_raw"
        ) from None


def _as_class(found: Any) -> type[Any]:
    """For type checkers, to whom it may be anything."""
    result: type[Any] = found
    return result
