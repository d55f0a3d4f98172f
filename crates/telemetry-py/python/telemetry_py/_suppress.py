"""Blocks in which nothing is emitted."""

from __future__ import annotations

from ._blocks import Blocks
from ._loader import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class suppress:
    """Emit nothing within a block: ``with suppress(): ...``

    It holds for the task or thread that runs the block and for the tasks that it starts, until the block
    ends, and counts nothing. A span that began before goes on and ends; one that begins within the block
    emits nothing at all. Works with ``with`` and ``async with``.

    Example::

        with telemetry.suppress():
            telemetry.emit("tool.result_size", {"bytes": 512})
        assert memory.events == []
    """

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks = Blocks()

    def __enter__(self) -> None:
        self._blocks.begin(native.suppress_begin())

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        block = self._blocks.end()
        if block is not None:
            native.suppress_end(*block)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)


__all__ = ["suppress"]
