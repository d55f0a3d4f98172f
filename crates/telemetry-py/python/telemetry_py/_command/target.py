"""Connecting as the settings say, and waiting until that has an outcome."""

from __future__ import annotations

import io
import sys
import time
from contextlib import redirect_stderr

from .._ending import shutdown
from .._loader import native

POLL = 0.01
"""Seconds between two looks; the native side tells nobody of Python that it is connected."""

REFUSED = ("refused this worker", "No such file", "Permission denied", "Connection refused")
"""What will not be better in a moment."""


def use_manager(address: str | None) -> str | None:
    """Makes an option win over its variable; what is wrong with it, if anything."""
    if address is None:
        return None
    try:
        native.configure({"TELEMETRY_MANAGER": address, "TELEMETRY_BACKEND": "connect"})
    except ValueError as error:
        return str(error).replace("configure: manager=", "--manager ")
    return None


def connect(timeout: float) -> str | None:
    """Connects; ``None`` once a stream is open, else why there is none."""
    said = io.StringIO()
    try:
        # What is wrong with variables is said elsewhere.
        with redirect_stderr(said):
            running = native.connect()
    except (ValueError, OSError) as error:
        return str(error)
    if not running:
        return said.getvalue().strip() or "nothing is started"
    deadline = time.monotonic() + timeout
    while True:
        stats = native.stats()
        if stats["clients"]:
            return None
        reason = stats["connect_error"]
        late = time.monotonic() >= deadline
        if late or (reason is not None and any(word in reason for word in REFUSED)):
            return reason or f"no answer within {timeout:g} s"
        time.sleep(POLL)


def end() -> None:
    """Leaves in order."""
    shutdown(1.0)


def say(text: str) -> None:
    """Tells a person what went wrong."""
    print(f"telemetry: {text}", file=sys.stderr)
