"""Telemetry that reaches nobody: a test that sees an event has seen ours."""

from ..otel_tracing import get_correlation_id, set_correlation_id
from .manager import emit, get_backend, is_enabled, set_backend, span

__all__ = ["emit", "get_backend", "get_correlation_id", "is_enabled", "set_backend", "set_correlation_id", "span"]
