"""HTTP requests and websockets of an ASGI application as spans.

    import telemetry_py as telemetry
    from telemetry_py.asgi import TelemetryMiddleware

    telemetry.start()

    async def hello(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    app = TelemetryMiddleware(hello, exclude=["/healthz"])

With Starlette and FastAPI it is ``app.add_middleware(TelemetryMiddleware)``. Each request is a span
``http.server`` with ``method``, ``route`` and ``status_code``. It runs under the trace and the correlation
id of its caller, and ends with the last byte of the response: what runs in the background after it is not
in its duration. While telemetry is off, the application is called as if nothing were around it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

import telemetry_py as telemetry

from ._asgi_exchange import Http, Message, Receive, Scope, Send, Websocket
from ._http_server import SPAN, is_below, prefixes

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_AT_SHUTDOWN = ("flush", "shutdown", "nothing")


class TelemetryMiddleware:
    """An ASGI application around another one; see the module.

    * ``exclude``: prefixes of paths that make no span, as of health checks.
    * ``route``: called with the scope when the response ends, for the template of the route. Without it
      those of Starlette, FastAPI and Litestar are found, and ``scope["telemetry_py.route"]``; where there
      is none the route is ``unknown``, never the path.
    * ``response_headers``: whether the response tells ``traceparent`` and the correlation id.
    * ``trust_caller``: whether the ids that the request brings are taken.
    * ``at_shutdown``: when the lifespan ends, ``flush`` waits a moment until all events are sent,
      ``shutdown`` ends telemetry, so that the server may end the process as it likes, and ``nothing``
      does neither.

    Example::

        from starlette.applications import Starlette
        from starlette.middleware import Middleware
        from telemetry_py.asgi import TelemetryMiddleware

        app = Starlette(middleware=[Middleware(TelemetryMiddleware, exclude=["/healthz"], at_shutdown="shutdown")])
    """

    def __init__(
        self,
        app: Application,
        *,
        exclude: Iterable[str] = (),
        route: Callable[[Scope], str | None] | None = None,
        response_headers: bool = True,
        trust_caller: bool = True,
        at_shutdown: Literal["flush", "shutdown", "nothing"] = "flush",
    ) -> None:
        if at_shutdown not in _AT_SHUTDOWN:
            raise ValueError(f"at_shutdown is {at_shutdown!r}; it is one of {', '.join(_AT_SHUTDOWN)}")
        if route is not None and not callable(route):
            raise TypeError(f"route is a function of the scope, not {type(route).__name__}")
        self.app = app
        self._exclude = prefixes(exclude)
        self._route = route
        self._response_headers = response_headers
        self._trust_caller = trust_caller
        self._at_shutdown = at_shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope.get("type")
        if type(kind) is not str:
            # No request, and the application will say so.
            await self.app(scope, receive, send)
        elif kind == "lifespan":
            await self.app(scope, receive, self._ending(send))
        elif (
            kind not in ("http", "websocket")
            or SPAN in scope
            or not telemetry.is_enabled()
            or is_below(scope.get("path"), self._exclude)
        ):
            await self.app(scope, receive, send)
        elif not self._trust_caller:
            with telemetry.correlation():
                await self._serve(kind, scope, receive, send)
        else:
            headers = scope.get("headers")
            with telemetry.extract(headers):
                if telemetry.get_correlation_id() or _tells_a_trace(headers):
                    await self._serve(kind, scope, receive, send)
                else:
                    with telemetry.correlation():
                        await self._serve(kind, scope, receive, send)

    async def _serve(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request under the ids that are those of the context now."""
        exchange = (Websocket if kind == "websocket" else Http)(scope, receive, send, self._route)
        exchange.begin(self._response_headers)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except BaseException as error:
            exchange.end(error)
            raise
        exchange.end(None)

    def _ending(self, send: Send) -> Send:
        """Does what is to be done when the application has ended its lifespan, before the server knows."""

        async def told(message: Message) -> None:
            if _ends_a_lifespan(message):
                if self._at_shutdown == "flush":
                    telemetry.flush()
                elif self._at_shutdown == "shutdown":
                    telemetry.shutdown()
            await send(message)

        return told


def _tells_a_trace(headers: Any) -> bool:
    """Whether a request says which trace it belongs to."""
    try:
        return any(name.lower() == b"traceparent" for name, _ in headers)
    except Exception:
        return False


def _ends_a_lifespan(message: Any) -> bool:
    """Whether a message of the application is its last."""
    try:
        return message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed")
    except Exception:
        return False


__all__ = ["TelemetryMiddleware"]
