"""Makes spans in many threads and, meanwhile, in many forked children, and writes down their ids:
`unique.py DIRECTORY THREADS SPANS CHILDREN SPANS`. A record is 16 bytes of the trace and 8 of the span."""

import os
import sys
import threading

import telemetry_py as telemetry

directory = sys.argv[1]
threads, of_a_thread, children, of_a_child = map(int, sys.argv[2:])
telemetry.set_backend(telemetry.MemoryBackend(limit=0))


def make(name: str, count: int) -> None:
    made = bytearray()
    for _ in range(count):
        with telemetry.span("op") as span:
            made += bytes.fromhex(span.trace_id + span.span_id)
    with open(os.path.join(directory, name), "wb") as file:
        file.write(made)


running = [threading.Thread(target=make, args=(f"thread-{number}", of_a_thread)) for number in range(threads)]
for thread in running:
    thread.start()
forked = []
for number in range(children):
    child = os.fork()
    if child == 0:
        make(f"child-{number}", of_a_child)
        os._exit(0)
    forked.append(child)
codes = {os.waitpid(child, 0)[1] for child in forked}
for thread in running:
    thread.join()
sys.exit(codes != {0})
