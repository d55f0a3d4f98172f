"""The wire messages as protobuf classes, from a hand-written descriptor.

For the stand-in worker and the manager of the benchmark; shares no code with what is measured.
"""

from __future__ import annotations

from typing import Any

METHOD = "/snakepit.bridge.BridgeService/StreamTelemetry"


def messages() -> dict[str, Any]:
    """The classes `Event`, `Control` and `Toggle`. Raises ImportError without protobuf."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")

    def field(message: Any, name: str, number: int, kind: int, *, repeated: bool = False, of: str = "", oneof: bool = False) -> None:
        added = message.field.add(
            name=name,
            number=number,
            type=kind,
            label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
        )
        if of:
            added.type_name = f".bench.{of}"
        if oneof:
            added.oneof_index = 0

    value = file.message_type.add(name="Value")
    value.oneof_decl.add(name="value")
    field(value, "int_value", 1, kinds.TYPE_INT64, oneof=True)
    field(value, "float_value", 2, kinds.TYPE_DOUBLE, oneof=True)
    field(value, "string_value", 3, kinds.TYPE_STRING, oneof=True)

    event = file.message_type.add(name="Event")
    for entry, kind, of in (
        ("MeasurementsEntry", kinds.TYPE_MESSAGE, "Value"),
        ("MetadataEntry", kinds.TYPE_STRING, ""),
    ):
        nested = event.nested_type.add(name=entry)
        nested.options.map_entry = True
        field(nested, "key", 1, kinds.TYPE_STRING)
        field(nested, "value", 2, kind, of=of)
    field(event, "event_parts", 1, kinds.TYPE_STRING, repeated=True)
    field(event, "measurements", 2, kinds.TYPE_MESSAGE, repeated=True, of="Event.MeasurementsEntry")
    field(event, "metadata", 3, kinds.TYPE_MESSAGE, repeated=True, of="Event.MetadataEntry")
    field(event, "timestamp_ns", 4, kinds.TYPE_INT64)
    field(event, "correlation_id", 5, kinds.TYPE_STRING)
    field(event, "sequence", 1001, kinds.TYPE_UINT64)

    toggle = file.message_type.add(name="Toggle")
    field(toggle, "enabled", 1, kinds.TYPE_BOOL)
    control = file.message_type.add(name="Control")
    control.oneof_decl.add(name="control")
    field(control, "toggle", 1, kinds.TYPE_MESSAGE, of="Toggle", oneof=True)

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.{name}"))
        for name in ("Event", "Control", "Toggle")
    }
