"""The triggers, and nothing else: turns the Functions host's requests into plain values, and replies back."""

import json
from urllib.parse import urlsplit

import azure.functions as func

from d365mcp.app import application, warn_of_settings
from d365mcp.health import MEDIA_TYPE
from d365mcp.server.messages import Reply

app = func.FunctionApp()
warn_of_settings(application.settings)

# function_key: the host checks the key. In the other modes we check the caller ourselves, or the platform has.
CALLERS = func.AuthLevel.FUNCTION if application.settings.mcp_auth == "function_key" else func.AuthLevel.ANONYMOUS


@app.route(route="mcp", methods=["GET", "POST", "DELETE"], auth_level=CALLERS)
async def mcp(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    """Answer one MCP request."""
    reply = await application.endpoint.handle(
        req.method,
        headers_of(req),
        req.get_body(),
        traceparent=context.trace_context.trace_parent,
        invocation_id=context.invocation_id,
    )
    return sent(reply)


@app.route(route=".well-known/{*path}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def well_known(req: func.HttpRequest) -> func.HttpResponse:
    """Answer the discovery documents clients look for before they sign in."""
    return answer(*application.well_known(req.route_params.get("path", "")))


@app.route(route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:
    """Say that this process is alive; asks nobody."""
    return answer(*application.alive(), MEDIA_TYPE)


@app.route(route="health/deep", methods=["GET"], auth_level=CALLERS)
async def health_deep(req: func.HttpRequest) -> func.HttpResponse:
    """Say how F&O, the catalog and telemetry fare; for those who may call."""
    return sent(await application.deep_health_reply(headers_of(req)))


if application.settings.has_facade:

    @app.route(route="authorize", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
    async def authorize(req: func.HttpRequest) -> func.HttpResponse:
        """Send a browser on to Entra."""
        return sent(application.facade.authorize(urlsplit(req.url).query))

    @app.route(route="token", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
    async def token(req: func.HttpRequest) -> func.HttpResponse:
        """Get a client's tokens from Entra."""
        return sent(await application.facade.token(headers_of(req), req.get_body()))

    @app.route(route="register", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS)
    async def register(req: func.HttpRequest) -> func.HttpResponse:
        """Tell a client which public client it is."""
        return sent(application.facade.register(headers_of(req), req.get_body()))


if application.settings.has_shared_storage:  # without it a bare `func start` has nowhere to keep a timer's state

    @app.timer_trigger(schedule="0 */5 * * * *", arg_name="timer")
    async def catalog(timer: func.TimerRequest) -> None:
        """Build the catalog when it is due; a long build goes on at the next tick."""
        await application.build_due()


def headers_of(req: func.HttpRequest) -> dict[str, str]:
    """Return the headers; the library has their names in lower case. dict() takes twice as long over its Mapping."""
    headers = req.headers
    return {name: headers[name] for name in headers}


def sent(reply: Reply) -> func.HttpResponse:
    headers = {name: value for name, value in reply.headers.items() if name != "content-type"}
    return func.HttpResponse(
        reply.body, status_code=reply.status, headers=headers, mimetype=reply.headers.get("content-type")
    )


def answer(status: int, body: object, mimetype: str = "application/json") -> func.HttpResponse:
    return func.HttpResponse(json.dumps(body), status_code=status, mimetype=mimetype)
