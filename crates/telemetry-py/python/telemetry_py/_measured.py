"""Two shapes of events that need no span: a count, and a duration."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ._blocks import Blocks
from ._loader import emit

if TYPE_CHECKING:
    from typing_extensions import Self

_MOST_ENTRIES = 256
"""Entries of metadata that are taken along; far more than an event may have."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def counter(event: str, /, value: float = 1, **metadata: object) -> None:
    """Count something: one event with the measurement ``count``.

    ``counter("cache.miss", table="users")`` is ``emit("cache.miss", {"count": 1}, {"table": "users"})``.
    Metadata may have any name but ``value``, which is what is counted; :func:`emit` takes that one, too.
    Never raises.

    Example::

        telemetry.counter("cache.miss", table="users")
        assert memory.events[0].measurements == {"count": 1}
    """
    emit(event, {"count": value}, metadata or None)


class timed:
    """Measure a block, or each call of a function, as one event with ``duration`` in nanoseconds.

    ``with timed("cache.load", {"table": "users"}): ...``, also ``async with``, or ``@timed("cache.load")`` on
    functions, coroutines, generators and async generators. A block that ends by an exception is measured,
    too, with its type as ``error_type``; the exception goes on.

    Example::

        @telemetry.timed("cache.load", {"table": "users"})
        def load():
            return 42

        load()
        assert memory.names() == ["cache.load"] and memory.events[0].measurements["duration"] > 0
    """

    def __init__(self, event: str, metadata: Mapping[str, object] | None = None) -> None:
        self._event = event
        self._metadata = metadata
        self._began = Blocks()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]:
        began = self._began.end()
        if began is not None:
            duration = time.monotonic_ns() - began
            metadata: Any = self._metadata
            if isinstance(exc_type, type) and not issubclass(exc_type, GeneratorExit):
                metadata = _with_error(metadata, exc_type)
            emit(self._event, {"duration": duration}, metadata)
        return False

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]:
        return self.__exit__(exc_type, exc, traceback)

    def __call__(self, function: _Function) -> _Function:
        from ._decorate import decorate

        if isinstance(function, type):
            raise TypeError(f"timed: the class {function.__name__} cannot be measured; decorate its methods")
        decorated: Any = decorate(self, function, "timed")
        return decorated  # type: ignore[no-any-return]

    def _again(self) -> timed:
        """One like this that has not begun; what decorators ask for."""
        return timed(self._event, self._metadata)

    def _enter(self) -> None:
        """What only measures is no span that events could be in."""

    def _leave(self) -> None:
        pass

    def _start(self) -> None:
        self._began.begin(time.monotonic_ns())


def _with_error(metadata: Any, exc_type: type[BaseException]) -> Any:
    """Metadata and the type of an exception; as they are where they cannot be copied."""
    try:
        # There may be no end of a mapping that is no dict.
        held = () if metadata is None else islice(metadata.items(), _MOST_ENTRIES)
        return {**dict(held), "error_type": exc_type.__name__}
    except Exception:
        return metadata


__all__ = ["counter", "timed"]
