"""One request that goes out, with its redirects: which headers of ours it has, and what is sent as part of it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, MutableMapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

import telemetry_py as telemetry

from ._carried import carried
from ._http_server import method as method_name

OPERATION = "http.client"

_WRITTEN = "_telemetry_py_written"
"""The attribute of a request that says what we wrote on it."""

Written = set[tuple[str, str]]
"""Headers that are ours, by name and value: one that the program has changed is the program's."""


def take_back(headers: MutableMapping[str, str], written: Written) -> None:
    """Removes what we wrote."""
    for name, value in written:
        if headers.get(name) == value:
            del headers[name]


class Rules:
    """Which requests are told, and whether they are spans."""

    __slots__ = ("_hosts", "spans")

    def __init__(self, spans: bool, hosts: Iterable[str] | None) -> None:
        if isinstance(hosts, str):
            raise TypeError(f"hosts is a list of names, not the text {hosts!r}")
        self.spans = spans
        self._hosts = None if hosts is None else tuple(host.lower() for host in hosts)

    @property
    def everywhere(self) -> bool:
        """Whether all hosts are told."""
        return self._hosts is None

    def tell(self, host: str, headers: MutableMapping[str, str], written: Written) -> None:
        """Gives a request the headers of now, unless the program gave it its own. Those that we wrote before,
        on a request that is sent again or redirected, go in any case."""
        take_back(headers, written)
        if self._hosts is not None and not any(host == known or (known[:1] == "." and host.endswith(known)) for known in self._hosts):
            return
        for name, value in carried():
            if name not in headers:
                headers[name] = value
                written.add((name, value))

    def span(self, method: object, host: str) -> telemetry.Span | None:
        """The span of a request, if it is to be one."""
        if not self.spans:
            return None
        return telemetry.span(OPERATION, {"method": method_name(method), "host": host})


class Sending:
    """A client of httpx or requests that is sending in this context. What it sends meanwhile is part of that:
    requests sends each redirect by the method that sent the first, and a client of its own may be one of all
    clients."""

    __slots__ = ("_client", "_over", "_request", "_rules", "_span", "_token", "_written")

    def __init__(self, client: Any, request: Any, rules: Rules, written: Written, span: telemetry.Span | None) -> None:
        self._client = client
        self._request = request
        self._rules = rules
        self._written = written
        self._span = span
        self._over = False
        self._token: Token[Sending | None] | None = None

    def tell(self, request: Any) -> None:
        """Gives one of the requests of this sending the headers of now."""
        try:
            self._rules.tell(host_of(request), request.headers, self._written)
        except Exception:
            # No headers, or some that cannot be written: the library says what it thinks of that.
            pass
        self._mark(request)

    def answered(self, response: Any) -> None:
        """The response is there. Its requests may be sent again, each under another span."""
        if self._span is not None:
            self._span.set(status_code=str(response.status_code))
        for answer in (response, *(getattr(response, "history", None) or ())):
            for name in ("request", "next", "next_request"):
                try:
                    request = getattr(answer, name, None)
                except Exception:
                    # httpx raises where a response belongs to no request.
                    continue
                if hasattr(request, "headers"):
                    self._mark(request)

    def __enter__(self) -> Sending:
        self._token = _current.set(self)
        if self._span is not None:
            self._span.__enter__()
        self.tell(self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A context that was left while sending, or that a task took along, still names this one.
        self._over = True
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)
        if self._token is not None:
            try:
                _current.reset(self._token)
            except ValueError:
                # The request ends in another context than it began in: nothing is to be put back here.
                pass

    def _mark(self, request: Any) -> None:
        try:
            setattr(request, _WRITTEN, self._written)
        except (AttributeError, TypeError):
            # Somebody's own kind of request, that takes no attributes, keeps what it has.
            pass

    def of(self, client: Any) -> bool:
        """Whether it is this client that is sending, now."""
        return self._client is client and not self._over

    def inside(self, request: Any, rules: Rules) -> Sending | None:
        """A request that is part of this one: what it is sent in if it is a span of its own, for there was none."""
        span = None if self._span is not None else rules.span(request.method, host_of(request))
        if span is None:
            self.tell(request)
            return None
        return Sending(self._client, request, self._rules, self._written, span)


_current: ContextVar[Sending | None] = ContextVar("telemetry_http_client", default=None)


def sending_of(client: Any, request: Any, rules: Rules) -> Sending | None:
    """What a request is to be sent in; none if it is part of what this client is sending already."""
    outer = _current.get()
    if outer is not None and outer.of(client):
        return outer.inside(request, rules)
    if not rules.everywhere and hasattr(client, "event_hooks"):
        _watch_redirects(client)
    earlier: Written | None = getattr(request, _WRITTEN, None)
    if earlier and request.headers:
        take_back(request.headers, earlier)
    return Sending(client, request, rules, set(), rules.span(request.method, host_of(request)))


def host_of(request: Any) -> str:
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


class _Redirects:
    """An event hook of a client of httpx, which calls it with each request of a sending."""

    def __init__(self, client: Any) -> None:
        # The client holds its hooks.
        self._client = weakref.ref(client)

    def __call__(self, request: Any) -> Any:
        current = _current.get()
        if current is not None and current.of(self._client()):
            current.tell(request)


class _AsyncRedirects(_Redirects):
    async def __call__(self, request: Any) -> None:
        super().__call__(request)


def _watch_redirects(client: Any) -> None:
    import httpx

    hooks = client.event_hooks["request"]
    if not any(isinstance(hook, _Redirects) for hook in hooks):
        kind = _AsyncRedirects if isinstance(client, httpx.AsyncClient) else _Redirects
        # Another list, for a request of this client may be going through the old one.
        client.event_hooks["request"] = [kind(client), *hooks]
