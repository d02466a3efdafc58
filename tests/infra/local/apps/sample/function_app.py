"""One function for each thing a host does; nothing of d365mcp is in it."""

import asyncio
import json
import os
import socket

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
PUBLIC = func.AuthLevel.ANONYMOUS


def json_response(value: object) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(value), mimetype="application/json")


@app.route(route="echo", auth_level=PUBLIC)
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    return json_response(
        {
            "method": req.method,
            "url": req.url,
            "params": dict(req.params),
            "headers": dict(req.headers),
            "body": req.get_body().decode(),
        }
    )


@app.route(route="items/{kind}/{number?}", methods=["GET"], auth_level=PUBLIC)
async def items(req: func.HttpRequest) -> func.HttpResponse:
    return json_response({"items": dict(req.route_params)})


@app.route(route="items/special", methods=["GET"], auth_level=PUBLIC)
async def special(req: func.HttpRequest) -> str:
    return "special"


@app.route(route="files/{*path}", methods=["GET"], auth_level=PUBLIC)
async def files(req: func.HttpRequest) -> func.HttpResponse:
    return json_response(dict(req.route_params))


@app.route(route="locked", methods=["GET"])
async def locked(req: func.HttpRequest) -> str:
    return "open"


@app.route(route="context", methods=["GET"], auth_level=PUBLIC)
async def context_of(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
    return json_response(
        {
            "invocation_id": context.invocation_id,
            "function_name": context.function_name,
            "function_directory": context.function_directory,
            "trace_parent": context.trace_context.trace_parent,
            "trace_state": context.trace_context.trace_state,
        }
    )


@app.route(route="text", methods=["GET"], auth_level=PUBLIC)
def text(req: func.HttpRequest) -> str:
    return "grüezi"


@app.route(route="nothing", methods=["GET"], auth_level=PUBLIC)
async def nothing(req: func.HttpRequest):  # the worker refuses to index a function annotated to return None or int
    return None


@app.route(route="teapot", methods=["GET"], auth_level=PUBLIC)
async def teapot(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(bytes(range(256)), status_code=418, headers={"X-Pot": "tea"}, mimetype="image/x-tea")


@app.route(route="broken", methods=["GET"], auth_level=PUBLIC)
async def broken(req: func.HttpRequest) -> str:
    raise RuntimeError("the secret reason")


@app.route(route="wrong", methods=["GET"], auth_level=PUBLIC)
async def wrong(req: func.HttpRequest):
    return 42


@app.route(route="setting", methods=["GET"], auth_level=PUBLIC)
async def setting(req: func.HttpRequest) -> str:
    return os.environ.get(req.params["name"], "(unset)")


@app.route(route="hold", methods=["GET"], auth_level=PUBLIC)
async def hold(req: func.HttpRequest) -> str:
    """Tell the test's own socket that this runs, and run until that socket is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(req.params["port"]))
    await reader.read()
    writer.close()
    return "released"


@app.route(route="hold-in-thread", methods=["GET"], auth_level=PUBLIC)
def hold_in_thread(req: func.HttpRequest) -> str:
    with socket.create_connection(("127.0.0.1", int(req.params["port"]))) as connection:
        connection.recv(1)
    return "released"


@app.timer_trigger(schedule="%TICK_SCHEDULE%", arg_name="timer")
async def tick(timer: func.TimerRequest) -> None:
    socket.create_connection(("127.0.0.1", int(os.environ["TICK_PORT"])), timeout=5).close()
