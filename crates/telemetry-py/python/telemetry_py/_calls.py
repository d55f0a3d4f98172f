"""The two kinds of calls of ``StreamTelemetry``: on an event loop, and on a thread.

What a call sends is decided in the native module; here is how one waits for it. Whoever emits wakes the
call at the end of that emit, once for many events.
"""

from __future__ import annotations

import asyncio
import math
from _queue import Empty, SimpleQueue
from functools import partial
from threading import Event, Thread

from ._controls import hear, hear_async

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .stream import TelemetryStream

_MARGIN, _LONGEST_MARGIN = 0.1, 0.25
"""How long before its deadline a call ends in order: this share of the time it has, and at most so many
seconds. What is handed to a call that is cut may be lost."""

_NEVER = 10 * 365 * 86_400.0
"""A deadline so far off is what a threaded server says where there is none."""

_MESSAGES_PER_TURN = 128
"""Messages in a row before other tasks get their turn."""

_LONG_WRITE = 0.02
"""Seconds of a write that was held up. A threaded server does not say whether it was cut in the end, but hears
of a cut within as many."""

_REVISION_HEADER = "telemetry-protocol-revision"
"""Request header of a manager that will say hello."""


class AsyncCall:
    """One call on the running event loop."""

    def __init__(self, owner: TelemetryStream, controls: Any, context: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self._owner = owner
        self._news = asyncio.Event()
        self._call = owner._native.open(_expects_hello(context), _waker(self.loop, self._news))
        owner._attached = self
        self._context: Any = context
        left = _time_left(context)
        self._end = math.inf if left is None else self.loop.time() + left
        self._in_a_row = 0
        _when_over(context, "add_done_callback", lambda _context: self.close())
        self._hearing = self.loop.create_task(hear_async(self._call, owner._native, controls, context))

    async def next(self) -> bytes | None:
        """The next message; ``None`` at the end."""
        if self._context is not None:
            context, self._context = self._context, None
            await _send_headers(context)
        if self._in_a_row >= _MESSAGES_PER_TURN:
            self._in_a_row = 0
            await asyncio.sleep(0)
        while True:
            left = self._end - self.loop.time()
            if left <= 0:
                self._end = math.inf
                self._call.leave()
            self._news.clear()
            found = self._call.next()
            if not isinstance(found, float):
                self._in_a_row += 1
                return found
            self._in_a_row = 0
            wait = found if left <= 0 else min(found, left)
            if wait == 0:
                await asyncio.sleep(0)
            elif math.isinf(wait):
                await self._news.wait()
            else:
                timer = self.loop.call_later(wait, self._news.set)
                try:
                    await self._news.wait()
                finally:
                    timer.cancel()

    def close(self) -> None:
        """It is over, in order or not."""
        self._call.close()
        if self._owner._attached is self:
            self._owner._attached = None
        if not self.loop.is_closed():
            self._hearing.cancel()


class SyncCall:
    """One call on a thread."""

    def __init__(self, owner: TelemetryStream, controls: Any, context: Any) -> None:
        # A put may come in the midst of another one, from a signal handler; this kind of queue allows it.
        self.loop: SimpleQueue[None] = SimpleQueue()
        self._owner = owner
        self._is_over = Event()
        self._given_out: float | None = None
        self._remaining: Callable[[], object] = partial(_asked, context, "time_remaining")
        self._call = owner._native.open(_expects_hello(context), _putter(self.loop))
        owner._attached = self
        left = _time_left(context)
        self._end = math.inf if left is None else _now() + left
        if _when_over(context, "add_callback", self._cut) is False:
            self._call.close()
        _send_headers_now(context)
        hearing = Thread(
            target=hear, args=(self._call, owner._native, controls), name="telemetry-controls", daemon=True
        )
        try:
            hearing.start()
        except RuntimeError as error:
            # No thread can be had; events go out all the same.
            owner._native.note_control_error(f"controls cannot be heard: {error}")
            self._call.hear_end(False)

    def _cut(self) -> None:
        """The call is over while a message is being written or waited for."""
        self.close()
        self._is_over.set()
        self.loop.put(None)

    def _was_cut(self) -> bool:
        """Whether the message that was given out last is not on its way, because the call was cut meanwhile."""
        given_out, self._given_out = self._given_out, None
        if given_out is None or _now() - given_out < _LONG_WRITE:
            return False
        return self._remaining() == 0 or self._is_over.wait(_LONG_WRITE)

    def next(self) -> bytes | None:
        """The next message; ``None`` at the end."""
        if self._was_cut():
            self.close()
            return None
        while True:
            left = self._end - _now()
            if left <= 0:
                self._end = math.inf
                self._call.leave()
            found = self._call.next()
            if not isinstance(found, float):
                self._given_out = _now()
                return found
            wait = found if left <= 0 else min(found, left)
            try:
                if math.isinf(wait):
                    self.loop.get()
                else:
                    self.loop.get(timeout=wait)
            except Empty:
                pass

    def close(self) -> None:
        """It is over, in order or not."""
        self._call.close()
        if self._owner._attached is self:
            self._owner._attached = None


def _waker(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> Callable[[], None]:
    """Sets ``news`` from any thread. It knows nothing of the call, which would know itself through it."""

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(news.set)
        except RuntimeError:
            pass  # The loop is closed; nobody waits there.

    return wake


def _putter(news: SimpleQueue[None]) -> Callable[[], None]:
    """The same for a thread."""
    return lambda: news.put(None)


def _when_over(context: Any, add: str, callback: Callable[..., None]) -> object:
    """Have ``callback`` called when a call is over, however that came about: only then is it known that what
    was given out last is not on its way, however long the program keeps what carried it. Says ``False`` if it is
    over by now."""
    return _asked(context, add, callback)


def _now() -> float:
    from time import monotonic

    return monotonic()


def _expects_hello(context: Any) -> bool:
    """Whether the request says that its manager will say hello."""
    metadata: Any = _asked(context, "invocation_metadata")
    try:
        return any(entry[0] == _REVISION_HEADER for entry in metadata or ())
    except Exception:
        return False


def _asked(context: Any, name: str, *arguments: object) -> object:
    """What a method of the context says; ``None`` where there is none, or it fails: other interceptors may put a
    context of their own in the place of gRPC's."""
    try:
        method = getattr(context, name, None)
        return method(*arguments) if callable(method) else None
    except Exception:
        return None


def _time_left(context: Any) -> float | None:
    """Seconds until the call had better end; ``None`` without a deadline."""
    left: Any = _asked(context, "time_remaining")
    if type(left) not in (int, float) or not left < _NEVER:
        return None
    seconds: float = left
    return max(seconds - min(seconds * _MARGIN, _LONGEST_MARGIN), 0.0)


async def _send_headers(context: Any) -> None:
    """Managers take events only behind response headers, so these go out before there are any."""
    try:
        sent = context.send_initial_metadata(())
        if hasattr(type(sent), "__await__"):
            await sent
    except Exception:
        pass  # The program has sent its own, or this is no context of gRPC.


def _send_headers_now(context: Any) -> None:
    try:
        context.send_initial_metadata(())
    except Exception:
        pass
