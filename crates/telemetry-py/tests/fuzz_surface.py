"""Everything public that can be called, the arguments that fit it, and what it may raise."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import hostile_objects as hostile
import telemetry_py as telemetry
from hostile_objects import Broken
from telemetry_py.compat import snakepit

MODULES = (
    *("telemetry_py", "telemetry_py.backends", "telemetry_py.propagation", "telemetry_py.otel_tracing"),
    *("telemetry_py.logging", "telemetry_py.testing", "telemetry_py.instrumentation", "telemetry_py.stream"),
    *("telemetry_py.http_client", "telemetry_py.grpc_interceptor", "telemetry_py.grpc_context"),
    *("telemetry_py.asgi", "telemetry_py.wsgi", "telemetry_py.compat.snakepit", "snakepit_bridge.telemetry"),
)
"""Where public names are. ``celery`` and ``django`` have tests of their own with these packages."""

_OF_USER = (Broken, RecursionError, MemoryError, OverflowError, StopIteration, AttributeError, Warning)
"""What comes out of a hostile object, and may go on where the program waits for an answer."""

_STRICT = (TypeError, ValueError, RuntimeError, OSError, *_OF_USER)

STRICT: dict[str, tuple[type[BaseException], ...]] = {
    **dict.fromkeys(
        (
            *("configure", "connect", "serve", "set_backend", "flush_on_signal", "CompositeBackend", "GrpcBackend"),
            *("MemoryBackend", "OtelBackend", "StatsdBackend", "StderrBackend", "TelemetryStream", "TelemetryHandler"),
            *("instrument_runtime", "instrument_asyncio", "instrument_http", "instrument_httpx", "instrument_requests"),
            *("aiohttp_trace_config", "TelemetryInterceptor", "SyncTelemetryInterceptor", "SpanInterceptor"),
            *("AioSpanInterceptor", "TelemetryMiddleware", "carried", "Carried", "TelemetryStream.set_filter"),
            *("TelemetryStream.set_sampling", "MemoryEvent", "Capture", "CorrelationFilter"),
        ),
        _STRICT,
    ),
    # Decorators, and what reads what the program would send otherwise.
    **dict.fromkeys(("span", "Span", "instrument", "wrap_context", "Span.__call__", "timed.__call__", "_SilentSpan.__call__"), (TypeError, ValueError, *_OF_USER)),
    **dict.fromkeys(("outgoing_metadata", "outgoing_environ"), (TypeError, ValueError, *_OF_USER)),
    # It calls what the program gave it.
    **dict.fromkeys(("Carried.__call__", "correlation_filter"), _STRICT),
    # It closes what it was given.
    "GrpcBackend.close": _OF_USER,
    # The program's own SDK.
    **dict.fromkeys(("get_tracer", "otel_span"), _STRICT),
    # They are asked in tests only.
    **dict.fromkeys(("capture", "Capture.one", "Capture.of"), (AssertionError, TypeError, ValueError, *_OF_USER)),
}
"""What is strict about its arguments, and what it may raise for them."""

NEVER = {
    "shutdown": "the rest of the calls would meet a ledger that is closed; it is called at the end",
    "start": "takes no arguments, and would connect to whatever the environment says",
    "main": "runs another program",
    "install": "takes no arguments; what it installs is called",
    "Server": "cannot be made",
    "TelemetryBackend": "cannot be made",
    "SpanIdentity": "cannot be made",
    "Instrumentation": "is what the instrument_... calls return",
    "PartStats": "is a type",
    "Stats": "is a type",
    "StreamStats": "is a type",
    "SupportsEmit": "is a type",
    **dict.fromkeys(("SpanInterceptor", "AioSpanInterceptor", "TelemetryClientInterceptor", "TelemetryInterceptor"), "is called by gRPC; fuzz_requests sees to it"),
    "SyncTelemetryInterceptor": "is called by a server; fuzz_requests sees to it",
    "TelemetryMiddleware": "is called by a server; fuzz_requests sees to it",
    "instrument_http": "changes the libraries of all others; its rules are those of instrument_requests",
    "uninstrument_http": "takes back what is never done",
    "setup_tracing": "sets a provider for the whole process; test_fuzz has a test of its own",
}
"""What is not called, and why."""

MAPPINGS = {"measurements", "metadata", "carrier", "initial", "context_metadata", "attributes"}


def _public() -> dict[str, Any]:
    snakepit.install()
    found: dict[str, Any] = {}
    for place in MODULES:
        module = importlib.import_module(place)
        names = getattr(module, "__all__", None) or [name for name, held in vars(module).items() if getattr(held, "__module__", None) == place]
        for name in names:
            held = getattr(module, name)
            if callable(held) and not name.startswith("_"):
                found.setdefault(f"{place}.{name}" if place == "snakepit_bridge.telemetry" else name, held)
    return found


ALL = _public()
PUBLIC = {path: held for path, held in ALL.items() if path.rpartition(".")[2] not in NEVER}
NAMES = tuple(PUBLIC)


def allowed(path: str) -> tuple[type[BaseException], ...]:
    """What a call may raise beside what is the program's own."""
    short = path.rpartition("snakepit_bridge.telemetry.")[2]
    return STRICT.get(short, ())


_signatures: dict[str, list[inspect.Parameter] | None] = {}


def _parameters(path: str, function: Any) -> list[inspect.Parameter] | None:
    if path not in _signatures:
        try:
            _signatures[path] = [each for each in inspect.signature(function).parameters.values() if each.name not in ("self", "this")]
        except (TypeError, ValueError):
            _signatures[path] = None
    return _signatures[path]


def arguments(random: Any, path: str, function: Any) -> tuple[list[Any], dict[str, Any]]:
    """Descriptions of arguments that fit a signature, by position and by keyword."""
    parameters = _parameters(path, function)
    if parameters is None:
        return [hostile.value(random) for _ in range(random.randint(0, 4))], {}
    given: list[Any] = []
    named: dict[str, Any] = {}
    by_position = True
    for parameter in parameters:
        kind = parameter.kind
        must = parameter.default is parameter.empty
        if kind is parameter.VAR_POSITIONAL:
            given += [hostile.value(random) for _ in range(random.randint(0, 3))] if by_position else []
        elif kind is parameter.VAR_KEYWORD:
            taken = {each.name for each in parameters}
            for key in ("duration", "system_time", "a", "error_type", "\ud800"):
                if key not in taken and random.random() < 0.2:
                    named[key] = hostile.value(random)
        elif not must and random.random() < 0.4:
            # Whatever has a default may be left out; what follows is named then.
            by_position = False
        elif kind is not parameter.KEYWORD_ONLY and by_position and (kind is parameter.POSITIONAL_ONLY or random.random() < 0.8):
            given.append(_argument(random, parameter.name))
        elif kind is not parameter.POSITIONAL_ONLY:
            by_position = False
            named[parameter.name] = _argument(random, parameter.name)
    if path in ("serve", "connect") and not given and "address" not in named:
        # They would listen, and look for a manager.
        named["address"] = hostile.recipe(random)
    return given, named


def _argument(random: Any, name: str) -> Any:
    if name in MAPPINGS:
        return hostile.mapping(random)
    if name in ("event", "operation", "name"):
        return hostile.name(random)
    if name in ("timeout", "interval", "threshold") and random.random() < 0.5:
        return random.choice((0, 0.0, 0.01, None))
    return hostile.value(random)


def methods(made: Any) -> list[str]:
    """What can be called of an object of ours."""
    kind = type(made)
    if kind not in _methods:
        owners = [owner for owner in kind.__mro__ if owner in OURS]
        _methods[kind] = [
            name for name in dir(kind) if not name.startswith("_") and any(callable(vars(owner).get(name)) for owner in owners)
        ]
    return _methods[kind]


_methods: dict[type, list[str]] = {}


def is_ours(made: Any) -> bool:
    """Whether a class of this package made an object."""
    return any(type(made) is kind for kind in OURS)


OURS = {held for held in ALL.values() if isinstance(held, type)} | {
    telemetry.Span,
    importlib.import_module("telemetry_py.instrumentation").Instrumentation,
    type(ALL["snakepit_bridge.telemetry.span"]("a")),
}
