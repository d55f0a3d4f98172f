"""Python's logging: records as events, and the ids of the work at hand on records.

    import logging
    import telemetry_py as telemetry
    from telemetry_py.logging import CorrelationFilter, TelemetryHandler

    telemetry.start()
    lines = logging.StreamHandler()
    lines.addFilter(CorrelationFilter())
    lines.setFormatter(logging.Formatter("%(levelname)s [%(correlation_id)s] %(message)s"))
    logging.basicConfig(handlers=[lines, TelemetryHandler(level=logging.WARNING)])

    with telemetry.correlation():
        logging.warning("disk is %d %% full", 91)

A record becomes an event ``python.log.recorded`` with ``level``, ``logger`` and ``message``, and with
``error_type`` and ``error_message`` where it tells of an exception. How many of them are kept is the
manager's policy.
"""

from __future__ import annotations

import logging
from _thread import _local
from collections.abc import Iterable

import telemetry_py as telemetry

from ._text import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EVENT = "python.log.recorded"

MAX_MESSAGE = 4096
"""Longest message, in characters."""

OWN_LOGGERS = ("telemetry_py",)
"""Loggers, with those below them, whose records never become events."""

_thread = _local()
"""Whether a record of this thread is becoming an event right now: what is logged meanwhile, by a backend
as a rule, becomes none, or it would go on for ever."""


class TelemetryHandler(logging.Handler):
    """Makes events of records.

    ``exclude`` names loggers whose records, and those of all below them, make none: those of a library that
    a backend sends events with from a thread of its own, for one, which would log for every event.

    It takes no lock, so code that runs in a backend may log and code that logs may run in a backend.

    Example::

        import logging
        from telemetry_py.logging import TelemetryHandler

        logging.getLogger("shop").addHandler(TelemetryHandler(level=logging.WARNING))
        logging.getLogger("shop.cart").warning("disk is %d %% full", 91)
        assert memory.events[0].metadata == {"level": "WARNING", "logger": "shop.cart", "message": "disk is 91 % full"}
    """

    def __init__(self, level: int | str = logging.NOTSET, *, exclude: Iterable[str] = ()) -> None:
        if isinstance(exclude, str):
            raise TypeError(f"exclude is a list of names of loggers, not the text {exclude!r}")
        super().__init__(level)
        self._exclude = (*OWN_LOGGERS, *exclude)
        self._below = tuple(f"{name}." for name in self._exclude)

    def createLock(self) -> None:
        """There is none."""
        self.lock: Any = None

    def _at_fork_reinit(self) -> None:
        pass

    def handle(self, record: logging.LogRecord) -> bool:
        """Makes an event of a record that the filters let pass; returns whether they did."""
        found = self.filter(record)
        if not found:
            return False
        # From Python 3.12 on a filter may put another record in its place.
        self.emit(found if isinstance(found, logging.LogRecord) else record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Makes an event of a record. Never raises."""
        if getattr(_thread, "is_busy", False):
            return
        _thread.is_busy = True
        try:
            self._tell(record)
        except Exception:
            # Somebody has put into the record what does not belong there.
            pass
        finally:
            _thread.is_busy = False

    def _tell(self, record: logging.LogRecord) -> None:
        if record.name in self._exclude or record.name.startswith(self._below):
            return
        metadata = {"level": record.levelname, "logger": record.name, "message": _message(record)}
        if record.exc_info and record.exc_info[0] is not None:
            metadata["error_type"] = record.exc_info[0].__name__
            metadata["error_message"] = _text(record.exc_info[1])
        telemetry.emit(EVENT, {"count": 1}, metadata)


class CorrelationFilter(logging.Filter):
    """Puts ``correlation_id``, ``trace_id`` and ``span_id`` on records, empty where there is none.

    It belongs on handlers: filters of a logger are not asked for the records of those below it.

    Example::

        import io, logging
        from telemetry_py.logging import CorrelationFilter

        lines = logging.StreamHandler(io.StringIO())
        lines.addFilter(CorrelationFilter())
        lines.setFormatter(logging.Formatter("%(trace_id)s %(message)s"))
        logging.getLogger("shop").addHandler(lines)
        with telemetry.span("tool.execution") as span:
            logging.getLogger("shop").warning("slow")
        assert lines.stream.getvalue().strip() == f"{span.trace_id} slow"
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        span = telemetry.current_span()
        try:
            record.correlation_id = telemetry.get_correlation_id("")
            record.trace_id = "" if span is None else span.trace_id
            record.span_id = "" if span is None else span.span_id
        except Exception:
            # A record that takes nothing.
            pass
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()[:MAX_MESSAGE]
    except Exception:
        # Arguments that do not fit. Other handlers say so; here the record is worth more.
        return _text(record.msg)


def _text(value: object) -> str:
    return text_of(value)[:MAX_MESSAGE]


__all__ = ["CorrelationFilter", "TelemetryHandler"]
