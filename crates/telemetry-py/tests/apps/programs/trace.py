"""A worker that does a call's work in many places: in the handler, in a thread of an executor, in a child that
the thread forks, in a program that the child starts, and in one in Rust that this one starts. `trace.py` serves and says where; `trace.py child` is
that program.

Ends when its stdin does. Each place is a span, with one piece of work in it.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import telemetry_py as telemetry
from witness import work

telemetry.start()


def in_program() -> None:
    with telemetry.span("tool.execution", {"tool": "subprocess"}):
        work()
        subprocess.run([os.environ["APPS_HOST"], "alone"], env=telemetry.outgoing_environ(), check=True)


def in_fork() -> None:
    with telemetry.span("tool.execution", {"tool": "forked"}):
        work()
        subprocess.run([sys.executable, __file__, "child"], env=telemetry.outgoing_environ(), check=True)


def in_thread() -> None:
    with telemetry.span("tool.execution", {"tool": "thread"}):
        work()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                in_fork()
                code = 0 if telemetry.shutdown(20) else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert status == 0, f"the child ended with {status}"


def serve() -> None:
    import grpc
    from telemetry_py.grpc_context import SpanInterceptor

    telemetry.instrument_executors()
    threads = ThreadPoolExecutor(4)

    def ping(request: bytes, context: grpc.ServicerContext) -> bytes:
        with telemetry.span("tool.execution", {"tool": "handler"}):
            work()
            threads.submit(in_thread).result()
        return b""

    server = grpc.server(ThreadPoolExecutor(4), interceptors=[SpanInterceptor()])
    handlers = {"Ping": grpc.unary_unary_rpc_method_handler(ping)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("snakepit.bridge.BridgeService", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=20).wait()
    threads.shutdown()


if sys.argv[1:] == ["child"]:
    in_program()
else:
    serve()
