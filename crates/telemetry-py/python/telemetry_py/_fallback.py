"""What stands in for the native module where it cannot be loaded: everything is there, nothing is
recorded."""

from __future__ import annotations

import time
import uuid
from contextvars import ContextVar
from typing import Any, Literal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

context_var: ContextVar[Any] = ContextVar("telemetry_context", default=None)


class Scope:
    """What a stretch of a program works under: passed on, although nothing is recorded."""

    def __init__(
        self,
        correlation_id: Any = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        baggage: str | None = None,
    ) -> None:
        before = context_var.get()
        held = (None, None, None, None) if before is None else before._held
        new = (correlation_id, traceparent, tracestate, baggage)
        self._held = tuple(new if new is not None else old for new, old in zip(new, held))
        self._token: Any = None

    def enter(self) -> None:
        self._token = context_var.set(self)

    def set(self) -> Any:
        return context_var.set(self)

    def leave(self) -> None:
        token, self._token = self._token, None
        try:
            if token is not None:
                context_var.reset(token)
        except ValueError:
            context_var.set(None)


def outgoing() -> Any:
    scope = context_var.get()
    return [None, None, None, None] if scope is None else list(scope._held)


def under(scope: Scope) -> None:
    pass


def correlation_id() -> Any:
    return outgoing()[0]


def current_span() -> None:
    return None


def abandon(old: Any) -> None:
    context_var.set(old if isinstance(old, Scope) else None)


class Span:
    """A span that emits nothing."""

    def __init__(
        self,
        operation: str,
        metadata: Any = None,
        correlation_id: str | None = None,
        *,
        measurements: Any = None,
        record_stacktrace: bool | None = None,
    ) -> None:
        self.operation = operation
        self._correlation_id = correlation_id
        self._started = 0
        self._ended = 0

    @property
    def correlation_id(self) -> str:
        return (correlation_id() or "") if self._correlation_id is None else self._correlation_id

    trace_id = span_id = parent_span_id = ""

    @property
    def elapsed_ns(self) -> int:
        if not self._started:
            return 0
        return (self._ended or time.monotonic_ns()) - self._started

    def set(self, **metadata: object) -> None:
        pass

    def measure(self, **measurements: object) -> None:
        pass

    def event(self, name: str, measurements: Any = None, metadata: Any = None) -> None:
        pass

    def record_exception(self, exc: BaseException) -> None:
        pass

    def __enter__(self) -> Span:
        self._start()
        return self

    def __exit__(self, exc_type: Any = None, exc: Any = None, traceback: Any = None) -> Literal[False]:
        self._ended = time.monotonic_ns()
        return False

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(self, exc_type: Any = None, exc: Any = None, traceback: Any = None) -> Literal[False]:
        return self.__exit__()

    def __call__(self, function: Any) -> Any:
        return _unchanged(function)

    def _again(self) -> Span:
        return Span(self.operation, correlation_id=self._correlation_id)

    def _enter(self) -> None:
        pass

    def _leave(self) -> None:
        pass

    def _start(self) -> None:
        self._started = time.monotonic_ns()
        self._ended = 0


def span(operation: Any, *arguments: Any, **named: Any) -> Any:
    """A span, or the function itself under a bare ``@span``."""
    is_text = isinstance(operation, str)
    if not is_text and not arguments and not named and (callable(operation) or hasattr(type(operation), "__get__")):
        return _unchanged(operation)
    return Span(operation, *arguments, **named)


def _unchanged(target: Any) -> Any:
    """A function as it is; ``TypeError`` for what is none, as where there is a native module."""
    from ._decorate import check

    check(target)
    return target


class SpanIdentity:
    """Which span an event belongs to; of none here."""

    trace_id = span_id = parent_span_id = phase = ""


class Naps:
    """The sleep of a thread that is never started."""

    def no_thread(self) -> None:
        pass

    def begin(self) -> None:
        pass

    def wait_for_begin(self) -> None:
        pass

    def nap(self, seconds: float) -> bool:
        return False

    def end(self) -> None:
        pass


class Server:
    """A server that listens nowhere."""

    address = ""
    clients = 0
    unauthenticated = 0
    is_running = False

    def close(self, timeout: float | None = 0.5) -> bool:
        return True

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_exception: object) -> Literal[False]:
        return False


class Stream:
    """A queue that keeps nothing."""

    enabled = False
    sampling_rate = 1.0
    dropped_count = 0

    def __init__(self, max_buffer: int | None = None, overflow: str | None = None) -> None:
        self.is_closed = False

    def emit(self, event: str, measurements: Any = None, metadata: Any = None, correlation_id: str | None = None, span: Any = None) -> bool:
        return True

    def open(self, expects_hello: bool, wake: Any) -> StreamCall:
        return StreamCall(self)

    def set_enabled(self, enabled: bool) -> None:
        pass

    def set_sampling(self, rate: float, patterns: Any) -> None:
        pass

    def set_filter(self, allow: Any, deny: Any) -> None:
        pass

    def stats(self) -> dict[str, Any]:
        return {**_NOTHING, "streams": 0, "control_error": None}

    def note_control_error(self, error: str) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class StreamCall:
    """A call on which nothing comes, until the manager has enough of it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._is_left = False

    def next(self) -> float | None:
        return None if self._is_left or self._stream.is_closed else 1.0

    def hear(self, control: bytes) -> None:
        pass

    def hear_end(self, in_order: bool) -> None:
        pass

    def leave(self) -> None:
        self._is_left = True

    def close(self) -> None:
        self._is_left = True
class Count:
    """A count of this process."""

    def __init__(self) -> None:
        self.value = 0

    def add(self, more: int = 1) -> None:
        self.value += more


class Suppression:
    """A block in which nothing is emitted, as everywhere."""


def emit(event: str, measurements: Any = None, metadata: Any = None, correlation_id: str | None = None) -> None:
    pass


emit_queued = emit


def new_correlation_id() -> str:
    return uuid.uuid4().hex


def use_object(backend: Any) -> None:
    pass


def use_composite(backend: Any, with_queue: bool) -> None:
    pass


def use_queue() -> None:
    pass


def use_nothing() -> None:
    pass


def backend() -> None:
    return None


def is_enabled() -> bool:
    return False


def configure(changes: dict[str, str | None]) -> None:
    pass


def settings() -> tuple[list[tuple[str, str | None, str]], str | None, list[str]]:
    return [], None, []


def suppress_begin() -> tuple[Any, Any]:
    return None, None


def suppress_end(block: Any, token: Any) -> None:
    pass


def start() -> bool:
    return False


def connect(address: str | None = None) -> bool:
    return False


def serve(address: str | None = None, ready_file: Any = None, timeout: float = 0.0, token_file: Any = None, insecure: bool | None = None) -> Server:
    return Server()


def heartbeat() -> Callable[[], bool] | None:
    return None


def redacted(text: object) -> str:
    return ""


def sample_resources(interval: float, memory: bool, cpu: bool) -> bool:
    return True


def unsample_resources() -> None:
    pass


def flush_at_exit() -> None:
    pass


def end_at_exit() -> None:
    pass


def close_at_exit() -> bool:
    return True


def flush(timeout: float | None = 1.0, acknowledged: bool = False) -> bool:
    return True


def shutdown(timeout: float | None = None) -> bool:
    return True


_NOTHING: dict[str, Any] = {
    "emitted": 0,
    "accepted": 0,
    "sent": 0,
    "delivered": 0,
    "queued": 0,
    "dropped": {},
    "notes": {},
}
"""The ledger of nothing."""


def stats() -> dict[str, Any]:
    return {
        **_NOTHING,
        "last_error": None,
        "parts": [],
        "region": "heap",
        "manager": None,
        "connect_error": None,
        "clients": 0,
        "rejected": {},
        "descriptors_closed": 0,
    }
