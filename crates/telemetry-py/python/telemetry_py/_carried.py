"""The headers that what goes out carries: those of the span and the correlation id that are current."""

from __future__ import annotations

import telemetry_py as telemetry


def carried() -> list[tuple[str, str]]:
    """Names in lower case with their values, as far as there are any."""
    carrier: dict[str, str] = {}
    telemetry.inject(carrier)
    return [(name, value) for name, value in carrier.items() if fits(value)]


def fits(value: object) -> bool:
    """Whether a text can be a header's value anywhere. A correlation id may be any text, and one that a
    library refuses, or that would be more than one header, is not sent."""
    return isinstance(value, str) and value.isascii() and value.isprintable()
