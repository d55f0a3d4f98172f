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
    TypeVar,
    final,
    overload,
)

from typing_extensions import Self, TypeAlias

from ._types import Stats

_P = ParamSpec("_P")
_R = TypeVar("_R")
_F = TypeVar("_F", bound=Callable[..., Any])
_Measurements: TypeAlias = Mapping[str, SupportsIndex | SupportsFloat | str] | None
_Metadata: TypeAlias = Mapping[str, object] | None

__all__ = [
    "Count",
    "Server",
    "Span",
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
    "is_enabled",
    "new_correlation_id",
    "serve",
    "settings",
    "shutdown",
    "span",
    "start",
    "stats",
    "suppress_begin",
    "suppress_end",
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
    `{operation}.exception` when it ends."""

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
    def close(self, timeout: float | None = 0.5) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_exception: object) -> Literal[False]: ...

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
) -> Server: ...
def flush(timeout: float | None = 1.0) -> bool: ...
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
) -> Span: ...
def stats() -> Stats: ...
def flush_at_exit() -> None: ...
def end_at_exit() -> None: ...
def close_at_exit() -> bool: ...
