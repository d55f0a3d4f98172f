"""A request that is served piece by piece, perhaps by several threads: a span in a context of its own.

What a server iterates over runs when the server likes, and may be dropped without a word. So nothing of a
request is left in the context of a thread: each piece runs in a copy that belongs to the request.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

import telemetry_py as telemetry

P = ParamSpec("P")
R = TypeVar("R")


class Request:
    """A span that has begun, the context in which it is current, and its one end."""

    __slots__ = ("_busy", "_context", "_ended", "span")

    def __init__(self, carrier: Any, operation: str, metadata: dict[str, str], *, new_id: bool = False) -> None:
        """Begins, under the ids in `carrier` if it is not `None`. With `new_id` it gets a correlation id of
        its own if nothing else ties it to its caller."""
        self._context = copy_context()
        self._busy = allocate_lock()
        self._ended = False
        self.span = telemetry.span(operation, metadata)
        self.run(self._begin, carrier, new_id)

    def _begin(self, carrier: Any, new_id: bool) -> None:
        # Never left: the context goes with the request.
        if carrier is not None:
            telemetry.extract(carrier).__enter__()
        else:
            telemetry.set_correlation_id(None)
        if new_id and not telemetry.get_correlation_id():
            telemetry.set_correlation_id(telemetry.new_correlation_id())
        self.span.__enter__()

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls `function` in the context of the request; in that of the caller while another piece of it is
        running, which no context allows twice."""
        if not self._busy.acquire(False):
            return function(*args, **kwargs)
        try:
            return self._context.run(function, *args, **kwargs)
        finally:
            self._busy.release()

    @property
    def has_ended(self) -> bool:
        """Whether its span has ended."""
        return self._ended

    def end(self, error: BaseException | None = None) -> None:
        """Ends the span, the first time."""
        if not self._ended:
            self._ended = True
            self.run(self.span.__exit__, None if error is None else type(error), error, None)
