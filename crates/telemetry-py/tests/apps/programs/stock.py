"""A worker with the habits of a stock one: grpc.aio without options, one event for each message, no headers before the
first, and whichever stream ends takes the events away from the one that is there then.

Says its port on stdout; each line of stdin is an event in hexadecimal digits.
"""

import asyncio
import collections
import os
import sys
import threading

import grpc


class Stream:
    """Events wait here while there is no stream, and go to the one that came last."""

    def __init__(self):
        self.loop = None
        self.queue = asyncio.Queue()
        self.held = collections.deque()

    def emit(self, event):
        if self.loop is None:
            self.held.append(event)
        else:
            self.loop.call_soon_threadsafe(self.queue.put_nowait, event)

    async def serve(self, controls, _context):
        async def read():
            async for _ in controls:
                pass

        reading = asyncio.create_task(read())
        self.loop = asyncio.get_running_loop()
        while self.held:
            self.queue.put_nowait(self.held.popleft())
        try:
            while True:
                yield await self.queue.get()
        finally:
            self.loop = None
            reading.cancel()


async def pong(request, _context):
    return request


async def main():
    stream = Stream()
    server = grpc.aio.server()
    methods = {
        "Ping": grpc.unary_unary_rpc_method_handler(pong),
        "StreamTelemetry": grpc.stream_stream_rpc_method_handler(stream.serve),
    }
    service = "snakepit.bridge.BridgeService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, methods)])
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    print(port, flush=True)

    def listen():
        for line in sys.stdin:
            stream.emit(bytes.fromhex(line))
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    await asyncio.Event().wait()


asyncio.run(main())
