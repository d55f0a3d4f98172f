"""Errors that no call reports: uncaught ones, those of threads, finalizers and event loops."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from .._loader import NATIVE, emit, native
from . import _loops
from ._handle import Instrumentation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NO_ERRORS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""What ends a program or a generator in order."""

_MAX_FRAMES = 12
"""Frames of a traceback that are told of: those where it happened."""

_MAX_BYTES = 1_000
"""Bytes of it, below what a value may have."""

_under_way = threading.local()


def report(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    """Emit ``python.error.occurred``; never raises."""
    try:
        if kind is None or issubclass(kind, _NO_ERRORS):
            return
        tell(kind.__name__, "" if error is None else error, trace)
    except Exception:
        # An error that cannot be told of has been told of by the hook that was there before.
        pass


def tell(kind: str, message: object, trace: TracebackType | None) -> None:
    """Emit an error of that type with a message."""
    metadata = {"error_type": kind, "error_message": native.redacted(message)}
    frames = traceback_text(trace)
    if frames:
        metadata["traceback"] = frames
    emit("python.error.occurred", {"system_time": time.time_ns(), "count": 1}, metadata)


def traceback_text(trace: TracebackType | None) -> str:
    """Where it happened: ``file:line function`` a line, the innermost last, only as many as fit. Lines of
    source are not read, and may hold secrets."""
    frames: list[str] = []
    # An exception may have anything as its traceback, and that need not come to an end.
    trace = trace if type(trace) is TracebackType else None
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        if len(frames) > _MAX_FRAMES:
            del frames[0]
        trace = trace.tb_next
    while len(frames) > 1 and len("\n".join(frames).encode("utf-8", "replace")) > _MAX_BYTES:
        del frames[0]
    return "\n".join(frames)


class _Hook:
    """Stands before a hook: reports, then calls that one."""

    __slots__ = ("_after", "_default", "_report", "is_active")

    def __init__(self, after: Callable[..., Any], default: Callable[..., Any], report: Callable[..., None]) -> None:
        self._after, self._default, self._report = after, default, report
        self.is_active = True

    def __call__(self, *arguments: Any) -> Any:
        if getattr(_under_way, "hook", None) is self:
            # The hook from before leads back here: somebody kept this one and put it below.
            return self._default(*arguments)
        outer = getattr(_under_way, "hook", None)
        _under_way.hook = self
        try:
            if self.is_active and outer is None:
                self._report(*arguments)
            return self._after(*arguments)
        finally:
            _under_way.hook = outer


def _of_thread(arguments: Any) -> None:
    report(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def _of_loop(context: dict[str, Any]) -> None:
    error = context.get("exception")
    if isinstance(error, BaseException):
        report(type(error), error, error.__traceback__)
        return
    try:
        tell("asyncio", context.get("message", ""), None)
    except Exception:
        pass


_active: Instrumentation | None = None


def instrument_excepthooks() -> Instrumentation:
    """Emit ``python.error.occurred`` for errors that nobody catches, then do what was done before.

    Those are what ``sys.excepthook`` is told of, ``threading.excepthook``, ``sys.unraisablehook`` (errors of
    finalizers) and the exception handler of ``asyncio`` loops, also of one that runs when this is called. The
    event has the ``error_type``, the ``error_message`` without secrets and the innermost frames as
    ``traceback``. ``KeyboardInterrupt`` and ``SystemExit`` are no errors. The hooks from before are called with
    what they would be called with; nothing is masked.

    A second call changes nothing. ``close()`` on the result puts the hooks back, but for those that somebody
    has replaced meanwhile. It imports ``asyncio``.

    Example::

        import threading

        with telemetry.instrument_excepthooks():
            thread = threading.Thread(target=int, args=["no number"])
            thread.start()
            thread.join()
        assert memory.events[0].event == "python.error.occurred"
        assert memory.events[0].metadata["error_type"] == "ValueError"
    """
    global _active
    if _active is None or not _active.is_active:
        _active = Instrumentation(_install() if NATIVE else _nothing)
    return _active


def is_active() -> bool:
    """Whether uncaught errors are told of."""
    return _active is not None and _active.is_active


def _nothing() -> None:
    pass


def _install() -> Callable[[], None]:
    places = (
        (sys, "excepthook", sys.__excepthook__, report),
        (threading, "excepthook", threading.__excepthook__, _of_thread),
        (sys, "unraisablehook", sys.__unraisablehook__, _of_thread),
    )
    hooks: list[tuple[Any, str, Any, _Hook]] = []
    for module, name, default, told in places:
        before = getattr(module, name)
        hook = _Hook(before, default, told)
        setattr(module, name, hook)
        hooks.append((module, name, before, hook))
    stop = _loops.listen(_of_loop)

    def undo() -> None:
        stop()
        for module, name, before, hook in hooks:
            hook.is_active = False
            if getattr(module, name) is hook:
                setattr(module, name, before)

    return undo


__all__ = ["instrument_excepthooks", "is_active", "report", "tell", "traceback_text"]
