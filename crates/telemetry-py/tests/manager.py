"""A small manager for tests: dials a worker over a plain gRPC channel and reads what it sends.

Messages are protobuf classes built here from a hand-written descriptor, so that the test shares no
code with the worker.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PATIENCE = 60.0
"""Seconds that anything may take; machines that run tests are busy."""

METHOD = "/snakepit.bridge.BridgeService/StreamTelemetry"

_FIELD = descriptor_pb2.FieldDescriptorProto


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="stock_manager.proto", package="stock", syntax="proto3"
    )

    def field(message: Any, name: str, number: int, kind: int, *, repeated: bool = False, type_name: str = "", oneof: bool = False) -> None:
        added = message.field.add(
            name=name,
            number=number,
            type=kind,
            label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
        )
        if type_name:
            added.type_name = type_name
        if oneof:
            added.oneof_index = 0

    value = file.message_type.add(name="Value")
    value.oneof_decl.add(name="value")
    field(value, "int_value", 1, _FIELD.TYPE_INT64, oneof=True)
    field(value, "float_value", 2, _FIELD.TYPE_DOUBLE, oneof=True)
    field(value, "string_value", 3, _FIELD.TYPE_STRING, oneof=True)

    span = file.message_type.add(name="Span")
    field(span, "trace_id", 1, _FIELD.TYPE_BYTES)
    field(span, "span_id", 2, _FIELD.TYPE_FIXED64)
    field(span, "parent_span_id", 3, _FIELD.TYPE_FIXED64)
    field(span, "phase", 4, _FIELD.TYPE_INT32)

    event = file.message_type.add(name="Event")
    for entry, kind, type_name in (
        ("MeasurementsEntry", _FIELD.TYPE_MESSAGE, ".stock.Value"),
        ("MetadataEntry", _FIELD.TYPE_STRING, ""),
    ):
        nested = event.nested_type.add(name=entry)
        nested.options.map_entry = True
        field(nested, "key", 1, _FIELD.TYPE_STRING)
        field(nested, "value", 2, kind, type_name=type_name)
    field(event, "event_parts", 1, _FIELD.TYPE_STRING, repeated=True)
    field(event, "measurements", 2, _FIELD.TYPE_MESSAGE, repeated=True, type_name=".stock.Event.MeasurementsEntry")
    field(event, "metadata", 3, _FIELD.TYPE_MESSAGE, repeated=True, type_name=".stock.Event.MetadataEntry")
    field(event, "timestamp_ns", 4, _FIELD.TYPE_INT64)
    field(event, "correlation_id", 5, _FIELD.TYPE_STRING)
    field(event, "sequence", 1001, _FIELD.TYPE_UINT64)
    field(event, "span", 1005, _FIELD.TYPE_MESSAGE, type_name=".stock.Span")

    toggle = file.message_type.add(name="Toggle")
    field(toggle, "enabled", 1, _FIELD.TYPE_BOOL)
    rejected_name = file.message_type.add(name="RejectedName")
    field(rejected_name, "name", 1, _FIELD.TYPE_STRING)
    field(rejected_name, "suggestion", 2, _FIELD.TYPE_STRING)
    rejected = file.message_type.add(name="Rejected")
    field(rejected, "names", 1, _FIELD.TYPE_MESSAGE, repeated=True, type_name=".stock.RejectedName")
    control = file.message_type.add(name="Control")
    control.oneof_decl.add(name="control")
    field(control, "toggle", 1, _FIELD.TYPE_MESSAGE, type_name=".stock.Toggle", oneof=True)
    field(control, "rejected", 1008, _FIELD.TYPE_MESSAGE, type_name=".stock.Rejected", oneof=True)

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"stock.{name}"))
        for name in ("Event", "Control", "Toggle", "Rejected", "RejectedName")
    }


CLASSES = _classes()


def target(address: str) -> str:
    """An address of ours as grpc wants it: there a socket path is part of a URI."""
    scheme, colon, path = address.partition("unix:")
    return address if scheme or not colon else f"unix:{quote(path)}"


class Manager:
    """One stream to one worker, read by a thread."""

    def __init__(self, address: str, read: Callable[[bytes], Any] = CLASSES["Event"].FromString) -> None:
        """Dials; `read` makes an event of the bytes of each message."""
        self.events: queue.Queue[Any] = queue.Queue()
        """Events as they came; `None` after the last."""
        self._controls: queue.Queue[bytes | None] = queue.Queue()
        self._channel = grpc.insecure_channel(target(address))
        call = self._channel.stream_stream(
            METHOD,
            response_deserializer=read,
        )
        self.toggle(True)
        self._stream = call(iter(self._controls.get, None))
        self.code: grpc.StatusCode | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for event in self._stream:
                self.events.put(event)
            self.code = self._stream.code()
        except grpc.RpcError as error:
            self.code = error.code()
        self.events.put(None)

    def toggle(self, enabled: bool) -> None:
        self.control(CLASSES["Control"](toggle=CLASSES["Toggle"](enabled=enabled)))

    def reject(self, **names: str) -> None:
        """Says that it takes no event of these names, with a `_` for each dot; each with what was meant."""
        given = [CLASSES["RejectedName"](name=name.replace("_", "."), suggestion=meant) for name, meant in names.items()]
        self.control(CLASSES["Control"](rejected=CLASSES["Rejected"](names=given)))

    def control(self, control: Any) -> None:
        """Sends any message."""
        self._controls.put(control.SerializeToString())

    def next(self, timeout: float = PATIENCE) -> Any:
        """The next event; fails after `timeout` seconds and at the end of the stream."""
        event = self.events.get(timeout=timeout)
        assert event is not None, f"the stream ended with {self.code}"
        return event

    def until(self, name: str, timeout: float = PATIENCE) -> list[Any]:
        """All events up to and with the first of that name."""
        events = []
        while not events or name_of(events[-1]) != name:
            events.append(self.next(timeout))
        return events

    def rest(self, timeout: float = PATIENCE) -> Iterator[Any]:
        """What comes until the stream ends."""
        while (event := self.events.get(timeout=timeout)) is not None:
            yield event

    def close(self) -> None:
        self._controls.put(None)
        self._stream.cancel()
        self._reader.join(PATIENCE)
        self._channel.close()

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def name_of(event: Any) -> str:
    return ".".join(event.event_parts)
