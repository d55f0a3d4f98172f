"""As web_asgi, for a program that serves from its lifespan on, in each process at the one address."""

import telemetry_py as telemetry
from witness import work


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    body = str(work()).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive, send):
    server = None
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            server = telemetry.serve()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            server.close()
            return
