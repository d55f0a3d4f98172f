"""The classes of the stock protocol, made from our description without what we have added to it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_DESCRIPTION = Path(__file__).parents[4] / "telemetry-proto/src/generated/descriptor.bin"
_FIRST_OF_OURS = 1001


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTION.read_bytes()).file:
        for message in file.message_type:
            theirs = [field for field in message.field if field.number < _FIRST_OF_OURS]
            synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
            del message.field[:]
            message.field.extend(theirs)
            for index in sorted(synthetic - {field.oneof_index for field in theirs if field.HasField("oneof_index")}, reverse=True):
                del message.oneof_decl[index]
        pool.Add(file)
    return pool


def _message(name: str) -> type:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"snakepit.bridge.{name}"))


_POOL = _pool()

TelemetryEvent = _message("TelemetryEvent")
TelemetryControl = _message("TelemetryControl")
TelemetryToggle = _message("TelemetryToggle")
TelemetrySamplingUpdate = _message("TelemetrySamplingUpdate")
TelemetryEventFilter = _message("TelemetryEventFilter")
PingRequest = _message("PingRequest")
PingResponse = _message("PingResponse")
