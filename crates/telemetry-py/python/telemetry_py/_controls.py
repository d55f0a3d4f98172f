"""What a manager says on a call: each control reaches the native module, and none that fails ends the rest.

What is wrong with a control is kept in the stream's ``stats()["control_error"]``.
"""

from __future__ import annotations

import sys

from ._text import class_name, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Any

    from ._native import Stream, StreamCall

_MOST_FAILURES = 8
"""Failures in a row after which whatever controls come from counts as broken."""


def hear(call: StreamCall, stream: Stream, controls: Any) -> None:
    """Hear until ``controls`` end, on a thread of its own."""
    in_order = False
    try:
        failures = 0
        iterator: Iterator[object] = iter(() if controls is None else controls)
        while failures < _MOST_FAILURES:
            try:
                control = next(iterator)
            except StopIteration:
                in_order = not failures
                break
            except Exception as error:
                # Of gRPC: the call is over. Of anything else: perhaps the next one is better.
                failures += 1
                _note(stream, error)
                continue
            failures = 0
            _take(call, stream, control)
    except Exception as error:
        _note(stream, error)
    finally:
        call.hear_end(in_order)


async def hear_async(call: StreamCall, stream: Stream, controls: Any, context: Any) -> None:
    """Hear until ``controls`` end, as a task."""
    in_order = False
    try:
        failures = 0
        iterator = _iterate(controls)
        while failures < _MOST_FAILURES:
            try:
                control = await anext(iterator)
            except StopAsyncIteration:
                if not failures or isinstance(iterator, _Requests):
                    in_order = True
                    break
                # An async generator ends with what it raises, and so do the requests of grpc.aio when one
                # of them cannot be read. Their context goes on to read.
                further = _read_on(context)
                if further is None:
                    break
                iterator = further
                continue
            except Exception as error:
                failures += 1
                _note(stream, error)
                continue
            failures = 0
            _take(call, stream, control)
    except Exception as error:
        _note(stream, error)
    finally:
        call.hear_end(in_order)


def _iterate(controls: Any) -> AsyncIterator[object]:
    """Whatever controls come from as an async iterator."""
    if hasattr(controls, "__aiter__"):
        iterator: AsyncIterator[object] = aiter(controls)
        return iterator
    return _each(iter(() if controls is None else controls))


async def _each(controls: Iterator[object]) -> AsyncIterator[object]:
    """A plain iterator, which may wait: on a thread."""
    import asyncio

    end = object()
    while (control := await asyncio.to_thread(next, controls, end)) is not end:
        yield control


class _Requests:
    """The requests that the context of a grpc.aio call reads."""

    def __init__(self, read: Any, eof: object) -> None:
        self._read = read
        self._eof = eof

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> object:
        request: object = await self._read()
        if request is self._eof:
            raise StopAsyncIteration
        return request


def _read_on(context: Any) -> _Requests | None:
    """The requests behind one that could not be read; ``None`` where nobody can tell."""
    aio: Any = sys.modules.get("grpc.aio")
    read = getattr(context, "read", None)
    return None if aio is None or not callable(read) else _Requests(read, aio.EOF)


def _take(call: StreamCall, stream: Stream, control: Any) -> None:
    """Hand on one control, a message or its bytes."""
    try:
        if not isinstance(control, bytes):
            control = control.SerializeToString()
        call.hear(control)
    except Exception as error:
        _note(stream, error)


def _note(stream: Stream, error: BaseException) -> None:
    """Keep what went wrong."""
    stream.note_control_error(f"{class_name(error)}: {text_of(error)}"[:256])
