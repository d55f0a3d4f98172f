"""HTTP requests of a WSGI application as spans.

    import telemetry_py as telemetry
    from telemetry_py.wsgi import TelemetryMiddleware

    telemetry.start()

    def hello(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    app = TelemetryMiddleware(hello, exclude=["/healthz"])

With Flask it is ``app.wsgi_app = TelemetryMiddleware(app.wsgi_app)``; with Django the middleware goes around
``get_wsgi_application()``, and ``telemetry_py.django.RouteMiddleware`` into ``MIDDLEWARE``. Each request is a
span ``http.server`` with ``method``, ``route`` and ``status_code``, under the trace and the correlation id of
its caller. It ends when the server closes the response. While telemetry is off, the application is called as
if nothing were around it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import telemetry_py as telemetry

from ._http_server import OPERATION, ROUTE, SPAN, answered, is_below, method, prefixes, template
from ._request import Request

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class TelemetryMiddleware:
    """A WSGI application around another one; see the module.

    * ``exclude``: prefixes of paths that make no span, as of health checks.
    * ``route``: called with the environ when the response ends, for the template of the route. Without it
      that of Flask is found, and ``environ["telemetry_py.route"]``; where there is none the route is
      ``unknown``, never the path.
    * ``response_headers``: whether the response tells ``traceparent`` and the correlation id.
    * ``trust_caller``: whether the ids that the request brings are taken.

    Example::

        from flask import Flask
        from telemetry_py.wsgi import TelemetryMiddleware

        app = Flask("shop")
        app.wsgi_app = TelemetryMiddleware(app.wsgi_app, exclude=["/healthz"])

        @app.get("/items/<int:number>")
        def item(number):
            return str(number)

        app.test_client().get("/items/7").close()
        assert memory.events[-1].metadata["route"] == "/items/<int:number>"
    """

    def __init__(
        self,
        app: Application,
        *,
        exclude: Iterable[str] = (),
        route: Callable[[Environ], str | None] | None = None,
        response_headers: bool = True,
        trust_caller: bool = True,
    ) -> None:
        if route is not None and not callable(route):
            raise TypeError(f"route is a function of the environ, not {type(route).__name__}")
        self.app = app
        self._exclude = prefixes(exclude)
        self._route = route
        self._response_headers = response_headers
        self._trust_caller = trust_caller

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if SPAN in environ or not telemetry.is_enabled() or is_below(environ.get("PATH_INFO", ""), self._exclude):
            return self.app(environ, start_response)
        if "flask" in sys.modules:
            from ._flask import listen

            listen()
        exchange = _Exchange(self, environ, start_response)
        try:
            body = exchange.request.run(self.app, environ, exchange.start_response)
        except BaseException as error:
            exchange.end(error)
            raise
        return exchange.body(body)

    def template(self, environ: Environ) -> str:
        """The template of the route of a request that was served."""
        told = environ.get(ROUTE)
        if self._route is not None:
            try:
                told = self._route(environ) or told
            except Exception:
                # The program's own function, and no reason to take its request down.
                pass
        return template(None, told)


class _Exchange:
    """One request: what is known of its response, and its span."""

    __slots__ = ("_environ", "_file", "_headers", "_middleware", "_start_response", "_status", "_wrapper", "request")

    def __init__(self, middleware: TelemetryMiddleware, environ: Environ, start_response: StartResponse) -> None:
        self._middleware = middleware
        self._environ = environ
        self._start_response = start_response
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._file: object = None
        wrapper: Any = environ.get("wsgi.file_wrapper")
        self._wrapper: Any = wrapper if callable(wrapper) else None
        if self._wrapper is not None and not issubclass(type(wrapper), type):
            environ["wsgi.file_wrapper"] = self.wrap_file
        carrier = environ if middleware._trust_caller else None
        new_id = carrier is None or "HTTP_TRACEPARENT" not in environ
        self.request = Request(carrier, OPERATION, {"method": method(environ.get("REQUEST_METHOD"))}, new_id=new_id)
        environ[SPAN] = self.request.span
        if middleware._response_headers:
            self._headers = self.request.run(answered)

    @property
    def is_head(self) -> bool:
        """Whether nobody asked for the body."""
        return method(self._environ.get("REQUEST_METHOD")) == "HEAD"

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """What the application calls to begin its response."""
        try:
            headers = self._begins(status, headers, exc_info)
        except Exception:
            # Something is not what it has to be, and the server will say so.
            pass
        try:
            if exc_info is None:
                return self._start_response(status, headers)
            return self._start_response(status, headers, exc_info)
        finally:
            exc_info = None  # As everybody who holds a traceback should.

    def _begins(self, status: str, headers: list[tuple[str, str]], exc_info: Any) -> list[tuple[str, str]]:
        """Takes down what the response begins with; returns the headers that go out."""
        self._status = status[:3]
        if exc_info is not None:
            self.request.span.record_exception(exc_info[1])
        own = {name.lower() for name, _ in headers} if self._headers else set()
        return [*headers, *(header for header in self._headers if header[0] not in own)]

    def wrap_file(self, file: Any, *size: int) -> Any:
        """`wsgi.file_wrapper` of a server that has a function for it, and knows the file again by itself."""
        self._file = self._wrapper(file, *size)
        return self._file

    def body(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """What the server is given: the application's body, whose end ends the span."""
        if (body is not None and body is self._file) or (issubclass(type(self._wrapper), type) and issubclass(type(body), self._wrapper)):
            # The server sends the file by itself if it gets what it knows.
            self._end_with(body)
            return body
        return (_SizedBody if _has_length(body) else _Body)(self, body)

    def _end_with(self, file: Any) -> None:
        """Ends the span when a file is closed, or now if that cannot be known."""
        try:
            close = getattr(file, "close", None)
        except Exception:
            # The server will find out.
            return self.end(None)

        def closed() -> None:
            try:
                if close is not None:
                    close()
            finally:
                self.end(None)

        try:
            file.close = closed
        except Exception:
            self.end(None)

    def end(self, error: BaseException | None, *, whole: bool = True) -> None:
        """Ends the span, if nothing has before."""
        if self.request.has_ended:
            return
        try:
            self._describe(error, whole)
        except Exception:
            # The environ holds what does not belong there; the span ends all the same.
            pass
        self.request.end(error)

    def _describe(self, error: BaseException | None, whole: bool) -> None:
        """Tells the span what became of the request."""
        span = self.request.span
        status = self._status or ("500" if isinstance(error, Exception) else "")
        if status:
            span.set(status_code=status)
        if not whole and error is None:
            span.set(reason="disconnected")
        span.set(route=self._middleware.template(self._environ))


class _Body:
    """The body of a response; a server iterates over it, and closes it however far it came."""

    __slots__ = ("_body", "_exchange", "_is_whole", "_parts")

    def __init__(self, exchange: _Exchange, body: Iterable[bytes]) -> None:
        self._exchange = exchange
        self._body = body
        self._parts: Iterator[bytes] | None = None
        # What is there at once, or is not asked for, is not cut off when a server stops reading it.
        self._is_whole = _has_length(body) or exchange.is_head

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        exchange = self._exchange
        try:
            if self._parts is None:
                self._parts = exchange.request.run(iter, self._body)
            return exchange.request.run(next, self._parts)
        except StopIteration:
            self._is_whole = True
            raise
        except BaseException as error:
            exchange.end(error)
            raise

    def close(self) -> None:
        """Closes the application's body, which may raise, and ends the span."""
        exchange = self._exchange
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                exchange.request.run(close)
        except BaseException as error:
            exchange.end(error)
            raise
        exchange.end(None, whole=self._is_whole)

    def __del__(self) -> None:
        # For a server that does not close what it was given.
        self._exchange.end(None, whole=self._is_whole)


class _SizedBody(_Body):
    """A body that knows its length; servers ask for it, to send a length of one part."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


def _has_length(body: object) -> bool:
    """Whether a body knows its length; code of its class may run, and that may fail."""
    try:
        return hasattr(type(body), "__len__")
    except Exception:
        return False


__all__ = ["TelemetryMiddleware"]
