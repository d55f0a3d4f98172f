"""The correlation id of the work at hand: follows tasks and contexts, not threads."""

from __future__ import annotations

from ._loader import correlation_var, new_correlation_id, set_correlation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType

CORRELATION_HEADER = "x-snakepit-correlation-id"
"""Name of the gRPC metadata entry that carries a correlation id."""


def set_correlation_id(value: str | None) -> Token[str]:
    """Make ``value`` the correlation id of this context; ``None`` is none.

    Returns a token for :func:`reset_correlation_id`.
    """
    return set_correlation("" if value is None else _text(value))


def reset_correlation_id(token: Token[str]) -> None:
    """Put back the correlation id from before.

    A token from another context, one that was used, or what is none, changes nothing.
    """
    try:
        correlation_var.reset(token)
    except (TypeError, ValueError, RuntimeError):
        pass


def _text(value: object) -> str:
    """The text of an id; one that has none is as good as any other."""
    if type(value) is str:
        return value
    try:
        return str.__str__(value) if isinstance(value, str) else str(value)
    except Exception:
        return f"<unprintable {type(value).__name__}>"


def get_correlation_id(default: str | None = None) -> str | None:
    """The correlation id of this context, or ``default`` if there is none."""
    return correlation_var.get() or default


class correlation:
    """Run a block under a correlation id: ``with correlation() as id: ...``

    Without a value a new id is made. Works with ``with`` and ``async with``.
    """

    __slots__ = ("_tokens", "value")

    def __init__(self, value: str | None = None) -> None:
        self.value = new_correlation_id() if value is None else _text(value)
        self._tokens: list[Token[str]] = []

    def __enter__(self) -> str:
        self._tokens.append(set_correlation_id(self.value))
        return self.value

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._tokens:
            reset_correlation_id(self._tokens.pop())

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
    "get_correlation_id",
    "new_correlation_id",
    "reset_correlation_id",
    "set_correlation_id",
]
