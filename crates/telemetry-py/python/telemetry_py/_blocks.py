"""What is open of one object that several tasks and threads may use at once: ``with quiet: ...``."""

from __future__ import annotations

import sys
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Blocks:
    """What the blocks of one object began with, for each task or thread the innermost last."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], list[Any]] = {}

    def begin(self, entry: object) -> None:
        """A block of whoever calls begins."""
        # Only who calls has this key, so that nobody else is at this list.
        self._open.setdefault(_who(), []).append(entry)

    def end(self) -> Any:
        """The innermost block of whoever calls ends; if there is none, one that somebody else began, as the
        end of a generator runs where it happens to be collected."""
        who = _who()
        for key in (who, *[other for other in list(self._open) if other != who]):
            entries = self._open.get(key)
            if entries:
                entry = entries.pop()
                if not entries:
                    self._open.pop(key, None)
                return entry
        return None


def _who() -> tuple[int, int]:
    """The thread and, within an event loop, the task."""
    asyncio: Any = sys.modules.get("asyncio")
    try:
        loop = asyncio and asyncio._get_running_loop()
        return get_ident(), id(asyncio.current_task(loop)) if asyncio and loop else 0
    except Exception:
        # It is being imported right now, or the loop is of another kind.
        return get_ident(), 0
