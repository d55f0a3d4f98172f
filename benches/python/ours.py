"""Our calls, with the inputs that the peers get: two measurements, two metadata entries."""

from __future__ import annotations

import telemetry_py as telemetry
from measure import Effort, Subject
from peers import TOOLS
from worker import Worker

INPUTS = {f"m{i}": {"duration_ns": 123_456 + i, "count": i} for i in range(len(TOOLS))} | {
    f"d{i}": {"tool": tool, "model": "small"} for i, tool in enumerate(TOOLS)
}
"""Prebuilt dicts; their `count`s sum up to `TOTAL` over one round."""
TOTAL = sum(range(len(TOOLS)))


def emit_prebuilt(call: str = "emit", *, identified: bool = True) -> list[str]:
    """Events with prebuilt dicts, with or without a correlation id."""
    ending = ", 'request-{i}')" if identified else ")"
    return [f"{call}('tool.{tool}.executed', m{i}, d{i}{ending.format(i=i)}" for i, tool in enumerate(TOOLS)]


def emit_fresh(call: str = "emit") -> list[str]:
    """Events whose dicts are built in the call."""
    return [
        f"{call}('tool.{tool}.executed', {{'duration_ns': {123_456 + i}, 'count': {i}}}, "
        f"{{'tool': '{tool}', 'model': 'small'}}, 'request-{i}')"
        for i, tool in enumerate(TOOLS)
    ]


def spans(call: str = "span", *, identified: bool) -> list[str]:
    """Spans around nothing."""
    ending = ", 'request-{i}')" if identified else ")"
    return [f"with {call}('tool.{tool}', d{i}{ending.format(i=i)}: pass" for i, tool in enumerate(TOOLS)]


def kept_emit(worker: Worker, effort: Effort, statements: list[str]) -> Subject:
    """Events that end up in the queue."""

    def before(calls: int) -> None:
        worker.before(calls, events=calls, total=calls // len(TOOLS) * TOTAL)

    return Subject("emit", statements, {"emit": telemetry.emit, **INPUTS}, before, most=effort.most_events)


def kept_span(worker: Worker, effort: Effort, statements: list[str]) -> Subject:
    """Spans of which start and stop end up in the queue."""

    def before(calls: int) -> None:
        worker.before(calls, events=2 * calls, total=0)

    return Subject("span", statements, {"span": telemetry.span, **INPUTS}, before, most=effort.most_events // 2)


def disabled(name: str, call: object) -> Subject:
    """The shape of an `emit`, while telemetry is off."""
    return Subject(name, emit_prebuilt("call"), {"call": call, **INPUTS})

