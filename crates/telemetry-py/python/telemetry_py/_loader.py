"""The native module, or its no-op stand-in where it cannot be loaded.

It cannot in a subinterpreter and on a platform without a wheel. Telemetry is then off, with one
warning; the program runs on.
"""

from __future__ import annotations

TYPE_CHECKING = False
"""For type checkers only, which take it for true: ``typing`` costs more than all the rest of the import."""

NATIVE: bool
"""Whether the native module is there; without it nothing is recorded.

Example::

    assert telemetry.NATIVE, "no native module for this platform"
"""

if TYPE_CHECKING:
    from . import _native as native
else:
    try:
        from . import _native as native
    except ImportError as error:
        import warnings

        from . import _fallback as native

        try:
            warnings.warn(f"telemetry is off: its native module cannot be loaded ({error})", RuntimeWarning, stacklevel=3)
        except RuntimeWarning:
            # Where warnings are errors, the program runs on all the same.
            pass

NATIVE = native.__name__.endswith("._native")

Server = native.Server
Span = native.Span
context_var = native.context_var
emit = native.emit
new_correlation_id = native.new_correlation_id

span = native.span
stats = native.stats

__all__ = [
    "NATIVE",
    "Server",
    "Span",
    "context_var",
    "emit",
    "native",
    "new_correlation_id",

    "span",
    "stats",
]
