"""A span around every call of a function, named after it."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from ._decorate import decorate
from ._loader import Span
from ._text import class_name

_Function = TypeVar("_Function", bound=Callable[..., Any])

MAX_SEGMENTS = 7
"""Segments of a name that leave room for ``.exception``."""
MAX_SEGMENT = 64
MAX_ARGUMENTS = 16
"""Arguments of a call that are captured; those after them are not."""
MAX_TEXT = 100
"""Characters of a captured text."""


@overload
def instrument(fn: _Function, *, name: str | None = None, metadata: Mapping[str, object] | None = None, capture_args: bool = False) -> _Function: ...
@overload
def instrument(
    fn: None = None, *, name: str | None = None, metadata: Mapping[str, object] | None = None, capture_args: bool = False
) -> Callable[[_Function], _Function]: ...
def instrument(
    fn: Any = None,
    *,
    name: str | None = None,
    metadata: Mapping[str, object] | None = None,
    capture_args: bool = False,
) -> Any:
    """Make every call of a function a span; with or without parentheses.

    For functions, coroutines, generators, async generators and methods, also below ``@staticmethod`` and
    ``@classmethod``, and for objects with ``__call__``. The span is called ``name``, or after module and qualified
    name, of such an object those of its class: ``shop.cart.Cart.add``.
    With ``capture_args`` the first 16 arguments of each call are metadata ``arg_{name}``: numbers, texts of up
    to 100 characters, of anything else the type and, where there is one, the length. Those whose names tell of
    a secret are hidden, as in all metadata.

    Raises ``TypeError`` for a class, which would no longer be one, and for what cannot be called.

    Example::

        @telemetry.instrument(name="cart.add", capture_args=True)
        def add(item, amount=1):
            return amount

        add("tea", 2)
        assert memory.names() == ["cart.add.start", "cart.add.stop"]
        assert memory.events[0].metadata == {"arg_item": "tea", "arg_amount": "2"}
    """
    if fn is None:
        return functools.partial(instrument, name=name, metadata=metadata, capture_args=capture_args)
    if isinstance(fn, (staticmethod, classmethod)):
        inner = instrument(fn.__func__, name=name, metadata=metadata, capture_args=capture_args)
        return type(fn)(inner)
    if isinstance(fn, type):
        raise TypeError(f"instrument: the class {fn.__qualname__} cannot be instrumented; put @instrument above its methods")
    if not callable(fn):
        raise TypeError(f"instrument: {fn!r} cannot be called; expected a function, as in @instrument or @instrument(name='cart.add')")
    template = Span(name or name_of(fn), metadata)
    if not capture_args:
        return decorate(template, fn, "instrument")
    return decorate(_Capturing(template, fn), fn, "instrument")


def name_of(function: Any) -> str:
    """Module and qualified name as a valid name of events; of a callable object, those of its class."""
    named = function if hasattr(function, "__qualname__") else type(function)
    path = f"{getattr(named, '__module__', None) or 'python'}.{named.__qualname__}".replace("<locals>.", "").replace("<lambda>", "lambda")
    segments = [re.sub(r"[^A-Za-z0-9_-]", "_", segment)[:MAX_SEGMENT] for segment in path.split(".") if segment]
    return ".".join(segments[-MAX_SEGMENTS:])


class _Capturing:
    """What a decorator makes spans of, with the arguments of each call."""

    def __init__(self, template: Span, function: Callable[..., Any]) -> None:
        self._template = template
        try:
            self._signature: inspect.Signature | None = inspect.signature(function)
        except (TypeError, ValueError):
            self._signature = None

    def _again(self) -> Span:
        return self._template._again()

    def _for_call(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Span:
        span = self._again()
        span.set(**self._captured(arguments, keywords))
        return span

    def _captured(self, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, object]:
        if self._signature is None:
            return {}
        try:
            bound = self._signature.bind_partial(*arguments, **keywords).arguments
        except TypeError:
            # The call will say so itself.
            return {}
        named = [(key, value) for key, value in bound.items() if key not in ("self", "cls")]
        return {f"arg_{key}": _shown(value) for key, value in named[:MAX_ARGUMENTS]}


def _shown(value: object) -> object:
    """A value in few characters, for which no code of the program runs."""
    kind = type(value)
    if value is None or kind in (bool, float):
        return str(value)
    if kind is int:
        return str(value) if -(2**64) < value < 2**64 else "int"  # type: ignore[operator]
    if kind is str:
        text: str = value  # type: ignore[assignment]
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    if kind in (list, tuple, dict, set, frozenset, bytes, bytearray):
        return f"{kind.__name__}[{len(value)}]"  # type: ignore[arg-type]
    return class_name(value)


__all__ = ["instrument"]
