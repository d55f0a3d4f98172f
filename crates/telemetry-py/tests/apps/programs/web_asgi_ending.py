"""As web_asgi; ends telemetry with its lifespan, so that the server may end as it likes."""

import telemetry_py as telemetry
from web_asgi import app as requests


async def app(scope, receive, send):
    async def told():
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            telemetry.shutdown()
        return message

    await requests(scope, told, send)
