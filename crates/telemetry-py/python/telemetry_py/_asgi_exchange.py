"""One request or websocket of an ASGI application: watches its messages to know when its span ends.

A message that cannot be understood goes on as it is: whoever gets it will say so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import telemetry_py as telemetry

from ._http_server import OPERATION, ROUTE, SPAN, answered, method, route_of_starlette, template

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Route = Callable[[Scope], "str | None"]

_INTERNAL_ERROR = 1011
"""The code that a websocket is closed with for an exception, which comes after it."""


class Exchange:
    """What both kinds have in common: a span that ends once, and what it is told at its end."""

    __slots__ = ("_disconnected", "_ended", "_headers", "_receive", "_root", "_route", "_scope", "_send", "_status", "span")

    def __init__(self, scope: Scope, receive: Receive, send: Send, route: Route | None) -> None:
        self.span = telemetry.span(OPERATION, {"method": self._method(scope)})
        self._scope = scope
        self._receive = receive
        self._send = send
        self._route = route
        root = scope.get("root_path")
        self._root = root if type(root) is str else ""
        self._headers: list[tuple[bytes, bytes]] = []
        self._status: int | None = None
        self._disconnected = False
        self._ended = False

    def begin(self, response_headers: bool) -> None:
        """Starts the span, as the current one of this task."""
        self.span.__enter__()
        self._scope[SPAN] = self.span
        if response_headers:
            self._headers = [(name.encode(), value.encode()) for name, value in answered()]

    def end(self, error: BaseException | None) -> None:
        """Ends the span, if nothing has before."""
        if self._ended:
            return
        self._ended = True
        try:
            self._describe(error)
        except Exception:
            # The scope holds what does not belong there; its span ends all the same.
            pass
        self.span.__exit__(None if error is None else type(error), error, None)

    def _describe(self, error: BaseException | None) -> None:
        """Tells the span what became of the request."""
        if error is None and not self._is_whole():
            self.span.set(reason="disconnected" if self._disconnected else "incomplete")
        status = self._status
        if status is None and isinstance(error, Exception):
            status = 500  # What servers answer then.
        if status is not None:
            self.span.set(status_code=str(status))
        self.span.set(route=self._template())

    async def receive(self) -> Message:
        """What the application calls to receive."""
        message = await self._receive()
        try:
            self._has_received(message)
        except Exception:
            pass
        return message

    async def send(self, message: Message) -> None:
        """What the application calls to send."""
        try:
            told = self._sends(message)
        except Exception:
            told = message
        await self._send(told)
        try:
            self._has_sent(told)
        except Exception:
            pass

    def _has_received(self, message: Message) -> None:
        """A message for the application."""
        raise NotImplementedError

    def _sends(self, message: Message) -> Message:
        """A message of the application, before it goes out; returns what goes out."""
        raise NotImplementedError

    def _has_sent(self, message: Message) -> None:
        """It has gone out."""
        raise NotImplementedError

    def _method(self, scope: Scope) -> str:
        raise NotImplementedError

    def _is_whole(self) -> bool:
        """Whether all was sent, if the application ends now."""
        raise NotImplementedError

    def _template(self) -> str:
        told = self._scope.get(ROUTE)
        if self._route is not None:
            try:
                told = self._route(self._scope) or told
            except Exception:
                # The program's own function, and no reason to take its request down.
                pass
        return template(route_of_starlette(self._scope, self._root) or self._scope.get("path_template"), told)

    def _with_headers(self, message: Message) -> Message:
        """The start of a response, with those headers of ours that the application did not set itself."""
        headers = [(bytes(name), bytes(value)) for name, value in message.get("headers") or ()]
        own = {name.lower() for name, _ in headers}
        return {**message, "headers": headers + [header for header in self._headers if header[0] not in own]}


class Http(Exchange):
    """A request: its span ends with the last part of the response.

    Where the status is that of an error of the server, it ends with the application: the exception that
    is behind it comes after the response.
    """

    __slots__ = ("_sent", "_trailers")

    def __init__(self, scope: Scope, receive: Receive, send: Send, route: Route | None) -> None:
        super().__init__(scope, receive, send, route)
        self._sent = False
        self._trailers = False

    def _has_received(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self._disconnected = True

    def _sends(self, message: Message) -> Message:
        if message["type"] != "http.response.start":
            return message
        self._status = int(message["status"])
        self._trailers = bool(message.get("trailers"))
        return self._with_headers(message) if self._headers else message

    def _has_sent(self, message: Message) -> None:
        if self._is_last(message):
            self._sent = True
            if self._status is None or self._status < 500:
                self.end(None)

    def _is_last(self, message: Message) -> bool:
        kind = message["type"]
        if kind == "http.response.trailers":
            return not message.get("more_trailers", False)
        if self._trailers:
            return False
        if kind in ("http.response.body", "http.response.zerocopysend"):
            return not message.get("more_body", False)
        return bool(kind == "http.response.pathsend")

    def _method(self, scope: Scope) -> str:
        return method(scope.get("method"))

    def _is_whole(self) -> bool:
        return self._sent


class Websocket(Exchange):
    """A websocket: its span ends when either side closes it."""

    __slots__ = ("_closed",)

    def __init__(self, scope: Scope, receive: Receive, send: Send, route: Route | None) -> None:
        super().__init__(scope, receive, send, route)
        self._closed = False

    def _has_received(self, message: Message) -> None:
        if message["type"] == "websocket.disconnect":
            self._closed = True
            self.end(None)

    def _sends(self, message: Message) -> Message:
        kind = message["type"]
        if kind == "websocket.accept":
            self._status = 101
        elif kind == "websocket.http.response.start":
            self._status = int(message["status"])
        elif kind == "websocket.close" and self._status is None:
            self._status = 403  # It was never accepted, and servers answer this.
        if self._headers and kind in ("websocket.accept", "websocket.http.response.start"):
            return self._with_headers(message)
        return message

    def _has_sent(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.close" or (kind == "websocket.http.response.body" and not message.get("more_body", False)):
            self._closed = True
            if message.get("code") != _INTERNAL_ERROR:
                self.end(None)

    def _method(self, scope: Scope) -> str:
        return "WEBSOCKET"

    def _is_whole(self) -> bool:
        # A server closes what an application leaves open.
        return True
