"""Requests that go out, by httpx, requests and aiohttp: they carry the trace and the correlation id.

    import telemetry_py as telemetry
    from telemetry_py.http_client import instrument_http, uninstrument_http

    telemetry.start()
    instrument_http(spans=True)       # all clients of this process, of the libraries that are installed

    uninstrument_http()

One client at a time: ``instrument_httpx(client)``, ``instrument_requests(session)``, and for aiohttp
``ClientSession(trace_configs=[aiohttp_trace_config()])``. A request gets ``traceparent`` and
``x-snakepit-correlation-id`` as far as there are any, and keeps those that it has already. With ``spans``
it is a span ``http.client`` with ``method``, ``host`` and ``status_code``, from its start until its response
is there: with its body, unless the program asked for a stream. Redirects are in the span.

``hosts`` names those that are told, ``["example.com", ".internal"]``: a leading dot stands for every host
below. Others get no headers; by default all do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, MutableMapping
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import telemetry_py as telemetry

from ._carried import carried
from ._http_server import method as method_name

OPERATION = "http.client"

LIBRARIES = ("httpx", "requests", "aiohttp")
"""The libraries that are known here."""

_sender: ContextVar[object] = ContextVar("telemetry_http_client", default=None)
"""The client that is sending in this context. What it sends meanwhile is part of that: requests sends each
redirect by the method that sent the first, and a client of its own may be one of all clients."""

_undo: list[Callable[[], None]] = []
"""What puts the libraries back as they were."""


class _Rules:
    """Which requests are told, and whether they are spans."""

    __slots__ = ("_hosts", "spans")

    def __init__(self, spans: bool, hosts: Iterable[str] | None) -> None:
        if isinstance(hosts, str):
            raise TypeError(f"hosts is a list of names, not the text {hosts!r}")
        self.spans = spans
        self._hosts = None if hosts is None else tuple(host.lower() for host in hosts)

    def tell(self, host: str, headers: MutableMapping[str, str]) -> None:
        """Adds our headers to those of a request, unless it has them."""
        if self._hosts is not None and not any(host == known or (known[:1] == "." and host.endswith(known)) for known in self._hosts):
            return
        for name, value in carried():
            if name not in headers:
                headers[name] = value

    def span(self, method: object, host: str) -> telemetry.Span | None:
        """The span of a request, if it is to be one."""
        if not self.spans:
            return None
        return telemetry.span(OPERATION, {"method": method_name(method), "host": host})


def instrument_http(
    *, spans: bool = False, hosts: Iterable[str] | None = None, libraries: Iterable[str] | None = None
) -> None:
    """Has every request of this process carry its ids, also of clients that exist already, but for those of
    aiohttp.

    ``libraries`` are ``httpx``, ``requests`` and ``aiohttp``, by default those of them that are installed;
    one that is not raises ``ImportError``. A second call replaces the first; :func:`uninstrument_http`
    takes it back.

    Example::

        from telemetry_py.http_client import instrument_http

        instrument_http(spans=True, hosts=["api.example.com", ".internal"])
    """
    rules = _Rules(spans, hosts)
    if isinstance(libraries, str):
        raise TypeError(f"libraries is a list of names, not the text {libraries!r}")
    wanted = [name for name in LIBRARIES if find_spec(name)] if libraries is None else list(libraries)
    for name in wanted:
        if name not in LIBRARIES:
            raise ValueError(f"libraries holds {name!r}; known are {', '.join(LIBRARIES)}")
    modules = {name: import_module(name) for name in wanted}
    uninstrument_http()
    for name, module in modules.items():
        if name == "httpx":
            _replace(module.Client, "send", _sending(module.Client.send, rules))
            _replace(module.AsyncClient, "send", _sending_async(module.AsyncClient.send, rules))
        elif name == "requests":
            _replace(module.Session, "send", _sending(module.Session.send, rules))
        else:
            _replace(module.ClientSession, "__init__", _with_trace_config(module.ClientSession.__init__, rules))


def uninstrument_http() -> None:
    """Puts the libraries back as they were before :func:`instrument_http`.

    Example::

        from telemetry_py.http_client import instrument_http, uninstrument_http

        instrument_http()
        uninstrument_http()
    """
    while _undo:
        _undo.pop()()


def instrument_httpx(client: Any, *, spans: bool = False, hosts: Iterable[str] | None = None) -> None:
    """Has the requests of one ``httpx.Client`` or ``httpx.AsyncClient`` carry the ids.

    Example::

        import httpx
        from telemetry_py.http_client import instrument_httpx

        client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200, json=dict(request.headers))))
        instrument_httpx(client)
        with telemetry.correlation("order-17"):
            sent = client.get("http://shop.internal/").json()
        assert sent["x-snakepit-correlation-id"] == "order-17"
    """
    import httpx

    rules = _Rules(spans, hosts)
    if isinstance(client, httpx.AsyncClient):
        _instrument(client, _sending_async, rules)
    elif isinstance(client, httpx.Client):
        _instrument(client, _sending, rules)
    else:
        raise TypeError(f"client is a Client or an AsyncClient of httpx, not {type(client).__name__}")


def instrument_requests(session: Any, *, spans: bool = False, hosts: Iterable[str] | None = None) -> None:
    """Has the requests of one ``requests.Session`` carry the ids.

    Example::

        import requests
        from telemetry_py.http_client import instrument_requests

        session = requests.Session()
        instrument_requests(session, spans=True)
    """
    import requests

    if not isinstance(session, requests.Session):
        raise TypeError(f"session is a Session of requests, not {type(session).__name__}")
    _instrument(session, _sending, _Rules(spans, hosts))


def aiohttp_trace_config(*, spans: bool = False, hosts: Iterable[str] | None = None) -> Any:
    """An ``aiohttp.TraceConfig`` by which the requests of a session carry the ids.

    Example::

        import asyncio
        import aiohttp
        from telemetry_py.http_client import aiohttp_trace_config

        async def main():
            async with aiohttp.ClientSession(trace_configs=[aiohttp_trace_config(spans=True)]):
                pass

        asyncio.run(main())
    """
    return _trace_config(_Rules(spans, hosts))


def _instrument(client: Any, sending: Callable[[Any, _Rules], Any], rules: _Rules) -> None:
    """Puts another `send` into one client; the methods of its class all go through it."""
    original = getattr(client.send, "__wrapped__", client.send) if "send" in vars(client) else client.send
    client.send = sending(original, rules)


def _replace(owner: Any, name: str, function: Any) -> None:
    original = getattr(owner, name)
    setattr(owner, name, function)

    def undo() -> None:
        # Whoever replaced it after us keeps what is there now, and that calls ours.
        if getattr(owner, name) is function:
            setattr(owner, name, original)
        else:
            _retired.add(function)

    _undo.append(undo)


_retired: set[Any] = set()
"""Functions of ours that could not be taken out, because somebody else's call them: they only pass on."""


def _sending(send: Any, rules: _Rules) -> Any:
    """`send` of httpx or requests, bound or not: what it is called with ends in the request."""

    @functools.wraps(send)
    def sending(*args: Any, **kwargs: Any) -> Any:
        request = _request(args, kwargs)
        if request is None or sending in _retired or not telemetry.is_enabled():
            return send(*args, **kwargs)
        host = _host(request)
        client = getattr(send, "__self__", None) or args[0]
        span = None if _sender.get() is client else rules.span(request.method, host)
        if span is None:
            rules.tell(host, request.headers)
            return send(*args, **kwargs)
        token = _sender.set(client)
        try:
            with span:
                rules.tell(host, request.headers)
                response = send(*args, **kwargs)
                span.set(status_code=str(response.status_code))
                return response
        finally:
            _sender.reset(token)

    return sending


def _sending_async(send: Any, rules: _Rules) -> Any:
    """`send` of an asynchronous client of httpx, bound or not."""

    @functools.wraps(send)
    async def sending(*args: Any, **kwargs: Any) -> Any:
        request = _request(args, kwargs)
        if request is None or sending in _retired or not telemetry.is_enabled():
            return await send(*args, **kwargs)
        host = _host(request)
        client = getattr(send, "__self__", None) or args[0]
        span = None if _sender.get() is client else rules.span(request.method, host)
        if span is None:
            rules.tell(host, request.headers)
            return await send(*args, **kwargs)
        token = _sender.set(client)
        try:
            with span:
                rules.tell(host, request.headers)
                response = await send(*args, **kwargs)
                span.set(status_code=str(response.status_code))
                return response
        finally:
            _sender.reset(token)

    return sending


def _request(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The request among the arguments of `send`, after the client if that is one of them."""
    found = kwargs.get("request")
    return next((given for given in args[:2] if hasattr(given, "method")), None) if found is None else found


def _host(request: Any) -> str:
    """The host that a request goes to, without its port."""
    try:
        url = request.url
        if isinstance(url, str):
            from urllib.parse import urlsplit

            return (urlsplit(url).hostname or "").lower()
        return str(url.host).lower()
    except Exception:
        # No URL, and the library will say so.
        return ""


def _with_trace_config(init: Any, rules: _Rules) -> Any:
    """`ClientSession.__init__` that adds ours to the trace configurations of a session."""

    @functools.wraps(init)
    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        if initialize not in _retired:
            kwargs["trace_configs"] = [*(kwargs.get("trace_configs") or ()), _trace_config(rules)]
        init(self, *args, **kwargs)

    return initialize


def _trace_config(rules: _Rules) -> Any:
    """The callbacks run in the task of the request, so what they enter is current in it."""
    import aiohttp

    async def start(_session: Any, context: Any, params: Any) -> None:
        context.span = None
        if not telemetry.is_enabled():
            return
        host = (params.url.host or "").lower()
        context.span = rules.span(params.method, host)
        if context.span is not None:
            context.span.__enter__()
        rules.tell(host, params.headers)

    async def end(_session: Any, context: Any, params: Any) -> None:
        if context.span is not None:
            context.span.set(status_code=str(params.response.status))
            context.span.__exit__(None, None, None)

    async def fail(_session: Any, context: Any, params: Any) -> None:
        if context.span is not None:
            context.span.__exit__(type(params.exception), params.exception, None)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    config.on_request_end.append(end)
    config.on_request_exception.append(fail)
    return config


__all__ = [
    "aiohttp_trace_config",
    "instrument_http",
    "instrument_httpx",
    "instrument_requests",
    "uninstrument_http",
]
