"""Requests that go out, by httpx, requests and aiohttp: they carry the trace and the correlation id.

    import telemetry_py as telemetry
    from telemetry_py.http_client import instrument_http, uninstrument_http

    telemetry.start()
    instrument_http(spans=True)       # all clients of this process, of the libraries that are installed

    uninstrument_http()

One client at a time: ``instrument_httpx(client)``, ``instrument_requests(session)``, and for aiohttp
``ClientSession(trace_configs=[aiohttp_trace_config()])``. A request gets ``traceparent`` and
``x-snakepit-correlation-id`` as far as there are any, and keeps those that the program gave it; one that is
sent again gets those of then. With ``spans`` it is a span ``http.client`` with ``method``, ``host`` and
``status_code``, from its start until its response is there: with its body, unless the program asked for a
stream. Redirects are in the span.

``hosts`` names those that are told, ``["example.com", ".internal"]``: a leading dot stands for every host
below. Others get no headers, and none by a redirect; by default all do. The ``hosts`` of a client of its own
go before those of all clients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import telemetry_py as telemetry

from ._http_sending import Rules, sending_of

LIBRARIES = ("httpx", "requests", "aiohttp")
"""The libraries that are known here."""

_undo: list[Callable[[], None]] = []
"""What puts the libraries back as they were."""


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
    rules = Rules(spans, hosts)
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

    rules = Rules(spans, hosts)
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
    _instrument(session, _sending, Rules(spans, hosts))


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
    return _trace_config(Rules(spans, hosts))


def _instrument(client: Any, sending: Callable[[Any, Rules], Any], rules: Rules) -> None:
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


def _sending(send: Any, rules: Rules) -> Any:
    """`send` of httpx or requests, bound or not: what it is called with ends in the request."""

    @functools.wraps(send)
    def sending(*args: Any, **kwargs: Any) -> Any:
        request = _request(args, kwargs)
        if request is None or sending in _retired or not telemetry.is_enabled():
            return send(*args, **kwargs)
        begun = sending_of(getattr(send, "__self__", None) or args[0], request, rules)
        if begun is None:
            return send(*args, **kwargs)
        with begun:
            response = send(*args, **kwargs)
            begun.answered(response)
            return response

    return sending


def _sending_async(send: Any, rules: Rules) -> Any:
    """`send` of an asynchronous client of httpx, bound or not."""

    @functools.wraps(send)
    async def sending(*args: Any, **kwargs: Any) -> Any:
        request = _request(args, kwargs)
        if request is None or sending in _retired or not telemetry.is_enabled():
            return await send(*args, **kwargs)
        begun = sending_of(getattr(send, "__self__", None) or args[0], request, rules)
        if begun is None:
            return await send(*args, **kwargs)
        with begun:
            response = await send(*args, **kwargs)
            begun.answered(response)
            return response

    return sending


def _request(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The request among the arguments of `send`, after the client if that is one of them."""
    found = kwargs.get("request")
    return next((given for given in args[:2] if hasattr(given, "method")), None) if found is None else found


def _with_trace_config(init: Any, rules: Rules) -> Any:
    """`ClientSession.__init__` that adds ours to the trace configurations of a session."""

    @functools.wraps(init)
    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        if initialize not in _retired:
            kwargs["trace_configs"] = [*(kwargs.get("trace_configs") or ()), _trace_config(rules)]
        init(self, *args, **kwargs)

    return initialize


def _trace_config(rules: Rules) -> Any:
    """The callbacks run in the task of the request, so what they enter is current in it."""
    import aiohttp

    async def start(_session: Any, context: Any, params: Any) -> None:
        context.span = None
        context.written = None
        if not telemetry.is_enabled():
            return
        host = (params.url.host or "").lower()
        context.span = rules.span(params.method, host)
        if context.span is not None:
            context.span.__enter__()
        context.written = set()
        rules.tell(host, params.headers, context.written)

    async def redirect(_session: Any, context: Any, params: Any) -> None:
        # The headers are those that the next request is made of.
        if context.written is not None:
            rules.tell(_redirected_to(params), params.headers, context.written)

    async def end(_session: Any, context: Any, params: Any) -> None:
        if context.span is not None:
            context.span.set(status_code=str(params.response.status))
            context.span.__exit__(None, None, None)

    async def fail(_session: Any, context: Any, params: Any) -> None:
        if context.span is not None:
            context.span.__exit__(type(params.exception), params.exception, None)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    config.on_request_redirect.append(redirect)
    config.on_request_end.append(end)
    config.on_request_exception.append(fail)
    return config


def _redirected_to(params: Any) -> str:
    """The host that a response sends aiohttp to; one that cannot be told is no host that anybody has named."""
    from yarl import URL

    try:
        headers = params.response.headers
        target = params.url.join(URL(headers.get("Location") or headers["URI"]))
        return (target.host or "").lower()
    except Exception:
        # No URL, and aiohttp will say so.
        return ""


__all__ = [
    "aiohttp_trace_config",
    "instrument_http",
    "instrument_httpx",
    "instrument_requests",
    "uninstrument_http",
]
