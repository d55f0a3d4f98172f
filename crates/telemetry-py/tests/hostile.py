"""Inputs that want to throw an event off its quick way, and what arrives of it all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import telemetry_py as telemetry
from manager import Manager


def arrived(server: telemetry.Server) -> list[Any]:
    """All that was recorded, as it arrives at a manager."""
    telemetry.emit("end.event")
    with Manager(server.address) as manager:
        *events, _end = manager.until("end.event")
    stats = telemetry.stats()
    assert stats["emitted"] == stats["accepted"] + sum(stats["dropped"].values())
    return events


class Text(str):
    pass


class Saying:
    """Does something when it is asked for its text."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __str__(self) -> str:
        return str(self.act())
