"""`TELEMETRY_BACKEND=grpc`: the stream of the process, which interceptors carry without being told."""

from __future__ import annotations

from typing import Any

import pytest


def test_events_wait_in_the_stream_of_the_process(python: Any) -> None:
    result = python(
        """
        import telemetry_py as telemetry
        from telemetry_py.grpc_interceptor import SyncTelemetryInterceptor, TelemetryInterceptor

        for n in range(5):
            telemetry.emit("apps.work", {"n": n})
        backend = telemetry.get_backend()
        assert isinstance(backend, telemetry.GrpcBackend), backend
        assert backend.stream is TelemetryInterceptor().stream is SyncTelemetryInterceptor().stream
        stats = backend.stream.stats()
        assert (stats["queued"], stats["dropped"]) == (3, {"queue_full": 2}), stats
        """,
        TELEMETRY_BACKEND="grpc",
        TELEMETRY_MAX_BUFFER="3",
    )
    if "TELEMETRY_BACKEND=\"grpc\" is not allowed" in result.stderr:
        pytest.skip("the word is not known here yet")
    assert result.returncode == 0, result.stderr
