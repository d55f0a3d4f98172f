"""How our modules come to stand where Snakepit's are looked for.

A finder answers for the names of its telemetry modules, and for the package itself if nobody else does. So
importing works as ever, whatever comes first; modules that were loaded before are exchanged.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from . import _children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = "snakepit_bridge"

_EMITTING = ("emit", "span", "set_backend", "get_backend", "is_enabled")
_TRACING = (
    "CORRELATION_HEADER",
    "new_correlation_id",
    "set_correlation_id",
    "reset_correlation_id",
    "get_correlation_id",
    "setup_tracing",
    "get_tracer",
    "correlation_filter",
    "outgoing_metadata",
    "otel_span",
)
_BACKENDS = ("TelemetryBackend", "GrpcBackend", "StderrBackend")

_MODULES = {
    "otel_tracing": _TRACING,
    "telemetry": (*_EMITTING, *_TRACING, *_BACKENDS, "TelemetryStream"),
    "telemetry.manager": _EMITTING,
    "telemetry.stream": ("TelemetryStream",),
    "telemetry.backends": _BACKENDS,
    "telemetry.backends.base": ("TelemetryBackend",),
    "telemetry.backends.grpc": ("GrpcBackend",),
    "telemetry.backends.stderr": ("StderrBackend",),
}
"""What each of them holds; a package stands before what is in it."""

MODULES = {f"{PACKAGE}.{name}": names for name, names in _MODULES.items()}

_PACKAGES = {PACKAGE, *(name.rpartition(".")[0] for name in MODULES)}


class _Loader:
    """Fills a module of ours. Other submodules of a package are found where Snakepit has them."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = f"Ours, in the place of Snakepit's {module.__name__}."
        names = MODULES.get(module.__name__, ())
        held = {name: found for name in names if (found := _ours(name)) is not None}
        vars(module).update(held, __all__=list(held))


class _Finder:
    """Answers for the names of telemetry modules, and for the one that starts children afresh."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name == _children.SPAWNING:
            return _children.spec_of(path)
        return _spec(name, path) if name in MODULES else None


class _LastFinder:
    """Answers for the package that nobody has."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        return _spec(name, None) if name == PACKAGE else None


_LOADER = _Loader()
_FINDER, _LAST_FINDER = _Finder(), _LastFinder()


def replace() -> None:
    """Put our modules in place."""
    if _FINDER in sys.meta_path:
        return
    sys.meta_path.insert(0, _FINDER)
    sys.meta_path.append(_LAST_FINDER)
    _children.reach()
    loaded = {name: sys.modules[name] for name in MODULES if name in sys.modules}
    if not loaded:
        return
    backend = _backend_of(loaded)
    exchanged: dict[int, tuple[object, object]] = {}
    for name in loaded:
        del sys.modules[name]
    for name, theirs in loaded.items():
        ours = importlib.import_module(name)
        exchanged[id(theirs)] = (theirs, ours)
        for entry in MODULES[name]:
            before, after = vars(theirs).get(entry), vars(ours).get(entry)
            if callable(before) and after is not None:
                exchanged[id(before)] = (before, after)
    _exchange(exchanged)
    if backend is not None:
        _ours("set_backend")(backend)  # type: ignore[operator]


def _spec(name: str, path: Sequence[str] | None) -> ModuleSpec:
    spec = ModuleSpec(name, _LOADER, is_package=name in _PACKAGES)  # type: ignore[arg-type]
    if spec.submodule_search_locations is not None:
        last = name.rpartition(".")[2]
        spec.submodule_search_locations.extend(os.path.join(place, last) for place in path or ())
    return spec


def _ours(name: str) -> object:
    """What stands for a name of Snakepit's."""
    from . import _surface

    found: object = vars(_surface).get(name)
    return getattr(importlib.import_module("telemetry_py"), name, None) if found is None else found


def _backend_of(loaded: dict[str, ModuleType]) -> object | None:
    """The backend that their modules have in force."""
    for module in loaded.values():
        get_backend = vars(module).get("get_backend")
        if callable(get_backend):
            try:
                found: object = get_backend()
            except Exception:
                continue
            if found is not None:
                return found
    return None


def _exchange(exchanged: dict[int, tuple[object, object]]) -> None:
    """Replace what stands in the names of any module."""
    for module in list(sys.modules.values()):
        names = vars(module) if isinstance(module, ModuleType) else {}
        for name, value in list(names.items()):
            before, after = exchanged.get(id(value), (None, None))
            if before is value and before is not None:
                names[name] = after
    # Their own modules are no longer listed, but whoever has one sees ours in it.
    for theirs, ours in exchanged.values():
        if isinstance(theirs, ModuleType) and isinstance(ours, ModuleType):
            vars(theirs).update({name: vars(ours)[name] for name in MODULES[ours.__name__] if name in vars(ours)})
