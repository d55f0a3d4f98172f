"""A worker as one would write it for the stock package: it knows nothing of ours.

Says its port on stdout and serves until its stdin ends. `Ping` works: its telemetry is what a test looks for.
"""

import asyncio
import sys

import grpc
from snakepit_bridge import snakepit_bridge_pb2 as pb2
from snakepit_bridge import snakepit_bridge_pb2_grpc as pb2_grpc
from snakepit_bridge import telemetry
from snakepit_bridge.telemetry.backends.grpc import GrpcBackend
from snakepit_bridge.telemetry.stream import TelemetryStream


class Bridge:
    def __init__(self):
        self.stream = TelemetryStream(max_buffer=256)
        telemetry.set_backend(GrpcBackend(self.stream))

    async def Ping(self, request, context):
        with telemetry.span("tool.execution", {"tool": request.message}):
            telemetry.emit("tool.result_size", {"bytes": len(request.message)}, {"tool": request.message}, "c-1")
        return pb2.PingResponse(message=f"{request.message} by {sys.argv[1]}")

    async def StreamTelemetry(self, request_iterator, context):
        async for event in self.stream.stream(request_iterator, context):
            yield event


async def main():
    server = grpc.aio.server()
    bridge = Bridge()
    pb2_grpc.add_BridgeServiceServicer_to_server(bridge, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    bridge.stream.close()
    await server.stop(grace=5)


if __name__ == "__main__":
    asyncio.run(main())
