"""Builds a catalog of 4,052 entities with 42 properties each from an F&O that answers at once.

python -m tests.benchmarks.catalog [--entities 4052] [--properties 42]
"""

import argparse
import asyncio
import json
import os
import resource
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.benchmarks.immediate_fo import PROPERTY


def fo(entities: int, properties: int) -> Starlette:
    def summary(number: int) -> dict[str, Any]:
        return {
            "Name": f"Bench{number}Entity",
            "PublicEntityName": f"Bench{number}",
            "PublicCollectionName": f"Benches{number}",
            "LabelId": f"@BEN{number % 500}",
            "DataServiceEnabled": True,
            "DataManagementEnabled": True,
            "EntityCategory": "Master",
            "IsReadOnly": False,
        }

    def schema(number: int) -> bytes:
        columns = [
            {**PROPERTY, "Name": f"Column{place}", "LabelId": f"@BEN{place}", "ConfigurationEnabled": True,
             "AllowEditOnCreate": True, "IsDimension": False, "DimensionRelation": None, "IsDynamicDimension": False,
             "DimensionLegalEntityProperty": None, "DimensionTypeProperty": None}
            for place in range(properties)
        ]  # fmt: skip
        row = {"Name": f"Bench{number}", "EntitySetName": f"Benches{number}", "Properties": columns}
        return json.dumps({**row, "NavigationProperties": [], "PropertyGroups": [], "Actions": []}).encode()

    async def data_entities(request: Request) -> Response:
        return JSONResponse({"value": [summary(number) for number in range(entities)]})

    async def public_entities(request: Request) -> Response:
        async def body() -> Any:
            yield b'{"value":['
            for number in range(entities):
                yield (b"," if number else b"") + schema(number)
            yield b"]}"

        return StreamingResponse(body(), media_type="application/json")

    async def enumerations(request: Request) -> Response:
        rows = [
            {"Name": f"Enum{n}", "Members": [{"Name": "No", "Value": 0}, {"Name": "Yes", "Value": 1}]}
            for n in range(2000)
        ]
        return JSONResponse({"value": rows})

    async def token(request: Request) -> Response:
        return JSONResponse({"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"})

    async def answer(request: Request) -> Response:
        return JSONResponse({"value": "10.0.43", "Value": "A label"})

    return Starlette(
        routes=[
            Route("/msi/token", token),
            Route("/metadata/DataEntities", data_entities),
            Route("/metadata/PublicEntities", public_entities),
            Route("/metadata/PublicEnumerations", enumerations),
            Route("/{rest:path}", answer, methods=["GET", "POST"]),
        ]
    )


def serve(app: Starlette) -> str:
    """Serve in a process of its own, so that its memory does not count."""
    import uvicorn

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    if os.fork() == 0:
        threading.Timer(300, os._exit, [0]).start()
        uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off")).run(sockets=[listening])
        os._exit(0)
    listening.close()
    return address


async def build(address: str) -> dict[str, float]:
    from d365mcp.app import Application
    from d365mcp.metadata.building import Builder
    from d365mcp.metadata.store import CatalogStore
    from d365mcp.settings import read_settings
    from d365mcp.storage import FolderStorage

    settings = read_settings({"D365FO_BASE_URL": address, "MCP_AUTH": "none"})
    app = Application(settings)
    with tempfile.TemporaryDirectory() as folder:
        store = CatalogStore(FolderStorage(Path(folder)), address)
        began = time.perf_counter()
        stages: dict[str, float] = {}

        def watch(stage: str, done: int, total: int | None) -> None:
            stages[stage] = time.perf_counter() - began

        outcome = await Builder(store, app.client, settings.languages, print, 600).run(
            fresh=True, forced=True, watch=watch
        )
        took = time.perf_counter() - began
        found = store.pointer()
        size = found[0].bytes / 1e6 if found else 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{outcome} in {took:.1f} s, peak {peak:.0f} MB, file {size:.1f} MB")
        print({name: round(at, 1) for name, at in stages.items()})
        return {"seconds": took, "peak_mb": peak, "file_mb": size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=4052)
    parser.add_argument("--properties", type=int, default=42)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    url = serve(fo(options.entities, options.properties))
    os.environ |= {"IDENTITY_ENDPOINT": f"{url}/msi/token", "IDENTITY_HEADER": "x"}
    time.sleep(1)
    figures = asyncio.run(build(url))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
