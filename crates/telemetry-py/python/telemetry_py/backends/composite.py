"""Several backends at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .._loader import native
from .._quietly import quietly
from .._text import class_name
from .._types import PartStats, SpanIdentity, SupportsEmit
from .base import TelemetryBackend
from .server import ServerBackend


class CompositeBackend(TelemetryBackend):
    """Hands every event to each of its parts, which fail each for itself: one that raises or is full takes
    nothing from the others, and :meth:`parts` counts what each of them did.

    An event is counted once in the ledger, however many parts there are. If the queue
    (:class:`ServerBackend`) is one of them, what becomes of it there is what became of it: queued, sent, or
    dropped under the queue's reason; a manager hears just that. Without the queue it is ``delivered`` if at
    least one part took it; if none did, it is dropped for the reason of the first part. Sampling and filters
    are decided once, for all of the parts.

    The parts of a composite within a composite are parts of the outer one, and the queue is one part however
    often it is named.

    Example::

        both = telemetry.CompositeBackend(memory, telemetry.StderrBackend())
        telemetry.set_backend(both)
        telemetry.emit("tool.result_size", {"bytes": 512})
        assert [part["delivered"] for part in both.parts()] == [1, 1]
    """

    takes_span = True
    _is_composite = True
    """What :func:`telemetry_py.set_backend` knows it by."""

    def __init__(self, *backends: SupportsEmit) -> None:
        if not backends:
            raise ValueError("CompositeBackend: it has no parts; expected one backend or more")
        self._parts: list[_Part] = []
        self._queue: ServerBackend | None = None
        for backend in backends:
            self._take(backend)

    def _take(self, backend: SupportsEmit) -> None:
        if isinstance(backend, ServerBackend):
            self._queue = backend
        elif isinstance(backend, CompositeBackend):
            for part in backend.backends:
                self._take(part)
        elif callable(getattr(backend, "emit", None)) and not isinstance(backend, type):
            self._parts.append(_Part(backend))
        else:
            raise TypeError(
                f"CompositeBackend: {backend!r} is no backend; expected objects with emit(event, measurements, metadata, correlation_id)"
            )

    @property
    def backends(self) -> tuple[SupportsEmit, ...]:
        """The parts, the queue last."""
        queue = () if self._queue is None else (self._queue,)
        return (*(part.backend for part in self._parts), *queue)

    def parts(self) -> list[PartStats]:
        """What became of events in each part but the queue, whose events are those of the ledger."""
        return [part.stats() for part in self._parts]

    def emit(
        self,
        event: str,
        measurements: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
        correlation_id: str | None = None,
        span: SpanIdentity | None = None,
    ) -> object:
        """For hosts that know nothing of the queue; ours sees to it itself."""
        if self._queue is not None:
            self._queue.emit(event, measurements, metadata, correlation_id)
        result = self._emit_objects(event, measurements, metadata, correlation_id, span)
        return True if self._queue is not None else result

    def _emit_objects(
        self,
        event: str,
        measurements: Mapping[str, object] | None,
        metadata: Mapping[str, object] | None,
        correlation_id: str | None,
        span: SpanIdentity | None = None,
    ) -> object:
        """Hands an event to all parts but the queue: true if one took it, else what the first one said."""
        was_taken = not self._parts
        first: object = None
        for part in self._parts:
            try:
                # Each may keep and change what it gets.
                copies = dict(measurements or {}), dict(metadata or {})
            except Exception as error:
                # Told, not raised, as every backend of ours does.
                return error
            answer = part.emit(event, *copies, correlation_id or "", span)
            if answer is True:
                was_taken = True
            elif first is None:
                first = answer
        return True if was_taken else first

    def _objects(self) -> list[SupportsEmit]:
        """The parts that are objects."""
        return [part.backend for part in self._parts]

    @property
    def _has_queue(self) -> bool:
        """Whether the queue is a part."""
        return self._queue is not None

    def flush(self, timeout: float = 1.0) -> bool:
        """Flush every part that can, within one time; say whether all did."""
        deadline = time.monotonic() + timeout
        done = True
        for part in self._parts:
            flush = quietly(getattr, part.backend, "flush", None)
            if callable(flush):
                left = max(deadline - time.monotonic(), 0.0)
                done = quietly(flush, left) is not False and done
        return done

    def close(self) -> None:
        """Close every part that can be closed."""
        for part in self._parts:
            close = quietly(getattr, part.backend, "close", None)
            if callable(close):
                quietly(close)


class _Part:
    """A part and what became of events in it."""

    def __init__(self, backend: SupportsEmit) -> None:
        self.backend = backend
        self._emit: Callable[..., Any] = backend.emit
        self._takes_span = getattr(type(backend), "takes_span", False) is True
        self._delivered = native.Count()
        self._dropped = {"queue_full": native.Count(), "backend_error": native.Count()}

    def emit(self, event: str, measurements: Any, metadata: Any, correlation_id: str, span: SpanIdentity | None) -> object:
        """True if it took the event, else ``False`` or an exception."""
        arguments: tuple[Any, ...] = (event, measurements, metadata, correlation_id)
        if self._takes_span:
            arguments = (*arguments, span)
        try:
            answer = self._emit(*arguments)
        except Exception as error:
            answer = error
        except BaseException:
            self._dropped["backend_error"].add()
            raise
        if answer is False:
            self._dropped["queue_full"].add()
            return False
        if isinstance(answer, BaseException):
            self._dropped["backend_error"].add()
            return answer
        self._delivered.add()
        return True

    def stats(self) -> PartStats:
        dropped = {reason: count.value for reason, count in self._dropped.items()}
        return {
            "backend": class_name(self.backend),
            "delivered": self._delivered.value,
            "dropped": {reason: count for reason, count in dropped.items() if count},
        }
