"""Stand-ins for what is not there yet: extract, inject, outgoing_metadata, current_span."""

from __future__ import annotations

from contextvars import ContextVar

import telemetry_py as telemetry

_parent = ContextVar("shim_parent", default="")


class extract:
    def __init__(self, carrier):
        pairs = carrier.items() if hasattr(carrier, "items") else carrier
        self.found = {}
        for name, value in pairs:
            name = name.decode() if isinstance(name, bytes) else str(name)
            value = value.decode() if isinstance(value, bytes) else str(value)
            self.found[name.lower().removeprefix("http_").replace("_", "-")] = value

    def __enter__(self):
        self.tokens = []
        if id := self.found.get(telemetry.CORRELATION_HEADER):
            self.tokens.append((telemetry._loader.correlation_var, telemetry.set_correlation_id(id)))
        if parent := self.found.get("traceparent"):
            self.tokens.append((_parent, _parent.set(parent)))

    def __exit__(self, *_):
        for var, token in self.tokens:
            try:
                var.reset(token)
            except ValueError:
                pass


def inject(carrier):
    put = carrier.append if hasattr(carrier, "append") else lambda pair: carrier.__setitem__(*pair)
    if parent := _parent.get():
        put(("traceparent", parent))
    if id := telemetry.get_correlation_id():
        put((telemetry.CORRELATION_HEADER, id))
    return carrier


def outgoing_metadata(initial=None):
    return inject(list(initial or ()))


def current_span():
    return None


def install():
    for name in ("extract", "inject", "outgoing_metadata", "current_span"):
        if not hasattr(telemetry, name):
            setattr(telemetry, name, globals()[name])
