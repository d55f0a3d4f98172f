from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from os import PathLike
from types import TracebackType
from typing import (
    Any,
    Literal,
    ParamSpec,
    SupportsFloat,
    SupportsIndex,
    TypeVar,
    final,
    overload,
)

from typing_extensions import Self, TypeAlias

from ._types import Stats, StreamStats

_P = ParamSpec("_P")
_R = TypeVar("_R")
_F = TypeVar("_F", bound=Callable[..., Any])
_Measurements: TypeAlias = Mapping[str, SupportsIndex | SupportsFloat | str] | None
_Metadata: TypeAlias = Mapping[str, object] | None

__all__ = [
    "Count",
    "Naps",
    "Server",
    "Span",
    "Stream",
    "StreamCall",
    "SpanIdentity",
    "Suppression",
    "backend",
    "close_at_exit",
    "configure",
    "connect",
    "Scope",
    "abandon",
    "context_var",
    "correlation_id",
    "current_span",
    "outgoing",
    "under",
    "emit",
    "emit_queued",
    "end_at_exit",
    "flush",
    "flush_at_exit",
    "heartbeat",
    "is_enabled",
    "new_correlation_id",
    "redacted",
    "sample_resources",
    "serve",
    "settings",
    "shutdown",
    "span",
    "start",
    "stats",
    "suppress_begin",
    "suppress_end",
    "unsample_resources",
    "use_composite",
    "use_nothing",
    "use_object",
    "use_queue",
]

context_var: ContextVar[Any]

@final
class Scope:
    """What a stretch of a program works under."""

    def __new__(
        cls,
        correlation_id: Any = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        baggage: str | None = None,
    ) -> Self: ...
    def enter(self) -> None: ...
    def set(self) -> Token[Any]: ...
    def leave(self) -> None: ...

@final
class SpanIdentity:
    """Which span an event belongs to."""

    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def parent_span_id(self) -> str: ...
    @property
    def phase(self) -> str: ...

@final
class Span:
    """Work that is measured: emits `{operation}.start` when it begins and `{operation}.stop` or
    `{operation}.exception` when it ends.

    Example::

        def label(span: telemetry.Span) -> None:
            span.set(model="small")

        with telemetry.span("tool.execution", {"tool": "search"}) as span:
            label(span)
            span.measure(rows=3)
            span.event("tool.result_size", {"bytes": 512})
        assert memory.names() == ["tool.execution.start", "tool.result_size", "tool.execution.stop"]
        assert memory.events[2].metadata == {"tool": "search", "model": "small"}
        assert memory.events[2].measurements["rows"] == 3
    """

    def __new__(
        cls,
        operation: str,
        metadata: _Metadata = None,
        correlation_id: str | None = None,
        *,
        measurements: _Measurements = None,
        record_stacktrace: bool | None = None,
    ) -> Self: ...
    @property
    def operation(self) -> str:
        """What its events are called before `.start`, `.stop` and `.exception`."""
    @property
    def correlation_id(self) -> str:
        """The correlation id of its events; empty if there is none."""
    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since it began, and once it has ended, how long it took; 0 before."""
    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits; empty for a span that emits nothing."""
    @property
    def span_id(self) -> str:
        """16 hexadecimal digits; empty for a span that emits nothing."""
    @property
    def parent_span_id(self) -> str:
        """16 hexadecimal digits; empty for the root of a trace."""
    def set(self, **metadata: object) -> None:
        """Add metadata, which the end of the span has as well."""
    def measure(self, **measurements: SupportsIndex | SupportsFloat | str) -> None:
        """Add measurements to the end of the span."""
    def event(
        self, name: str, measurements: _Measurements = None, metadata: _Metadata = None
    ) -> None:
        """Emit an event that belongs to this span, with its correlation id."""
    def record_exception(self, exc: BaseException) -> None:
        """End by this exception, although it was caught: the span ends with `.exception`."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...
    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]: ...
    def _again(self) -> Span: ...
    def _start(self) -> None: ...
    def _enter(self) -> None: ...
    def _leave(self) -> None: ...

@final
class Naps:
    """How one thread of ours sleeps: no fork finds it awake."""

    def __new__(cls) -> Naps: ...
    def no_thread(self) -> None: ...
    def begin(self) -> None: ...
    def wait_for_begin(self) -> None: ...
    def nap(self, seconds: float) -> bool: ...
    def end(self) -> None: ...

@final
class Server:
    """Where this process can be reached by a manager.

    Example::

        server: telemetry.Server = telemetry.serve()
        assert server.is_running and server.address.startswith("unix:/")
        server.close()
    """

    @property
    def address(self) -> str:
        """What a manager dials, `127.0.0.1:45123` or `unix:/run/w.sock`; empty if this process does not serve."""
    @property
    def clients(self) -> int:
        """Managers that are connected."""
    @property
    def unauthenticated(self) -> int:
        """Streams that were refused because they did not show the token."""
    @property
    def is_running(self) -> bool:
        """Whether it still serves."""
    def close(self, timeout: float | None = 0.5) -> bool:
        """Send what is queued and stop; say whether all was sent in `timeout` seconds."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> Literal[False]: ...

@final
class Stream:
    """A queue with a policy and a ledger of its own, whose events a server of the program's carries."""

    def __new__(cls, max_buffer: int | None = None, overflow: str | None = None) -> Self: ...
    def emit(
        self,
        event: str,
        measurements: _Measurements = None,
        metadata: _Metadata = None,
        correlation_id: str | None = None,
        span: SpanIdentity | None = None,
    ) -> bool: ...
    def open(self, expects_hello: bool, wake: Callable[[], object]) -> StreamCall: ...
    def set_enabled(self, enabled: bool) -> None: ...
    def set_sampling(self, rate: float, patterns: Sequence[str]) -> None: ...
    def set_filter(self, allow: Sequence[str], deny: Sequence[str]) -> None: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def sampling_rate(self) -> float: ...
    @property
    def dropped_count(self) -> int: ...
    @property
    def is_closed(self) -> bool: ...
    def stats(self) -> StreamStats: ...
    def note_control_error(self, error: str) -> None: ...
    def close(self) -> None: ...

@final
class StreamCall:
    """One call of `StreamTelemetry`; `Stream.open` makes them."""

    def next(self) -> bytes | float | None: ...
    def hear(self, control: bytes) -> None: ...
    def hear_end(self, in_order: bool) -> None: ...
    def leave(self) -> None: ...
    def close(self) -> None: ...
@final
class Count:
    """A count that backends keep: exact over all threads, and anew in a forked child."""

    def __new__(cls) -> Self: ...
    def add(self, more: int = 1) -> None: ...
    @property
    def value(self) -> int: ...

@final
class Suppression:
    """A block in which nothing is emitted."""

def emit(
    event: str,
    measurements: _Measurements = None,
    metadata: _Metadata = None,
    correlation_id: str | None = None,
) -> None:
    """Record one event. Never raises and never blocks; what cannot be recorded is counted in :func:`stats`.

    ``measurements`` are numbers or texts, ``metadata`` texts; anything else becomes one. Without a
    ``correlation_id`` the event has that of the context, and it belongs to the span that is open there.

    Example::

        telemetry.emit("tool.result_size", {"bytes": 512}, {"tool": "search"})
    """
def _noop(
    event: str,
    measurements: _Measurements = None,
    metadata: _Metadata = None,
    correlation_id: str | None = None,
) -> None: ...
def emit_queued(
    event: str,
    measurements: _Measurements = None,
    metadata: _Metadata = None,
    correlation_id: str | None = None,
) -> None: ...
def new_correlation_id() -> str:
    """A new correlation id: 32 hexadecimal digits.

    Example::

        assert len(telemetry.new_correlation_id()) == 32
    """
def use_object(backend: Any) -> None: ...
def use_composite(backend: Any, with_queue: bool) -> None: ...
def use_queue() -> None: ...
def abandon(old: Any) -> None: ...
def correlation_id() -> str | None: ...
def current_span() -> Span | None: ...
def outgoing() -> list[str | None]: ...
def under(scope: Scope) -> None: ...
def use_nothing() -> None: ...
def backend() -> Any: ...
def is_enabled() -> bool: ...
def configure(changes: dict[str, str | None]) -> None: ...
def settings() -> tuple[list[tuple[str, str | None, str]], str | None, list[str]]: ...
def suppress_begin() -> tuple[Suppression, Token[Any]]: ...
def suppress_end(block: Suppression, token: Token[Any]) -> None: ...
def start() -> bool: ...
def connect(address: str | None = None) -> bool: ...
def serve(
    address: str | None = None,
    ready_file: str | PathLike[str] | None = None,
    timeout: float = 0.0,
    token_file: str | PathLike[str] | None = None,
    insecure: bool | None = None,
) -> Server: ...
def flush(timeout: float | None = 1.0, acknowledged: bool = False) -> bool: ...
def shutdown(timeout: float | None = None) -> bool: ...
@overload
def span(operation: _F) -> _F: ...
@overload
def span(
    operation: str,
    metadata: _Metadata = None,
    correlation_id: str | None = None,
    *,
    measurements: _Measurements = None,
    record_stacktrace: bool | None = None,
) -> Span:
    """Measure a block or a function: ``{operation}.start`` when it begins, ``{operation}.stop`` or
    ``{operation}.exception`` with ``duration`` when it ends.

    For ``with``, ``async with``, and as a decorator of functions, coroutines, generators and async generators;
    without parentheses the operation is called as the function is, with its class. ``metadata`` is in all of
    its events, ``measurements`` are in its end. Never raises but for a class or anything else that is no
    function, where it decorates.

    Example::

        @telemetry.span("tool.execution", {"tool": "parse"})
        async def parse(text):
            return text.split()

        with telemetry.span("tool.execution", {"tool": "search"}, measurements={"rows": 3}) as span:
            span.set(model="small")
    """
def stats() -> Stats:
    """What became of every event of this process: see :class:`Stats`.

    Example::

        telemetry.emit("tool.result_size", {"bytes": 512})
        stats = telemetry.stats()
        assert stats["emitted"] == stats["delivered"] == 1 and not stats["dropped"]
    """
def heartbeat() -> Callable[[], bool] | None: ...
def redacted(text: object) -> str: ...
def sample_resources(interval: float, memory: bool, cpu: bool) -> bool: ...
def unsample_resources() -> None: ...
def flush_at_exit() -> None: ...
def end_at_exit() -> None: ...
def close_at_exit() -> bool: ...
