"""Calls of gRPC: what goes out carries the trace and the correlation id, what comes in is a span under them.

    from concurrent.futures import ThreadPoolExecutor
    import grpc
    import telemetry_py as telemetry
    from telemetry_py.grpc_context import TelemetryClientInterceptor, SpanInterceptor

    telemetry.start()
    server = grpc.server(ThreadPoolExecutor(), interceptors=[SpanInterceptor()])
    port = server.add_insecure_port("127.0.0.1:0")

    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    channel = grpc.intercept_channel(channel, TelemetryClientInterceptor())
    channel.close()

With ``grpc.aio`` they are ``grpc.aio.server(interceptors=[AioSpanInterceptor()])`` and
``grpc.aio.insecure_channel(address, interceptors=aio_client_interceptors())``.

A call that is served is a span ``python.call`` with ``command``, the method without its first slash, and
``result``, the name of its status. One that raised or was aborted is an exception, with the status as
``error_category``; one that its client has given up is ``RpcCancelled``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import namedtuple
from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio

import telemetry_py as telemetry

from ._carried import fits
from ._grpc_serving import asynchronous, synchronous

OWN_METHOD = "/snakepit.bridge.BridgeService/StreamTelemetry"
"""The method by which telemetry itself leaves: a call that lasts as long as the process."""


class _ServerInterceptor:
    """Which methods are spans, and how a handler becomes one that makes them."""

    def __init__(self, *, exclude: Iterable[str] = ()) -> None:
        """``exclude`` holds beginnings of methods that make no span, ``/grpc.health.v1.Health/`` say."""
        if isinstance(exclude, str):
            raise TypeError(f"exclude is a list of beginnings of methods, not the text {exclude!r}")
        self._exclude = (OWN_METHOD, *exclude)

    def _handler(self, handler: Any, details: Any, task: asyncio.Task[Any] | None = None) -> Any:
        """A handler around `handler`, which is `None` if nobody serves the method; `task` is that of the call,
        where it has one."""
        if handler is None or not telemetry.is_enabled():
            return handler
        try:
            return self._around(handler, details, task)
        except Exception:
            # Other interceptors may have left anything; the call is served without a span.
            return handler

    def _around(self, handler: Any, details: Any, task: asyncio.Task[Any] | None) -> Any:
        method = details.method
        method = method.decode(errors="replace") if isinstance(method, bytes) else method
        if method.startswith(self._exclude):
            return handler
        kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
        behaviour = getattr(handler, kind)
        is_async = inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)
        # What is asynchronous is served asynchronously, and only that: the server looks at the function.
        call = (behaviour, details.invocation_metadata or (), method.removeprefix("/"), handler.response_streaming)
        around = asynchronous(*call) if is_async else synchronous(*call, task)
        return getattr(grpc, f"{kind}_rpc_method_handler")(around, handler.request_deserializer, handler.response_serializer)


class SpanInterceptor(_ServerInterceptor, grpc.ServerInterceptor):
    """For ``grpc.server(..., interceptors=[SpanInterceptor()])``.

    Example::

        from concurrent.futures import ThreadPoolExecutor
        import grpc
        from telemetry_py.grpc_context import SpanInterceptor

        server = grpc.server(ThreadPoolExecutor(), interceptors=[SpanInterceptor(exclude=["/grpc.health.v1.Health/"])])
    """

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Called by gRPC when a call comes in."""
        return self._handler(continuation(handler_call_details), handler_call_details)


class AioSpanInterceptor(_ServerInterceptor, grpc.aio.ServerInterceptor):
    """For ``grpc.aio.server(interceptors=[AioSpanInterceptor()])``; its handlers may be of both kinds.

    Example::

        import asyncio
        import grpc
        from telemetry_py.grpc_context import AioSpanInterceptor

        async def main():
            server = grpc.aio.server(interceptors=[AioSpanInterceptor()])
            await server.stop(None)

        asyncio.run(main())
    """

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Called by gRPC when a call comes in."""
        return self._handler(await continuation(handler_call_details), handler_call_details, asyncio.current_task())


class _Details(
    namedtuple("_Details", "method timeout metadata credentials wait_for_ready compression"), grpc.ClientCallDetails
):
    """What a call is made with; gRPC's own has no constructor."""


class TelemetryClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """For ``grpc.intercept_channel(channel, TelemetryClientInterceptor())``.

    Example::

        import grpc
        from telemetry_py.grpc_context import TelemetryClientInterceptor

        channel = grpc.intercept_channel(grpc.insecure_channel("127.0.0.1:50051"), TelemetryClientInterceptor())
    """

    def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        told = _Details(
            details.method,
            details.timeout,
            _metadata(details.metadata),
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )
        return continuation(told, request)

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Called by gRPC when a call is made."""
        return self._call(continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Called by gRPC when a call is made."""
        return self._call(continuation, client_call_details, request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Called by gRPC when a call is made."""
        return self._call(continuation, client_call_details, request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Called by gRPC when a call is made."""
        return self._call(continuation, client_call_details, request_iterator)


def aio_client_interceptors() -> list[Any]:
    """Interceptors for ``grpc.aio.insecure_channel(address, interceptors=...)``.

    There is one for each kind of call: gRPC takes one that is of several kinds for one of the first only.

    Example::

        import asyncio
        import grpc
        from telemetry_py.grpc_context import aio_client_interceptors

        async def main():
            async with grpc.aio.insecure_channel("127.0.0.1:50051", interceptors=aio_client_interceptors()):
                pass

        asyncio.run(main())
    """
    return [_AioUnaryUnary(), _AioUnaryStream(), _AioStreamUnary(), _AioStreamStream()]


async def _aio_call(_self: object, continuation: Any, details: Any, request: Any) -> Any:
    metadata = _metadata(details.metadata)
    if isinstance(metadata, list):
        details = details._replace(metadata=grpc.aio.Metadata(*metadata))
    return await continuation(details, request)


class _AioUnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary = _aio_call


class _AioUnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream = _aio_call


class _AioStreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _aio_call


class _AioStreamStream(grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _aio_call


def _metadata(given: Any) -> Any:
    """A call's metadata with ours, but for what it has already; what is no metadata as it is, for gRPC to say so."""
    try:
        own = [] if given is None else list(given)
    except Exception:
        return given
    try:
        names = {name for name, _ in own}
        return own + [(name, value) for name, value in telemetry.outgoing_metadata() if name not in names and fits(value)]
    except Exception:
        return own


__all__ = ["AioSpanInterceptor", "SpanInterceptor", "TelemetryClientInterceptor", "aio_client_interceptors"]
