"""Spans within spans, wherever Python runs code: `trees.py ROOTS`. The roots are under way at once, a thread each.

Before a span begins, its label and that of the span around it are written down, as the program knows them and
without telemetry. Labels are the metadata `tool`.
"""

import asyncio
import multiprocessing
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import telemetry_py as telemetry
from witness import work

telemetry.start()
telemetry.instrument_executors()


def node(label: str, around: str) -> telemetry.Span:
    """A span, whose place is written down."""
    told = os.open(os.environ["APPS_EDGES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(told, f"{label} {around}\n".encode())
    os.close(told)
    return telemetry.span("tool.execution", {"tool": label})


def two(label: str, around: str) -> None:
    """One span in another, with work in it."""
    with node(label, around), node(f"{label}/in", label):
        work()


def forked(label: str, around: str) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            two(label, around)
            code = 0 if telemetry.shutdown(20) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def started(method: str, label: str, around: str) -> None:
    child = multiprocessing.get_context(method).Process(target=two, args=(label, around))
    child.start()
    child.join()
    assert child.exitcode == 0


def steps(label: str) -> Iterator[None]:
    for number in range(2):
        two(f"{label}/step{number}", label)
        yield


async def steps_of_a_loop(label: str) -> AsyncIterator[None]:
    for number in range(3):
        await asyncio.sleep(0)
        two(f"{label}/step{number}", label)
        yield


def generators(root: str) -> None:
    """Two that take turns, and what their caller does in between."""
    labels = [f"{root}/generator{number}" for number in range(2)]
    running = [node(label, root)(steps)(label) for label in labels]
    for turn in range(2):
        for generator in running:
            next(generator)
        two(f"{root}/between{turn}", root)
    for generator in running:
        assert next(generator, "over") == "over"


async def tasks(root: str) -> None:
    async def task(label: str) -> None:
        async with node(label, root):
            await asyncio.sleep(0)
            two(f"{label}/late", label)
            await asyncio.to_thread(two, f"{label}/thread", label)

    await asyncio.gather(*(task(f"{root}/task{number}") for number in range(3)))
    label = f"{root}/stream"
    running = node(label, root)(steps_of_a_loop)(label)
    async for _ in running:
        two(f"{root}/beside", root)
        break
    await running.aclose()
    two(f"{root}/after", root)


def grow(root: str, threads: Executor, processes: Executor) -> None:
    with telemetry.correlation(root), node(root, "-"):
        thread = threading.Thread(target=two, args=(f"{root}/thread", root))
        thread.start()
        thread.join()
        threads.submit(two, f"{root}/executor", root).result()
        processes.submit(two, f"{root}/process", root).result()
        # With a pause here and there the test reads as fast as it all arrives.
        telemetry.flush(20)
        generators(root)
        telemetry.flush(20)
        asyncio.run(tasks(root))
        telemetry.flush(20)
        forked(f"{root}/fork", root)
        for method in ("fork", "spawn", "forkserver"):
            started(method, f"{root}/{method}ed", root)
    two(f"{root}-apart", "-")


def main() -> None:
    spawning = multiprocessing.get_context("spawn")
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, mp_context=spawning) as processes:
        roots = [threading.Thread(target=grow, args=(f"root{n}", threads, processes)) for n in range(int(sys.argv[1]))]
        for root in roots:
            root.start()
        for root in roots:
            root.join()
    print("grown", flush=True)


if __name__ == "__main__":
    main()
