"""What a child that is spawned runs before its program: it puts our modules in place, as they are in its parent.

Run by its path, since the child may not know yet where packages are.
"""

import os
import sys


def main() -> None:
    try:
        sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        from telemetry_py.compat.snakepit import install

        install()
    except Exception as error:
        # The child is worth more than its telemetry.
        print(f"telemetry_py: a spawned child goes on with the telemetry of snakepit_bridge: {error!r}", file=sys.stderr)


if __name__ == "__main__":
    main()
