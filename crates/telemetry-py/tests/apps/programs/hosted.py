"""A worker whose own gRPC server carries its telemetry: `hosted.py (aio | threads) ADDRESS`.

Works twenty times at each SIGUSR1, until it is asked to end.
"""

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import grpc
import telemetry_py as telemetry
from telemetry_py.grpc_interceptor import SyncTelemetryInterceptor, TelemetryInterceptor
from witness import work

wishes: SimpleQueue[int | None] = SimpleQueue()
stream = telemetry.TelemetryStream(max_buffer=65536)
telemetry.set_backend(telemetry.GrpcBackend(stream))


def produce() -> None:
    while (asked := wishes.get()) is not None:
        for _ in range(asked):
            work()
    stream.close()


async def serve_on_a_loop(address: str) -> None:
    server = grpc.aio.server(interceptors=[TelemetryInterceptor(stream, answers=["Ping", "Heartbeat"])])
    server.add_insecure_port(address)
    await server.start()
    await asyncio.to_thread(produce)
    await server.stop(grace=10)


def serve_with_threads(address: str) -> None:
    interceptors = [SyncTelemetryInterceptor(stream, answers=["Ping", "Heartbeat"])]
    server = grpc.server(ThreadPoolExecutor(4), interceptors=interceptors)
    server.add_insecure_port(address)
    server.start()
    produce()
    server.stop(grace=10).wait()


signal.signal(signal.SIGUSR1, lambda *_: wishes.put(20))
signal.signal(signal.SIGTERM, lambda *_: wishes.put(None))
print("ready", flush=True)
if sys.argv[1] == "aio":
    asyncio.run(serve_on_a_loop(sys.argv[2]))
else:
    serve_with_threads(sys.argv[2])
print(stream.stats())
