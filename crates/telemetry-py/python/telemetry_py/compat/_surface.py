"""The names that Snakepit's telemetry modules have, with its signatures.

Where ours differ from those, here is what makes up for it; all else is ours as it is.
"""

from __future__ import annotations

from .. import _context
from .._loader import native
from ..backends import get_backend, is_enabled, set_backend
from ..backends.base import TelemetryBackend
from ..backends.grpc import GrpcBackend
from ..backends.stderr import StderrBackend
from ..stream import TelemetryStream as _TelemetryStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any, Literal, ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _R = TypeVar("_R")


class TelemetryStream(_TelemetryStream):
    """Our stream, made as Snakepit's is."""

    def __init__(self, max_buffer: int = 1024) -> None:
        super().__init__(max_buffer)


def emit(
    event: str,
    measurements: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    correlation_id: str | None = None,
) -> None:
    """Record one event. Never raises, never blocks."""
    native.emit(event, measurements, metadata, correlation_id)


def span(
    operation: str, metadata: Mapping[str, Any] | None = None, correlation_id: str | None = None
) -> AbstractContextManager[None]:
    """Record a span around a block: ``with span("tool.execution"): ...``"""
    return _SilentSpan(native.span(operation, metadata, correlation_id))


class _SilentSpan:
    """A span that yields nothing."""

    __slots__ = ("_span",)

    def __init__(self, span: native.Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._span.__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        return self._span.__exit__(exc_type, exc, traceback)

    def __call__(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        return self._span(function)


CORRELATION_HEADER = _context.CORRELATION_HEADER
new_correlation_id = _context.new_correlation_id
set_correlation_id = _context.set_correlation_id
reset_correlation_id = _context.reset_correlation_id
get_correlation_id = _context.get_correlation_id

__all__ = [
    "CORRELATION_HEADER",
    "GrpcBackend",
    "StderrBackend",
    "TelemetryBackend",
    "TelemetryStream",
    "emit",
    "get_backend",
    "get_correlation_id",
    "is_enabled",
    "new_correlation_id",
    "reset_correlation_id",
    "set_backend",
    "set_correlation_id",
    "span",
]
