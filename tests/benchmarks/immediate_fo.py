"""An F&O that answers at once, with the same bytes each time, after a delay: what is measured is the server before it."""

import asyncio
import json
import sys
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ROWS = [
    {
        "@odata.etag": f'W/"JzEsNTYzNzE0{number}Jw=="',
        "dataAreaId": "usmf",
        "CustomerAccount": f"US-{number:03}",
        "OrganizationName": f"Customer number {number}",
        "CustomerGroupId": "10",
        "CreditLimit": 1000.5 * number,
        "OnHoldStatus": "No",
    }
    for number in range(10)
]
PROPERTY = {"DataType": "String", "TypeName": "Edm.String", "IsKey": False, "IsMandatory": False, "AllowEdit": True}
ENTITY = {
    "Name": "CustomerV3",
    "EntitySetName": "CustomersV3",
    "Properties": [
        {**PROPERTY, "Name": name, "IsKey": name in ("dataAreaId", "CustomerAccount")}
        for name in ROWS[0]
        if not name.startswith("@")
    ],
}
PAGE = json.dumps({"value": ROWS}).encode()


def app(delay: float) -> Starlette:
    async def token(request: Request) -> Response:
        return JSONResponse(
            {"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer", "client_id": "c"}
        )

    async def entities(request: Request) -> Response:
        return JSONResponse({"value": [ENTITY]})

    async def page(request: Request) -> Response:
        if delay:
            await asyncio.sleep(delay)
        return Response(PAGE, media_type="application/json")

    async def session(request: Request) -> Response:
        return JSONResponse({"Company": "usmf", "UserId": "Admin"})

    routes: list[Any] = [
        Route("/msi/token", token),
        Route("/metadata/PublicEntities", entities),
        Route("/data/CustomersV3", page),
        Route("/api/services/{rest:path}", session, methods=["POST"]),
    ]
    return Starlette(routes=routes)


if __name__ == "__main__":
    import socket

    import uvicorn

    # With the protocol named, asyncio turns Nagle's algorithm off; without, each answer would wait 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(f"ready on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app(float(sys.argv[1]) / 1000), log_level="error", lifespan="off", timeout_keep_alive=60)
    uvicorn.Server(config).run(sockets=[listening])
