"""A worker with real work: five tools over the files of Python's own standard library.

The manager that spawns it says in the environment where it listens, and gives it an id and a pool. Every file is one
``python.call``, every tool run on it one ``tool.execution`` span; files that are not Python really
fail to parse, and their exceptions are telemetry like any other.
"""

from __future__ import annotations

import ast
import hashlib
import io
import os
import random
import re
import signal
import sysconfig
import threading
import tokenize
import zlib
from pathlib import Path
from typing import Callable, Iterator

import telemetry_py as telemetry

LARGEST_FILE = 128 * 1024
BINARY = (".so", ".a", ".o", ".pyc")
PAUSE_BETWEEN_FILES = float(os.environ.get("DEMO_PAUSE", "0.02"))
DEFINITION = re.compile(rb"^\s*(?:async\s+)?(?:def|class)\s+(\w+)", re.MULTILINE)


def count_tokens(source: bytes) -> int:
    return sum(1 for _ in tokenize.tokenize(io.BytesIO(source).readline))


def parse_ast(source: bytes) -> int:
    return sum(1 for _ in ast.walk(ast.parse(source)))


def compress(source: bytes) -> int:
    return len(zlib.compress(source))


def digest(source: bytes) -> int:
    return len(hashlib.sha256(source).digest())


def search(source: bytes) -> int:
    return len(DEFINITION.findall(source))


TOOLS: dict[str, Callable[[bytes], int]] = {
    "tokenize": count_tokens,
    "parse_ast": parse_ast,
    "compress": compress,
    "hash": digest,
    "search": search,
}


def standard_library() -> list[Path]:
    """Every file of the standard library that is small enough, Python source or not."""
    skipped = {"site-packages", "dist-packages", "__pycache__"}
    found = []
    for directory, below, names in os.walk(sysconfig.get_path("stdlib")):
        below[:] = [name for name in below if name not in skipped]
        paths = (Path(directory, name) for name in names if not name.endswith(BINARY))
        found.extend(path for path in paths if path.stat().st_size <= LARGEST_FILE)
    return found


def files_for_ever(seed: str) -> Iterator[Path]:
    order = random.Random(seed)
    files = sorted(standard_library())
    while True:
        order.shuffle(files)
        yield from files


def analyse(path: Path) -> None:
    source = path.read_bytes()
    correlation_id = telemetry.new_correlation_id()
    with telemetry.span("python.call", {"command": "analyse"}, correlation_id) as call:
        call.measure(request_size=len(source))
        for tool, run in TOOLS.items():
            try:
                with telemetry.span("tool.execution", {"tool": tool}, correlation_id):
                    result = run(source)
            except (SyntaxError, ValueError, tokenize.TokenError):
                continue  # The span has told; a file that is not Python is no reason to stop.
            telemetry.emit(
                "tool.result_size",
                {"bytes": len(source), "message_size": result},
                {"tool": tool},
                correlation_id,
            )


def main() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    telemetry.start()
    for path in files_for_ever(os.environ.get("TELEMETRY_WORKER_ID", "worker")):
        analyse(path)
        if stop.wait(PAUSE_BETWEEN_FILES):
            break
    telemetry.shutdown(2.0)


if __name__ == "__main__":
    main()
