"""Traces across processes: what a request, a task or a child takes along, and how it is taken up there.

The formats are those of W3C: ``traceparent``, ``tracestate``, ``baggage``; the correlation id travels as
``x-snakepit-correlation-id``, and in an environment as ``correlation_id`` of the baggage.
"""

from __future__ import annotations

from itertools import islice

from ._blocks import Blocks
from ._context import CORRELATION_HEADER
from ._loader import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping
    from types import TracebackType
    from typing import Any, ParamSpec, TypeVar

    _P = ParamSpec("_P")
    _R = TypeVar("_R")
    _Carrier = TypeVar("_Carrier", bound=MutableMapping[str, str] | list[tuple[str, str]])

_TRACE = ("traceparent", "tracestate", "baggage")
_NAMES = (CORRELATION_HEADER, *_TRACE)
_BAGGAGE_KEY = "correlation_id"

_MAX_BYTES = 8192
"""Longest header that is read; the standard asks for no more of ``baggage``, and of the others for less."""


_MAX_PAIRS = 10_000
"""Pairs of a carrier that are looked at; of an iterator there may be no end."""


class extract:
    """Run a block for a caller: its spans are the caller's children, its events carry its ids.

    Example::

        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        with telemetry.extract(headers), telemetry.span("tool.execution") as span:
            assert span.trace_id == "0af7651916cd43dd8448eb211c80319c"
            assert span.parent_span_id == "b7ad6b7169203331"

    ``carrier`` is a mapping, whose keys may be of any case, pairs of texts or bytes as ASGI and gRPC have
    them, a WSGI ``environ`` or an environment. What is not well formed is ignored. Never raises.
    """

    __slots__ = ("_found", "_scopes")

    def __init__(self, carrier: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None) -> None:
        self._found = _read(carrier)
        self._scopes = Blocks()

    @property
    def correlation_id(self) -> str | None:
        """The caller's correlation id; ``None`` if it sent none."""
        return self._found.get(CORRELATION_HEADER) or _of_baggage(self._found.get("baggage", ""))

    def __enter__(self) -> extract:
        scope = native.Scope(self.correlation_id, *(self._found.get(name) for name in _TRACE))
        scope.enter()
        self._scopes.begin(scope)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        scope = self._scopes.end()
        if scope is not None:
            scope.leave()


def begin_under_environment(environ: Mapping[str, str]) -> None:
    """Make what the parent process wrote with :func:`outgoing_environ` that which all of this process belongs
    to, in every thread."""
    found = extract({name: environ.get(name, "") for name in ("TRACEPARENT", "TRACESTATE", "BAGGAGE")})
    native.under(native.Scope(found.correlation_id, *(found._found.get(name) for name in _TRACE)))


def inject(carrier: _Carrier) -> _Carrier:
    """Write what a request takes along into its headers: a mapping, or a list of pairs.

    Never raises: what cannot be written to goes out as it is.

    Example::

        with telemetry.span("tool.execution") as span:
            headers = telemetry.inject({"accept": "application/json"})
        assert headers["traceparent"] == f"00-{span.trace_id}-{span.span_id}-01"
    """
    try:
        for name, value in _outgoing().items():
            if isinstance(carrier, list):
                carrier.append((name, value))
            else:
                carrier[name] = value
    except Exception:
        pass
    return carrier


def outgoing_metadata(initial: Iterable[tuple[str, str]] | None = None) -> list[tuple[str, str]]:
    """Metadata for a gRPC call: ``initial``, and what the call takes along.

    Example::

        with telemetry.correlation("order-17"):
            metadata = telemetry.outgoing_metadata([("authorization", "…")])
        assert metadata == [("authorization", "…"), ("x-snakepit-correlation-id", "order-17")]
    """
    return inject(_without(initial or ()))


def outgoing_environ(initial: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment for a child process: ``initial``, by default that of this process, and what the child
    takes along as ``TRACEPARENT``, ``TRACESTATE`` and ``BAGGAGE``.

    Example::

        import subprocess, sys

        program = "import telemetry_py as telemetry; print(telemetry.get_correlation_id())"
        with telemetry.correlation("order-17"):
            child = subprocess.run([sys.executable, "-c", program], env=telemetry.outgoing_environ(), stdout=subprocess.PIPE)
        assert child.stdout == b"order-17\\n"
    """
    if initial is None:
        import os

        initial = os.environ
    environ = {key: value for key, value in initial.items() if key not in ("TRACEPARENT", "TRACESTATE", "BAGGAGE")}
    found = _outgoing()
    correlation_id = found.pop(CORRELATION_HEADER, None)
    if correlation_id:
        from urllib.parse import quote

        members = [member for member in found.get("baggage", "").split(",") if member.strip() and _key(member) != _BAGGAGE_KEY]
        found["baggage"] = ",".join([*members, f"{_BAGGAGE_KEY}={quote(correlation_id, safe='')}"])
    environ.update((name.upper(), value) for name, value in found.items())
    return environ


def wrap_context(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """``function`` in the context of now, for a thread or a callback: its events and spans belong to what is
    done here.

    Example::

        import threading

        with telemetry.correlation("order-17"):
            thread = threading.Thread(target=telemetry.wrap_context(telemetry.emit), args=["tool.result_size"])
        thread.start()
        thread.join()
        assert memory.events[0].correlation_id == "order-17"
    """
    import functools
    from contextvars import copy_context

    context = copy_context()

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        # A context runs once at a time; each call gets a copy, so that several threads may call.
        return context.copy().run(function, *args, **kwargs)

    return call


def _outgoing() -> dict[str, str]:
    """What there is to be taken along, by header."""
    return {name: str(value) for name, value in zip(_NAMES, native.outgoing()) if value}


def _read(carrier: Any) -> dict[str, str]:
    """The headers that matter, by their names."""
    found: dict[str, str] = {}
    try:
        pairs = carrier.items() if hasattr(carrier, "items") else carrier or ()
        for pair in islice(pairs, _MAX_PAIRS):
            _take(found, pair)
    except Exception:
        pass
    return found


def _take(found: dict[str, str], pair: Any) -> None:
    """Adds one header, if it is one that matters and is well formed."""
    try:
        key, value = pair
        name = _text(key).lower().replace("_", "-")
        name = name[5:] if name.startswith("http-") else name
        if name in _NAMES and name not in found:
            text = _text(value).strip()
            # An environment may hold bytes that are no text; they would not get through as a header either.
            if text and len(text.encode()) <= _MAX_BYTES:
                found[name] = text
    except Exception:
        pass


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _key(member: str) -> str:
    return member.partition("=")[0].strip()


def _of_baggage(baggage: str) -> str | None:
    for member in baggage.split(","):
        if _key(member) == _BAGGAGE_KEY:
            from urllib.parse import unquote

            return unquote(member.partition("=")[2].partition(";")[0].strip()) or None
    return None


def _without(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs that are not ours to write. What is no pair stays, for gRPC to say so."""
    taken = {name for name, _ in zip(_NAMES, native.outgoing()) if _}
    return [pair for pair in list(pairs) if _name_of(pair) not in taken]


def _name_of(pair: Any) -> str:
    """The name of a header, in lower case; empty of what has none."""
    try:
        return _text(pair[0]).lower()
    except Exception:
        return ""


__all__ = ["extract", "inject", "outgoing_environ", "outgoing_metadata", "wrap_context"]
