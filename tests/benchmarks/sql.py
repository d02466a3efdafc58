"""One SELECT over 100,000 rows of two columns from an F&O that answers at once.

python -m tests.benchmarks.sql [--rows 100000]
"""

import argparse
import asyncio
import json
import os
import resource
import threading
import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.benchmarks.immediate_fo import PROPERTY

PAGE = 10_000
SQL = "SELECT ItemNumber, count(*) AS n, sum(LineAmount) AS total FROM SalesOrderLinesV3 GROUP BY 1 ORDER BY total DESC LIMIT 10"
ENTITY = {
    "Name": "SalesOrderLineV3",
    "EntitySetName": "SalesOrderLinesV3",
    "Properties": [
        {**PROPERTY, "Name": "dataAreaId", "IsKey": True},
        {**PROPERTY, "Name": "InventoryLotId", "IsKey": True},
        {**PROPERTY, "Name": "ItemNumber"},
        {**PROPERTY, "Name": "LineAmount", "DataType": "Real", "TypeName": "Edm.Decimal"},
    ],
}


def fo(rows: int) -> Starlette:
    pages = [
        [
            {"dataAreaId": "usmf", "ItemNumber": f"D{number % 500:04}", "LineAmount": number * 1.25}
            for number in range(at, min(at + PAGE, rows))
        ]
        for at in range(0, rows, PAGE)
    ]

    async def page(request: Request) -> Response:
        at = int(request.query_params.get("$skiptoken", 0))
        answer: dict[str, Any] = {"value": pages[at]}
        if at + 1 < len(pages):
            answer["@odata.nextLink"] = f"{request.base_url}data/SalesOrderLinesV3?$skiptoken={at + 1}"
        return JSONResponse(answer)

    async def token(request: Request) -> Response:
        return JSONResponse({"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"})

    async def entities(request: Request) -> Response:
        return JSONResponse({"value": [ENTITY]})

    async def session(request: Request) -> Response:
        return JSONResponse({"Company": "usmf", "UserId": "Admin"})

    return Starlette(
        routes=[
            Route("/msi/token", token),
            Route("/metadata/PublicEntities", entities),
            Route("/data/SalesOrderLinesV3", page),
            Route("/api/services/{rest:path}", session, methods=["POST"]),
        ]
    )


def serve(rows: int) -> str:
    """Serve in a process of its own, so that its memory does not count."""
    import socket

    import uvicorn

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    if os.fork() == 0:
        threading.Timer(120, os._exit, [0]).start()
        uvicorn.Server(uvicorn.Config(fo(rows), log_level="error", lifespan="off")).run(sockets=[listening])
        os._exit(0)
    listening.close()
    return address


async def measure(address: str) -> None:
    from d365mcp.app import Application
    from d365mcp.settings import read_settings

    app = Application(read_settings({"D365FO_BASE_URL": address, "MCP_AUTH": "none"}))
    headers = {"host": "localhost", "content-type": "application/json", "mcp-protocol-version": "2025-11-25"}

    async def ask(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        params = {"name": f"d365fo_{tool}", "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        reply = await app.endpoint.handle("POST", headers, body)
        return dict(json.loads(reply.body)["result"])

    await ask("get_entity_schema", {"entity_name": "SalesOrderLinesV3"})
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    result = await ask("query_sql", {"sql": SQL})
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"rows scanned: {result['structuredContent']['rows_scanned']}, first rows: {result['structuredContent']['records'][:2]}"
    )
    print(f"{took:.2f} s, {(peak - idle) / 1024:.0f} MB above idle ({idle / 1024:.0f} MB)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    url = serve(parser.parse_args().rows)
    os.environ |= {"IDENTITY_ENDPOINT": f"{url}/msi/token", "IDENTITY_HEADER": "x"}
    time.sleep(1)
    asyncio.run(measure(url))
