"""``emit``: one event, and what became of it."""

from __future__ import annotations

import math
import shlex
import time
from argparse import Namespace

from .._ending import flush
from .._loader import NATIVE, native
from . import target


def run_with(given: Namespace) -> int:
    """Runs with parsed arguments."""
    measurements: dict[str, int | float] = {}
    for key, value in given.measurements:
        number = _number(value)
        if number is None:
            entry = f"{key}={value}"
            target.say(f"{entry!r} is not allowed; expected KEY=NUMBER, or {shlex.join(('-m', entry))} if it is metadata")
            return 2
        measurements[key] = number
    return run(given.name, measurements, dict(given.metadata), given.correlation_id, given.manager, given.timeout)


def run(
    name: str,
    measurements: dict[str, int | float],
    metadata: dict[str, str],
    correlation_id: str | None,
    manager: str | None,
    timeout: float,
) -> int:
    """Emits one event; returns the exit status."""
    if not NATIVE:
        target.say("the native module cannot be loaded; see python -m telemetry_py doctor")
        return 2
    problem = target.use_manager(manager)
    if problem is not None:
        target.say(problem)
        return 2
    _, backend, _ = native.settings()
    kinds = (backend or "").split(",")
    if backend is None or kinds == ["none"] or kinds == ["server"]:
        target.say("no manager is configured: set TELEMETRY_MANAGER or give --manager unix:/path/to/manager.sock")
        return 2
    if "connect" in kinds or "server" in kinds:
        problem = target.connect(timeout)
        if problem is not None:
            target.say(f"{name} was not sent: {problem}")
            target.end()
            return 1
    else:
        native.start()
    native.emit(name, measurements, metadata, correlation_id)
    deadline = time.monotonic() + timeout
    while not flush(max(deadline - time.monotonic(), 0.0)) and time.monotonic() < deadline and native.stats()["queued"]:
        time.sleep(target.POLL)
    stats = native.stats()
    target.end()
    if stats["sent"]:
        print(f"{name} was sent to {stats['manager']}; whether its catalog knows it, /api/quarantine of the manager says")
        return 0
    if stats["delivered"]:
        print(f"{name} was delivered to {backend}")
        return 0
    reasons = ", ".join(stats["dropped"]) or ("no answer in time" if stats["queued"] else "telemetry is off")
    detail = f" ({stats['last_error']})" if stats["last_error"] else ""
    target.say(f"{name} was not sent: {reasons}{detail}")
    return 1


def _number(text: str) -> int | float | None:
    """A measurement; ``None`` if it does not read like a finite number."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
