"""The servicer of the stock protocol, as a generated module has it: it serializes with the classes of its own."""

from __future__ import annotations

import grpc
from snakepit_bridge import snakepit_bridge_pb2 as pb2

SERVICE = "snakepit.bridge.BridgeService"


def _serialize(kind):
    """What `kind.SerializeToString` does: anything else is refused."""
    def serialize(message):
        if type(message) is not kind:
            raise TypeError(f"{type(message)} is no {kind.__name__}")
        return message.SerializeToString()

    return serialize


def add_BridgeServiceServicer_to_server(servicer, server) -> None:
    handlers = {
        "Ping": grpc.unary_unary_rpc_method_handler(
            servicer.Ping, pb2.PingRequest.FromString, _serialize(pb2.PingResponse)
        ),
        "StreamTelemetry": grpc.stream_stream_rpc_method_handler(
            servicer.StreamTelemetry, pb2.TelemetryControl.FromString, _serialize(pb2.TelemetryEvent)
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
