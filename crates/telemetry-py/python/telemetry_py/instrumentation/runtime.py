"""The interpreter itself: memory, processor time, and the pauses of its garbage collector."""

from __future__ import annotations

import gc as collector
import os
import time

from .. import _threads
from .._loader import NATIVE, emit, native
from ._handle import Instrumentation, seconds, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LEAST = 0.01
"""Seconds between samples, at least."""

_OLDEST = 2
"""The generation whose collections are told of however short they are."""

_LONG = 1_000_000
"""Nanoseconds of a collection that is told of whatever its generation."""


class _Pauses:
    """A callback of the garbage collector that times its passes."""

    def __init__(self) -> None:
        self._begun = 0
        self._passes = 0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        now = time.perf_counter_ns()
        if phase == "start":
            self._begun = now
            return
        if not self._begun:
            # It began before this was there.
            return
        duration, self._begun = now - self._begun, 0
        self._passes += 1
        generation = info.get("generation", 0)
        if duration < _LONG and generation < _OLDEST:
            return
        passes, self._passes = self._passes, 0
        emit(
            "python.gc.completed",
            {"duration": duration, "collected": info.get("collected", 0), "generation": generation, "count": passes},
        )


class _Sampler:
    """Samples from a thread of Python, for backends that are Python objects and that no other thread may
    call."""

    def __init__(self, interval: float, memory: bool, cpu: bool) -> None:
        self._interval, self._memory, self._cpu = interval, memory, cpu
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        # Without a thread there are no samples.
        self._naps = _threads.start(self._run)

    def begin_in_child(self) -> None:
        """A fork has no thread but the one that forked."""
        if self._pid != os.getpid():
            self._begin()

    def close(self) -> None:
        if self._pid == os.getpid() and self._naps is not None:
            self._naps.end()

    def _run(self, naps: native.Naps) -> None:
        pid = {"python_pid": str(os.getpid())}
        before: tuple[int, int] | None = None
        while True:
            used = time.process_time_ns(), time.monotonic_ns()
            if self._memory:
                _sample_memory(pid)
            if self._cpu and before is not None and used[1] > before[1]:
                percent = (used[0] - before[0]) * 100 / (used[1] - before[1])
                emit("python.cpu.sampled", {"cpu_percent": percent, "system_time": time.time_ns()}, pid)
            before = used
            if not naps.nap(self._interval):
                return


def _sample_memory(pid: dict[str, str]) -> None:
    try:
        with open("/proc/self/statm", "rb") as statm:
            total, resident = statm.read().split()[:2]
        page = os.sysconf("SC_PAGE_SIZE")
        sizes = {"rss_bytes": int(resident) * page, "vms_bytes": int(total) * page, "system_time": time.time_ns()}
    except (OSError, ValueError):
        return
    emit("python.memory.sampled", sizes, pid)


_active: Instrumentation | None = None
_wanted: tuple[float, bool, bool, bool] | None = None
_pauses: _Pauses | None = None
_sampler: _Sampler | None = None
_watches_forks = False


def instrument_runtime(interval: float = 10.0, gc: bool = True, memory: bool = True, cpu: bool = True) -> Instrumentation:
    """Emit what the interpreter uses and how long its garbage collector stops it.

    ``memory`` is ``python.memory.sampled``, ``cpu`` is ``python.cpu.sampled`` (percent of one core since the
    sample before), every ``interval`` seconds, at least 0.01. They are sampled by a thread that does not need
    the GIL, from when this process is connected or serves; where events go to a backend that is a Python
    object when this is called, by a thread of Python.

    ``gc`` is ``python.gc.completed`` for each collection of the oldest generation, and for others that take a
    millisecond or longer: ``duration``, objects ``collected``, the ``generation``, and ``count``, the passes
    since the last such event with this one.

    A second call changes the settings. Forked children are sampled, too. ``close()`` on the result, or the
    end of a ``with`` block, ends all of it; memory and processor time are then sampled as
    ``TELEMETRY_RESOURCE_INTERVAL_MS`` says.

    Raises ``TypeError`` or ``ValueError`` for arguments that are not allowed.

    Example::

        import gc

        with telemetry.instrument_runtime(interval=5):
            gc.collect()
        assert "python.gc.completed" in memory.names()
    """
    global _active, _wanted
    checked = (
        seconds("instrument_runtime", "interval", interval, _LEAST),
        switch("instrument_runtime", "gc", gc),
        switch("instrument_runtime", "memory", memory),
        switch("instrument_runtime", "cpu", cpu),
    )
    if _active is None or not _active.is_active:
        _active = Instrumentation(_undo)
    if NATIVE and checked != _wanted:
        _stop()
        _start(*checked)
        _wanted = checked
    return _active


def _start(interval: float, gc: bool, memory: bool, cpu: bool) -> None:
    global _pauses, _sampler, _watches_forks
    if gc:
        _pauses = _Pauses()
        collector.callbacks.append(_pauses)
    if not (memory or cpu):
        return
    if not native.sample_resources(interval, memory, cpu):
        _sampler = _Sampler(interval, memory, cpu)
        if not _watches_forks:
            _watches_forks = True
            os.register_at_fork(after_in_child=_in_child)


def _stop() -> None:
    global _pauses, _sampler
    if _pauses is not None:
        if _pauses in collector.callbacks:
            collector.callbacks.remove(_pauses)
        _pauses = None
    if _sampler is not None:
        _sampler.close()
        _sampler = None
    native.unsample_resources()


def _undo() -> None:
    global _wanted
    _wanted = None
    if NATIVE:
        _stop()


def _in_child() -> None:
    if _sampler is not None:
        _sampler.begin_in_child()


__all__ = ["instrument_runtime"]
