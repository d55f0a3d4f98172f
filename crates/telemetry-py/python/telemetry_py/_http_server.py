"""What both middlewares know of HTTP: names that stay bounded, and paths that are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import telemetry_py as telemetry

from ._carried import carried

OPERATION = "http.server"
"""What a request is called."""

SPAN = "telemetry_py.span"
"""Where a request's scope or environ holds its span: a middleware within another one leaves it alone."""

ROUTE = "telemetry_py.route"
"""Where whoever knows the template of the route may write it, for frameworks that are not known here."""

NO_ROUTE = "unknown"
"""The route of a request of which no template is known; its path would be a name without bound."""

_METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})


def method(given: object) -> str:
    """The name of a request's method; anybody may send any text as one."""
    return given if type(given) is str and given in _METHODS else "OTHER"


def prefixes(exclude: Iterable[str]) -> tuple[str, ...]:
    """The prefixes of paths that are left out, checked."""
    if isinstance(exclude, str):
        raise TypeError(f"exclude is a list of path prefixes, not the text {exclude!r}")
    found = tuple(exclude)
    for prefix in found:
        if not isinstance(prefix, str) or not prefix.startswith("/"):
            raise ValueError(f"exclude holds {prefix!r}; a path prefix is a text that begins with '/'")
    return tuple(prefix.rstrip("/") for prefix in found)


def is_below(path: object, prefixes: tuple[str, ...]) -> bool:
    """Whether a path is one of `prefixes` or lies below one."""
    return type(path) is str and any(path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/") for prefix in prefixes)


def answered() -> list[tuple[str, str]]:
    """The headers by which a caller finds its request again: those of the span that is current."""
    return [(name, value) for name, value in carried() if name in ("traceparent", telemetry.CORRELATION_HEADER)]


def template(known: object, told: object) -> str:
    """The route: what somebody told, or else what is known of the framework."""
    for found in (told, known):
        if isinstance(found, str) and found:
            return found
    return NO_ROUTE


def route_of_starlette(scope: Mapping[str, object], root: str) -> str | None:
    """The template of the route that Starlette or FastAPI found, with that of what it is mounted in.

    `root` is the root path that the request came with. A mount whose own path has parameters is left out:
    what is known of it is the part of this path that it took.
    """
    route = scope.get("route")
    path = getattr(route, "path", None)
    if not isinstance(path, str):
        return None
    now = scope.get("root_path")
    prefix = now[len(root) :] if isinstance(now, str) and now.startswith(root) else ""
    if not hasattr(route, "endpoint"):
        # A mount is in the root path itself.
        return path if not prefix.endswith(path) else prefix
    parameters = scope.get("path_params")
    own = getattr(route, "param_convertors", {})
    if prefix and isinstance(parameters, Mapping) and any(name not in own for name in parameters):
        return path
    return prefix + path
