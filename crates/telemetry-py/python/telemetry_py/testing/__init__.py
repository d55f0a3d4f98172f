"""For tests of programs that emit: what they emitted.

    import telemetry_py as telemetry
    from telemetry_py.testing import capture

    with capture() as captured:
        with telemetry.span("tool.execution", {"tool": "search"}):
            telemetry.emit("tool.result_size", {"bytes": 512})

    assert captured.names() == ["tool.execution.start", "tool.result_size", "tool.execution.stop"]
    assert captured.one("tool.result_size").measurements == {"bytes": 512}

Under pytest the fixture ``telemetry_capture`` is the same for a whole test, also for an asynchronous one and
under xdist; nothing has to be imported or configured for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import telemetry_py as telemetry

from ..backends.memory import MemoryBackend, MemoryEvent

POLICY = frozenset({"filtered", "limited", "sampled_out"})
"""Reasons for which an event is dropped because somebody wanted it."""


class Capture(MemoryBackend):
    """The events of a block, in order: ``events``, ``names()``, ``of(name)``, ``one(name)``.

    Example::

        from telemetry_py.testing import Capture, capture

        def tables(captured: Capture) -> list[str]:
            return [event.metadata["table"] for event in captured.of("cache.miss")]

        with capture() as captured:
            telemetry.counter("cache.miss", table="users")
            telemetry.counter("cache.miss", table="orders")
        assert tables(captured) == ["users", "orders"]
    """

    def of(self, name: str) -> list[MemoryEvent]:
        """The events of one name."""
        return [event for event in self.events if event.event == name]

    def one(self, name: str) -> MemoryEvent:
        """The only event of a name; fails if there are others, or none."""
        found = self.of(name)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} events {name!r} were emitted, not one; there were {self.names()}")
        return found[0]


@contextmanager
def capture(*, strict: bool = True) -> Iterator[Capture]:
    """Capture all that this process emits in the block; what was the backend before is it again after it.

    With ``strict`` a block in which an event was dropped, for a name that is none as a rule, fails at its
    end with an ``AssertionError``: ``emit`` never raises, and a test should tell. What was dropped because
    the environment asks for less is no failure.

    Example::

        from telemetry_py.testing import capture

        with capture() as captured:
            telemetry.emit("tool.result_size", {"bytes": 512})
        assert captured.one("tool.result_size").measurements == {"bytes": 512}
    """
    before = telemetry.get_backend()
    captured = Capture()
    telemetry.set_backend(captured)
    try:
        dropped = telemetry.stats()["dropped"]
        yield captured
        if strict:
            _check(dropped, telemetry.stats()["dropped"], captured)
    finally:
        telemetry.set_backend(before)


def _check(before: dict[str, int], after: dict[str, int], captured: Capture) -> None:
    lost = {reason: number - before.get(reason, 0) for reason, number in after.items() if reason not in POLICY}
    lost = {reason: number for reason, number in lost.items() if number > 0}
    if lost:
        told = ", ".join(f"{number} {reason}" for reason, number in lost.items())
        raise AssertionError(f"events were dropped: {told}; captured were {captured.names()}")


__all__ = ["Capture", "capture"]
