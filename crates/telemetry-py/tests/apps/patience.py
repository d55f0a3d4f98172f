"""Waiting for what another process does: until it is so, or too late."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 30.0
"""Seconds that anything may take; machines that run tests are busy."""

Found = TypeVar("Found")


def until(look: Callable[[], Found], what: Callable[[], str] | str, seconds: float = PATIENCE) -> Found:
    """The first look that finds something; fails after `seconds` and says `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.01)
    return found
