"""The innermost frames of an exception as text."""

from __future__ import annotations

from collections import deque
from types import TracebackType

_MAX_FRAMES = 32


def innermost(exc: object, max_bytes: int) -> str | None:
    """A line for each frame of ``exc``, the innermost last; outer ones go first where there is no room.

    Without lines of source, which would have to be read from files.
    """
    traceback: TracebackType | None = getattr(exc, "__traceback__", None)
    if type(traceback) is not TracebackType:
        # None, or what only calls itself one and need not come to an end.
        return None
    frames: deque[TracebackType] = deque(maxlen=_MAX_FRAMES)
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    lines: list[str] = []
    room = max_bytes
    for frame in reversed(frames):
        code = frame.tb_frame.f_code
        line = f'File "{code.co_filename}", line {frame.tb_lineno}, in {code.co_name}'
        room -= len(line.encode(errors="replace")) + 1
        if room < 0 and lines:
            break
        lines.append(line)
    return "\n".join(reversed(lines))


__all__ = ["innermost"]
