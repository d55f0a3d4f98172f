"""What the work at hand belongs to: its correlation id and its span; both follow tasks and contexts, not
threads."""

from __future__ import annotations

from contextvars import Token

from ._blocks import Blocks
from ._loader import Span, context_var, native, new_correlation_id
from ._text import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

CORRELATION_HEADER = "x-snakepit-correlation-id"
"""Name of the header, and of the gRPC metadata entry, that carries a correlation id.

Example::

    with telemetry.extract({telemetry.CORRELATION_HEADER: "order-17"}):
        assert telemetry.get_correlation_id() == "order-17"
"""


def set_correlation_id(value: str | None) -> Token[Any]:
    """Make ``value`` the correlation id of this context; ``None`` is none.

    Returns a token for :func:`reset_correlation_id`.

    Example::

        token = telemetry.set_correlation_id("order-17")
        telemetry.emit("tool.result_size", {"bytes": 512})
        telemetry.reset_correlation_id(token)
        assert memory.events[0].correlation_id == "order-17"
    """
    return native.Scope("" if value is None else text_of(value)).set()


def reset_correlation_id(token: Token[Any]) -> None:
    """Put back the correlation id from before.

    A token from another context ends the id in this one, if it is here; one that was used, or what is none,
    changes nothing.

    Example::

        token = telemetry.set_correlation_id("order-17")
        telemetry.reset_correlation_id(token)
        assert telemetry.get_correlation_id() is None
    """
    try:
        context_var.reset(token)
    except Exception as error:
        # What is no token may be said so with an exception of its own.
        if type(error) is ValueError and type(token) is Token:
            native.abandon(token.old_value)


def get_correlation_id(default: str | None = None) -> str | None:
    """The correlation id of this context, or ``default`` if there is none.

    Example::

        with telemetry.correlation("order-17"):
            assert telemetry.get_correlation_id() == "order-17"
        assert telemetry.get_correlation_id("-") == "-"
    """
    return native.correlation_id() or default


def current_span() -> Span | None:
    """The innermost span that is open in this context; ``None`` if there is none.

    Example::

        def search(needle):
            span = telemetry.current_span()
            if span is not None:
                span.set(needle=needle)

        with telemetry.span("tool.execution"):
            search("hay")
        assert memory.events[-1].metadata["needle"] == "hay"
    """
    return native.current_span()


class correlation:
    """Run a block under a correlation id: ``with correlation() as id: ...``

    Without a value a new id is made. Works with ``with`` and ``async with``.

    Example::

        with telemetry.correlation() as request_id:
            telemetry.emit("tool.result_size", {"bytes": 512})
        assert memory.events[0].correlation_id == request_id
    """

    __slots__ = ("_scopes", "value")

    def __init__(self, value: str | None = None) -> None:
        self.value: str = new_correlation_id() if value is None else text_of(value)
        self._scopes = Blocks()

    def __enter__(self) -> str:
        scope = native.Scope(self.value)
        scope.enter()
        self._scopes.begin(scope)
        return self.value

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scope = self._scopes.end()
        if scope is not None:
            scope.leave()

    async def __aenter__(self) -> str:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)


__all__ = [
    "CORRELATION_HEADER",
    "correlation",
    "current_span",
    "get_correlation_id",
    "new_correlation_id",
    "reset_correlation_id",
    "set_correlation_id",
]
