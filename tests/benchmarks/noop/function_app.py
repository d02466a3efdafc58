"""A function that does nothing: what a request costs under a host before any of our code runs."""

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="mcp", methods=["POST"])
async def mcp(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(b"{}", mimetype="application/json")
