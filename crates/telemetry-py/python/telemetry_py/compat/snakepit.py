"""Ours in the place of Snakepit's telemetry: its workers run unchanged, with our queue, policy and ledger.

    python -m telemetry_py.compat.snakepit script.py arguments ...
    python -m telemetry_py.compat.snakepit -m module arguments ...

or, in a program, before or after it imports ``snakepit_bridge``::

    from telemetry_py.compat import snakepit

    snakepit.install()

The other modules of ``snakepit_bridge`` stay its own. Where it is not installed, ours stand alone under its name.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = "usage: python -m telemetry_py.compat.snakepit (script.py | -m module) [arguments ...]"


def install() -> None:
    """Put our modules in the place of ``snakepit_bridge.telemetry``, its submodules and ``.otel_tracing``.

    Modules of Snakepit's that are loaded already are replaced, also where their functions and classes were
    imported by name; a backend that was set stays in force. Objects that were made of their classes remain what
    they are. A second call changes nothing.

    Example::

        from telemetry_py.compat import snakepit

        snakepit.install()
        from snakepit_bridge.telemetry import emit

        emit("tool.result_size", {"bytes": 512})
        assert memory.names() == ["tool.result_size"]
    """
    from ._replacement import replace

    replace()


def main(arguments: Sequence[str]) -> int | None:
    """Run a script or a module with our modules in place; what it exits with goes on.

    Example::

        import sys
        from telemetry_py.compat import snakepit

        if __name__ == "__main__" and len(sys.argv) > 1:
            sys.exit(snakepit.main(sys.argv[1:]))
    """
    import os
    import runpy

    by_module = arguments[:1] == ["-m"]
    rest = list(arguments[by_module:])
    if not rest or rest[0].startswith("-"):
        print(_USAGE, file=sys.stderr)
        return 2
    install()
    sys.argv[:] = rest
    if by_module:
        sys.path[0] = os.getcwd()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(rest[0]))
        runpy.run_path(rest[0], run_name="__main__")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

__all__ = ["install", "main"]
