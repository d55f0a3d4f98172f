from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from os import PathLike
from types import TracebackType
from typing import (
    Any,
    Literal,
    ParamSpec,
    SupportsFloat,
    SupportsIndex,
    TypedDict,
    TypeVar,
    final,
    type_check_only,
)

from typing_extensions import Self, TypeAlias

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Measurements: TypeAlias = Mapping[str, SupportsIndex | SupportsFloat | str] | None
_Metadata: TypeAlias = Mapping[str, object] | None

__all__ = [
    "Server",
    "Span",
    "backend",
    "close_at_exit",
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
    "shutdown",
    "span",
    "start",
    "stats",
    "unsample_resources",
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
class Span:
    """Work that is measured: emits `{operation}.start` when it begins and `{operation}.stop` or
    `{operation}.exception` when it ends."""

    def __new__(
        cls,
        operation: str,
        metadata: _Metadata = None,
        correlation_id: str | None = None,
        *,
        measurements: _Measurements = None,
    ) -> Self: ...
    @property
    def operation(self) -> str: ...
    @property
    def correlation_id(self) -> str: ...
    @property
    def elapsed_ns(self) -> int: ...
    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def parent_span_id(self) -> str: ...
    def set(self, **metadata: object) -> None: ...
    def measure(self, **measurements: SupportsIndex | SupportsFloat | str) -> None: ...
    def event(
        self, name: str, measurements: _Measurements = None, metadata: _Metadata = None
    ) -> None: ...
    def record_exception(self, exc: BaseException) -> None: ...
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
class Server:
    """Where this process can be reached by a manager."""

    @property
    def address(self) -> str: ...
    @property
    def clients(self) -> int: ...
    @property
    def is_running(self) -> bool: ...
    def close(self, timeout: float = 0.5) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> Literal[False]: ...

def emit(
    event: str,
    measurements: _Measurements = None,
    metadata: _Metadata = None,
    correlation_id: str | None = None,
) -> None: ...
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
def new_correlation_id() -> str: ...
def use_object(backend: Any) -> None: ...
def use_queue() -> None: ...
def abandon(old: Any) -> None: ...
def correlation_id() -> str | None: ...
def current_span() -> Span | None: ...
def outgoing() -> list[str | None]: ...
def under(scope: Scope) -> None: ...
def use_nothing() -> None: ...
def backend() -> Any: ...
def is_enabled() -> bool: ...
def start() -> bool: ...
def connect(address: str | None = None) -> bool: ...
def serve(
    address: str | None = None,
    ready_file: str | PathLike[str] | None = None,
    timeout: float = 0.0,
) -> Server: ...
def flush(timeout: float | None = 1.0) -> bool: ...
def shutdown(timeout: float | None = None) -> bool: ...
def span(
    operation: str,
    metadata: _Metadata = None,
    correlation_id: str | None = None,
    *,
    measurements: _Measurements = None,
) -> Span: ...
@type_check_only
class _Stats(TypedDict):
    """The ledger of this process since it began or was forked, or since it served anew after its end.

    `emitted == accepted + sum(dropped.values())` and `accepted == sent + delivered + queued`, always,
    apart from events that other threads are in the midst of emitting.
    """

    emitted: int
    """Events that entered `emit` or began and ended spans, whatever became of them."""
    accepted: int
    """Those of them that the queue or a backend took and that were not dropped later."""
    sent: int
    """Handed to the stream of a manager."""
    delivered: int
    """Taken by a backend that is an object, such as `MemoryBackend`. Managers hear nothing of them."""
    queued: int
    """Waiting to be sent. Before `start` or `serve`, this is where events are."""
    dropped: dict[str, int]
    """Dropped, by reason; only reasons that occurred. `not_started`: the queue was full, or the end
    came, before anything was started; `fork_inherited`: the same in a fork of a process that serves.
    `backend_error`: the backend raised."""
    notes: dict[str, int]
    """What happened to events that were not dropped for it, such as `truncated`."""
    last_error: str | None
    """The last exception of a backend, `"ValueError: boom"`, cut and cleared of secrets."""
    manager: str | None
    """The manager that this process connects to, or several; `None` where it does not."""
    connect_error: str | None
    """Why there is no connection to it right now, as far as that is known."""
    clients: int
    """Managers whose stream is open now."""

def stats() -> _Stats: ...
def heartbeat() -> Callable[[], bool] | None: ...
def redacted(text: object) -> str: ...
def sample_resources(interval: float, memory: bool, cpu: bool) -> bool: ...
def unsample_resources() -> None: ...
def flush_at_exit() -> None: ...
def end_at_exit() -> None: ...
def close_at_exit() -> bool: ...
