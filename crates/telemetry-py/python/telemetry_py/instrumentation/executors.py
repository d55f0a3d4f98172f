"""Threads, executors and processes that run under the context of whoever gave them their work."""

from __future__ import annotations

import functools
import sys
from contextvars import copy_context
from typing import Any

from .._loader import NATIVE
from ._handle import Instrumentation
from .carriers import Carried, carrier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OF_A_POOL = frozenset(
    {
        ("concurrent.futures.thread", "_worker"),
        ("concurrent.futures.process", "_process_worker"),
        ("multiprocessing.pool", "worker"),
        ("multiprocessing.dummy.pool", "worker"),
    }
)
"""What the threads and processes of pools run: work of everybody, so they belong to nobody."""

_active: Instrumentation | None = None


def instrument_executors() -> Instrumentation:
    """Have work that is done elsewhere run under the correlation id and the trace of whoever gave it away.

    ``threading.Thread.start`` and ``ThreadPoolExecutor.submit`` (and ``map``) carry the whole context, all
    ``ContextVar``\\ s. ``ProcessPoolExecutor.submit`` (and ``map``), ``multiprocessing.Process.start`` and the
    methods of a ``multiprocessing.Pool`` carry the correlation id and the trace, whether children are
    forked, spawned or come from a fork server; they need no call of this. A thread that was given a context
    of its own keeps it.

    What runs for good, as the threads of pools, is under nobody's context. Executors that somebody else has
    made are left alone; for them there is ``instrumentation.carried``.

    A second call changes nothing. ``close()`` on the result puts all methods back but those that somebody has
    replaced meanwhile. It imports ``concurrent.futures`` and ``multiprocessing``.

    Example::

        from concurrent.futures import ThreadPoolExecutor

        telemetry.instrument_executors()
        with ThreadPoolExecutor() as pool, telemetry.correlation("order-17"):
            assert pool.submit(telemetry.get_correlation_id).result() == "order-17"
    """
    global _active
    if _active is None or not _active.is_active:
        _active = Instrumentation(_install() if NATIVE else _nothing)
    return _active


def _nothing() -> None:
    pass


def _install() -> Callable[[], None]:
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from multiprocessing.pool import Pool
    from multiprocessing.process import BaseProcess

    places: list[tuple[type, str, Callable[[Any], Any]]] = [
        (threading.Thread, "start", _start_of_thread),
        (ThreadPoolExecutor, "submit", _submit_to_threads),
        (BaseProcess, "start", _start_of_process),
        *((Pool, name, _given_to_pool) for name in ("apply_async", "_map_async", "imap", "imap_unordered")),
    ]
    try:
        from concurrent.futures import ProcessPoolExecutor

        places.append((ProcessPoolExecutor, "submit", _submit_to_processes))
    except ImportError:
        # A platform without semaphores.
        pass
    done: list[tuple[type, str, Any, Any]] = []
    for owner, name, make in places:
        before = owner.__dict__.get(name)
        if before is None:
            continue
        ours = functools.wraps(before)(make(before))
        setattr(owner, name, ours)
        done.append((owner, name, before, ours))

    def undo() -> None:
        for owner, name, before, ours in done:
            if owner.__dict__.get(name) is ours:
                setattr(owner, name, before)

    return undo


def _is_on() -> bool:
    """Whether it has not been undone: somebody may have put his method over ours, which then stays."""
    return _active is not None and _active.is_active


def _is_of_pool(started: Any) -> bool:
    target = getattr(started, "_target", None)
    return (getattr(target, "__module__", None), getattr(target, "__name__", None)) in _OF_A_POOL


def _start_of_thread(before: Callable[..., None]) -> Callable[..., None]:
    def start(self: Any) -> None:
        has_own = getattr(self, "_context", None) is not None or getattr(sys.flags, "thread_inherit_context", False)
        if not _is_on() or has_own or _is_of_pool(self) or "run" in self.__dict__:
            return before(self)
        context, run = copy_context(), self.run

        def run_in_context() -> None:
            # Or the thread would hold itself.
            self.__dict__.pop("run", None)
            context.run(run)

        self.run = run_in_context
        try:
            return before(self)
        except BaseException:
            self.__dict__.pop("run", None)
            raise

    return start


def _submit_to_threads(before: Callable[..., Any]) -> Callable[..., Any]:
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if not _is_on():
            return before(self, fn, *args, **kwargs)
        return before(self, copy_context().run, fn, *args, **kwargs)

    return submit


def _submit_to_processes(before: Callable[..., Any]) -> Callable[..., Any]:
    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return before(self, _carried(fn), *args, **kwargs)

    return submit


def _given_to_pool(before: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return before(self, _carried(func), *args, **kwargs)

    return method


def _start_of_process(before: Callable[..., None]) -> Callable[..., None]:
    def start(self: Any) -> None:
        headers = carrier() if _is_on() else {}
        if not headers or _is_of_pool(self) or "run" in self.__dict__:
            return before(self)
        self.run = Carried(self.run, headers)
        try:
            return before(self)
        finally:
            self.__dict__.pop("run", None)

    return start


def _carried(function: Callable[..., Any]) -> Callable[..., Any]:
    headers = carrier() if _is_on() else {}
    if not headers or isinstance(function, Carried):
        return function
    return Carried(function, headers)


__all__ = ["instrument_executors"]
