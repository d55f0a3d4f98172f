"""Functions that run elsewhere under the correlation id, and the trace, of whoever sent them.

They can be pickled, so they go to other processes, however those are started.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from ..propagation import extract, inject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_R = TypeVar("_R")


def carrier() -> dict[str, str]:
    """What is carried: the headers of an outgoing call; empty where there is nothing to carry."""
    headers: dict[str, str] = {}
    inject(headers)
    return headers


class Carried(Generic[_R]):
    """A function, and under what to run it. Pickles if the function does.

    Example::

        from telemetry_py.instrumentation import Carried

        function = Carried(telemetry.get_correlation_id, {"x-snakepit-correlation-id": "order-17"})
        assert function() == "order-17"
    """

    __slots__ = ("_function", "_headers")

    def __init__(self, function: Callable[..., _R], headers: Mapping[str, str]) -> None:
        self._function, self._headers = function, dict(headers)

    @property
    def __wrapped__(self) -> Callable[..., _R]:
        return self._function

    def __call__(self, /, *arguments: Any, **named: Any) -> _R:
        with extract(self._headers):
            return self._function(*arguments, **named)

    def __repr__(self) -> str:
        return f"<Carried {self._function!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._function, self._headers)


def carried(function: Callable[..., _R]) -> Carried[_R]:
    """``function``, to be run under the correlation id and the trace of now, in whatever thread or process.

    For ``concurrent.futures``, ``multiprocessing`` and whatever else pickles functions or calls them
    elsewhere. It can be called often and at once. Raises ``TypeError`` for what cannot be called.

    Example::

        import threading

        found = []
        with telemetry.correlation("order-17"):
            work = telemetry.instrumentation.carried(lambda: found.append(telemetry.get_correlation_id()))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == ["order-17"]
    """
    if not callable(function):
        raise TypeError(f"carried: {function!r} cannot be called")
    return Carried(function, carrier())


__all__ = ["Carried", "carried", "carrier"]
