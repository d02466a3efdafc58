"""The conformance fixtures behind the server's own HTTP code."""

import azure.functions as func

from d365mcp.lazy import Lazy
from d365mcp.server.endpoint import Endpoint
from d365mcp.server.sdk import Engine
from d365mcp.settings import Settings
from tests.conformance.fixtures import server

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
endpoint = Endpoint(Settings(mcp_auth="none"), Lazy(lambda: Engine(server)), emit=lambda event: None)


@app.route(route="mcp", methods=["GET", "POST", "DELETE"])
async def mcp(req: func.HttpRequest) -> func.HttpResponse:
    reply = await endpoint.handle(req.method, dict(req.headers), req.get_body())
    return func.HttpResponse(reply.body, status_code=reply.status, headers=dict(reply.headers))
