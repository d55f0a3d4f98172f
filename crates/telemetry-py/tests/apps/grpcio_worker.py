"""A worker that is a plain grpcio server, without options unless it is given some, and writes messages with Google's protobuf."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent import futures
from types import TracebackType
from urllib.parse import quote

import grpc
from patience import PATIENCE

SERVICE = "snakepit.bridge.BridgeService"


class GrpcioWorker:
    """Serves one stream of what it is told to send."""

    def __init__(self, address: str, options: Sequence[tuple[str, int]] = ()) -> None:
        """Listens at `unix:/path` or `host:port`, where port 0 takes a free one."""
        self._events: queue.Queue[bytes | None] = queue.Queue()
        self._opened = threading.Event()
        self.streams = 0
        """Streams so far."""
        self._server = grpc.server(futures.ThreadPoolExecutor(8), options=list(options))
        # Without serializers bytes go in and out.
        methods = {
            # Field 1 of the request, a text, is field 1 of the answer.
            "Ping": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
            "StreamTelemetry": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
        scheme, unix, path = address.rpartition("unix:")
        # For grpc a path is part of a URI.
        port = self._server.add_insecure_port(f"{scheme}{unix}{quote(path) if unix else path}")
        self.address = address if unix else address.rpartition(":")[0] + f":{port}"
        self._server.start()

    def _stream(self, controls: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.streams += 1
        threading.Thread(target=_read_all, args=(controls,), daemon=True).start()
        self._opened.set()
        while (event := self._events.get()) is not None:
            yield event

    def send(self, events: Iterable[bytes]) -> None:
        """Sends encoded events, once there is a stream."""
        assert self._opened.wait(PATIENCE), "no manager opened a stream"
        for event in events:
            self._events.put(event)

    def __enter__(self) -> GrpcioWorker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._events.put(None)
        self._server.stop(1).wait(PATIENCE)


def _read_all(controls: Iterable[bytes]) -> None:
    """Takes what is sent down, until the manager leaves, which grpc calls an error."""
    with contextlib.suppress(grpc.RpcError):
        for _ in controls:
            pass
