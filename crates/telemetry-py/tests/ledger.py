"""The ledger of a part of a process's life: it goes on from test to test."""

from __future__ import annotations

from typing import Any

import telemetry_py as telemetry

COUNTERS = ("emitted", "accepted", "sent", "delivered")


def since(before: dict[str, Any]) -> dict[str, Any]:
    """What was counted after a reading of the ledger; only reasons and notes that occurred."""
    now: dict[str, Any] = dict(telemetry.stats())
    for name in COUNTERS:
        now[name] -= before[name]
    for table in ("dropped", "notes"):
        grown = {key: count - before[table].get(key, 0) for key, count in now[table].items()}
        now[table] = {key: count for key, count in grown.items() if count}
    return now
