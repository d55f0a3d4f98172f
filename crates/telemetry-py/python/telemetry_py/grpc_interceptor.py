"""Interceptors that have a gRPC server carry telemetry without a word in its servicer.

They answer ``StreamTelemetry`` with encoded messages, whatever the server's own service has for it. No other
call is touched, but for those that ``answers`` names and the server has nobody for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from ._unary import answer_heartbeat, answer_ping
from .stream import TelemetryStream, default_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator

_SERVICE = "/snakepit.bridge.BridgeService/"
_STREAM = _SERVICE + "StreamTelemetry"
_ANSWERS: dict[str, Callable[[bytes], bytes]] = {"Ping": answer_ping, "Heartbeat": answer_heartbeat}


class TelemetryInterceptor(grpc.aio.ServerInterceptor):
    """Carries ``stream``, or the one of this process, in a server of ``grpc.aio``.

    ``answers`` may name ``"Ping"`` and ``"Heartbeat"``, which a manager asks for to see that a worker lives: they
    are answered where the server has no handler for them.

    Example::

        import asyncio
        import grpc
        from telemetry_py.grpc_interceptor import TelemetryInterceptor

        stream = telemetry.TelemetryStream()
        telemetry.set_backend(telemetry.GrpcBackend(stream))

        async def main():
            server = grpc.aio.server(interceptors=[TelemetryInterceptor(stream, answers=["Ping", "Heartbeat"])])
            server.add_insecure_port("127.0.0.1:0")
            await server.start()
            await server.stop(None)

        asyncio.run(main())
    """

    def __init__(self, stream: TelemetryStream | None = None, *, answers: Collection[str] = ()) -> None:
        self.stream: TelemetryStream = default_stream() if stream is None else stream
        self._answers = _named(answers)

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        # Other interceptors may put anything in the place of what gRPC tells.
        method = getattr(handler_call_details, "method", None)
        if type(method) is str and method == _STREAM:
            return grpc.stream_stream_rpc_method_handler(self._carry)
        handler = await continuation(handler_call_details)
        answer = self._answers.get(method) if handler is None and type(method) is str else None
        return handler if answer is None else grpc.unary_unary_rpc_method_handler(_asynchronous(answer))

    async def _carry(self, requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for message in self.stream.stream_raw(requests, context):
            yield message


class SyncTelemetryInterceptor(grpc.ServerInterceptor):
    """The same for a ``grpc.server`` with threads; each open stream takes one of them.

    The interpreter waits for that thread at its end: a program that ends with an open stream must stop its server
    (``server.stop``) or call ``close`` of the stream first, or it stays.

    Example::

        from concurrent.futures import ThreadPoolExecutor
        import grpc
        from telemetry_py.grpc_interceptor import SyncTelemetryInterceptor

        telemetry.set_backend(telemetry.GrpcBackend())
        server = grpc.server(ThreadPoolExecutor(), interceptors=[SyncTelemetryInterceptor()])
    """

    def __init__(self, stream: TelemetryStream | None = None, *, answers: Collection[str] = ()) -> None:
        self.stream: TelemetryStream = default_stream() if stream is None else stream
        self._answers = _named(answers)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        # Other interceptors may put anything in the place of what gRPC tells.
        method = getattr(handler_call_details, "method", None)
        if type(method) is str and method == _STREAM:
            return grpc.stream_stream_rpc_method_handler(self._carry)
        handler = continuation(handler_call_details)
        answer = self._answers.get(method) if handler is None and type(method) is str else None
        return handler if answer is None else grpc.unary_unary_rpc_method_handler(_synchronous(answer))

    def _carry(self, requests: Any, context: Any) -> Iterator[bytes]:
        return self.stream.stream_sync_raw(requests, context)


def _named(answers: Collection[str]) -> dict[str, Callable[[bytes], bytes]]:
    """By method, what answers those that are named."""
    for name in answers:
        if name not in _ANSWERS:
            raise ValueError(f"answers={answers!r} is not allowed; expected some of {', '.join(_ANSWERS)}")
    return {_SERVICE + name: _ANSWERS[name] for name in answers}


def _asynchronous(answer: Callable[[bytes], bytes]) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def handle(request: bytes, context: Any) -> bytes:
        return answer(request)

    return handle


def _synchronous(answer: Callable[[bytes], bytes]) -> Callable[[bytes, Any], bytes]:
    return lambda request, context: answer(request)


__all__ = ["SyncTelemetryInterceptor", "TelemetryInterceptor"]
