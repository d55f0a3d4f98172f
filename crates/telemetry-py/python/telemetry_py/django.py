"""What Django knows of a request and the middlewares around it do not: the route, and exceptions.

    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from telemetry_py.wsgi import TelemetryMiddleware

    settings.configure(ROOT_URLCONF=__name__, MIDDLEWARE=["telemetry_py.django.RouteMiddleware"])
    application = TelemetryMiddleware(get_wsgi_application())

It works the same with ``telemetry_py.asgi`` and ``get_asgi_application()``.
"""

from __future__ import annotations

from typing import Any

from django.utils.deprecation import MiddlewareMixin

import telemetry_py as telemetry

from ._http_server import ROUTE, SPAN


class RouteMiddleware(MiddlewareMixin):
    """Tells the span of the request its route, and the exception that Django makes a response of.

    Example::

        from telemetry_py.django import RouteMiddleware

        MIDDLEWARE = [f"{RouteMiddleware.__module__}.{RouteMiddleware.__name__}"]
    """

    def process_view(self, request: Any, _view: object, _arguments: object, _keywords: object) -> None:
        """Called when the route is known."""
        route = getattr(request.resolver_match, "route", None)
        if route is not None:
            # Django's have no leading slash, unlike everybody else's.
            _place(request)[ROUTE] = f"/{route.removeprefix('^')}" if not route.startswith("/") else route

    def process_exception(self, request: Any, exception: BaseException) -> None:
        """Called when a view raised."""
        span = _place(request).get(SPAN)
        if isinstance(span, telemetry.Span):
            span.record_exception(exception)


def _place(request: Any) -> dict[str, Any]:
    """What the middleware around Django sees of a request: the scope, or the environ."""
    place: dict[str, Any] = getattr(request, "scope", None) or request.META
    return place


__all__ = ["RouteMiddleware"]
