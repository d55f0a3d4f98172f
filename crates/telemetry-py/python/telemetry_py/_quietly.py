"""Code of the program's that is called where nothing may be raised."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def quietly(call: Callable[..., Any], *arguments: object) -> Any:
    """The result of a call of the program's code; false where that raises."""
    try:
        return call(*arguments)
    except Exception:
        return False
