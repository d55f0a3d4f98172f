"""A worker whose own gRPC server carries its telemetry: `hosted.py (aio | threads) ADDRESS`.

Works until it is asked to end.
"""

import asyncio
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import telemetry_py as telemetry
from telemetry_py.grpc_interceptor import SyncTelemetryInterceptor, TelemetryInterceptor
from witness import work

ended = threading.Event()
stream = telemetry.TelemetryStream(max_buffer=65536)
telemetry.set_backend(telemetry.GrpcBackend(stream))


def produce() -> None:
    while not ended.wait(0.001):
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


signal.signal(signal.SIGTERM, lambda *_: ended.set())
if sys.argv[1] == "aio":
    asyncio.run(serve_on_a_loop(sys.argv[2]))
else:
    serve_with_threads(sys.argv[2])
print(stream.stats())
