"""As web_wsgi, for a program that asks to serve at import: an inherited or busy address must not hurt."""

import telemetry_py as telemetry
from witness import work

telemetry.serve()


def app(environ, start_response):
    body = str(work()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
