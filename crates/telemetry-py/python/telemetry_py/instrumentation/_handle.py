"""What an ``instrument_...`` call returns: the way to undo it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


_MOST_SECONDS = 1e9
"""The longest time that may be asked for: some thirty years."""


class Instrumentation:
    """Something that is instrumented, until :meth:`close`; also ``with instrument_...(): ...``.

    Example::

        from telemetry_py.instrumentation import Instrumentation

        hooks: Instrumentation = telemetry.instrument_excepthooks()
        assert hooks.is_active
        hooks.close()
    """

    __slots__ = ("_undo", "__weakref__")

    def __init__(self, undo: Callable[[], None]) -> None:
        self._undo: Callable[[], None] | None = undo

    @property
    def is_active(self) -> bool:
        """Whether it has not been undone."""
        return self._undo is not None

    def close(self) -> None:
        """Undo it. What others have put over it meanwhile stays, and ours does nothing below. A second call
        does nothing."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()


def seconds(function: str, name: str, value: object, least: float) -> float:
    """An argument that is a time in seconds; raises for one that is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{function}: {name}={value!r} is not allowed; expected a number of seconds")
    if not least <= value <= _MOST_SECONDS:
        raise ValueError(f"{function}: {name}={value!r} is not allowed; expected seconds from {least} to {_MOST_SECONDS:g}")
    return float(value)


def switch(function: str, name: str, value: object) -> bool:
    """An argument that is true or false; raises for one that is neither."""
    if not isinstance(value, bool):
        raise TypeError(f"{function}: {name}={value!r} is not allowed; expected True or False")
    return value


__all__ = ["Instrumentation", "seconds", "switch"]
