"""A manager in a process of its own, which reads what the benchmark's worker has recorded.

It speaks to the worker over its socket with nothing but grpc and protobuf, and obeys lines on
standard input: `attach ADDRESS` opens a stream, `detach N` waits until N events have come in all and
ends it. Each is answered with one line: `events sum`, the number of events so far and the sum of
their measurement `count`. It ends with standard input.
"""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any

import grpc
from schema import METHOD, messages

CLASSES = messages()


class Manager:
    """Counts events over any number of streams, one after the other."""

    def __init__(self) -> None:
        self.events = 0
        self.sum = 0
        self._arrived = threading.Condition()
        self._stream: Any = None

    def attach(self, address: str) -> None:
        """Open a stream; events flow from now on."""
        self._controls: queue.Queue[Any] = queue.Queue()
        self._controls.put(CLASSES["Control"](toggle=CLASSES["Toggle"](enabled=True)))
        self._channel = grpc.insecure_channel(address)
        call = self._channel.stream_stream(
            METHOD,
            request_serializer=lambda control: control.SerializeToString(),
            response_deserializer=CLASSES["Event"].FromString,
        )
        self._stream = call(iter(self._controls.get, None))
        self._reader = threading.Thread(target=self._read, args=(self._stream,), daemon=True)
        self._reader.start()

    def detach(self, events: int) -> None:
        """End the stream once that many events have come in all; then nothing is on the way."""
        with self._arrived:
            self._arrived.wait_for(lambda: self.events >= events, timeout=60)
        self._stream.cancel()
        self._reader.join()
        self._controls.put(None)
        self._channel.close()

    def _read(self, stream: Any) -> None:
        try:
            for event in stream:
                if event.event_parts:
                    self._take(event)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                raise

    def _take(self, event: Any) -> None:
        count = event.measurements["count"].int_value if "count" in event.measurements else 0
        with self._arrived:
            self.events += 1
            self.sum += count
            self._arrived.notify_all()


def main() -> None:
    """Obey standard input."""
    manager = Manager()
    for line in sys.stdin:
        command, *argument = line.split()
        if command == "attach":
            manager.attach(argument[0])
        else:
            manager.detach(int(argument[0]))
        print(manager.events, manager.sum, flush=True)


if __name__ == "__main__":
    main()
