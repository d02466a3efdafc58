"""What one SELECT costs, over an F&O that answers at once: time, rows a second, memory; beside another checkout's engine.

python -m tests.benchmarks.sql [--beside CHECKOUT] [--attacks] [--rounds 3]
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

PAGE = 10_000
SMALL, LARGE = 100, 100_000
WIDTHS = (5, 20)
STEADY = 40
ROOT = Path(__file__).parents[2]
ENDLESS = "SELECT count(*) AS n FROM Wide5 a, Wide5 b, Wide5 c WHERE a.Amount2 + b.Amount2 > c.Amount2"
COLUMNS = ("Text", "Amount", "Day", "Number")
KINDS = {
    "Text": ("Edm.String", "String"),
    "Amount": ("Edm.Decimal", "Real"),
    "Day": ("Edm.DateTimeOffset", "Date"),
    "Number": ("Edm.Int64", "Int64"),
}


def names(width: int) -> list[str]:
    """Return the columns of a set: its key, and so many in all."""
    return ["Key", *(f"{COLUMNS[number % 4]}{number}" for number in range(1, width))]


def entity(entity_set: str, width: int) -> dict[str, Any]:
    from tests.benchmarks.immediate_fo import PROPERTY

    kinds = [KINDS[name.rstrip("0123456789")] if name != "Key" else KINDS["Text"] for name in names(width)]
    properties = [
        {**PROPERTY, "Name": name, "TypeName": kind, "DataType": data_type, "IsKey": name == "Key"}
        for name, (kind, data_type) in zip(names(width), kinds, strict=True)
    ]
    return {"Name": entity_set.removesuffix("s"), "EntitySetName": entity_set, "Properties": properties}


def record(number: int, width: int) -> dict[str, Any]:
    values = {
        "Text": f"D{number % 500:04}",
        "Amount": number % 1_000_003 / 100,
        "Day": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}T12:00:00Z",
        "Number": 5637144576 + number,
    }
    row = {"@odata.etag": f'W/"JzAsNTYzNzE0NDU3NjswLDA7MCw{number:06}"', "Key": f"K{number:08}"}
    return row | {name: values[name.rstrip("0123456789")] for name in names(width)[1:]}


def serve(listening: socket.socket) -> None:
    """Answer as F&O, with records that were written before."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    sets = {**{f"Wide{width}": (width, LARGE) for width in WIDTHS}, "Small5": (5, SMALL)}
    written = {
        name: [json.dumps(record(number, width)).encode() for number in range(rows)]
        for name, (width, rows) in sets.items()
    }

    @cache
    def page_at(name: str, at: int, rows: int) -> bytes:
        return b'{"@odata.context":"x","value":[' + b",".join(written[name][at : at + rows]) + b"]"

    async def page(request: Request) -> Response:
        name = request.path_params["name"]
        at = int(request.query_params.get("$skiptoken") or request.query_params.get("$skip", 0))
        rows = min(PAGE, int(request.query_params.get("$top", PAGE)))
        link = f"{request.base_url}data/{name}?$skiptoken={at + PAGE}"
        goes_on = rows == PAGE and at + PAGE < len(written[name]) and "$skip" not in request.query_params
        more = f',"@odata.nextLink":"{link}"' if goes_on else ""
        return Response(page_at(name, at, rows) + f"{more}}}".encode(), media_type="application/json")

    async def count(request: Request) -> Response:
        return Response(str(sets[request.path_params["name"]][1]), media_type="text/plain")

    async def token(request: Request) -> Response:
        return JSONResponse({"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"})

    async def entities(request: Request) -> Response:
        asked = request.url.query
        return JSONResponse({"value": [entity(name, width) for name, (width, _) in sets.items() if name in asked]})

    async def session(request: Request) -> Response:
        return JSONResponse({"Company": "usmf", "UserId": "Admin"})

    app = Starlette(
        routes=[
            Route("/msi/token", token),
            Route("/metadata/PublicEntities", entities),
            Route("/data/{name}/$count", count),
            Route("/data/{name}", page),
            Route("/api/services/{rest:path}", session, methods=["POST"]),
        ]
    )
    threading.Timer(900, os._exit, [0]).start()
    uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off")).run(sockets=[listening])


def held(process: int | str, name: str = "VmHWM") -> float:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
    return 0.0


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def cpu_seconds() -> float:
    """Return the processor time that this process and its child have taken: others on the machine change it little."""
    return time.process_time() + cpu_of(child())


def cpu_of(process: int | None) -> float:
    with suppress(OSError):
        parts = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def child() -> int | None:
    for each in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if int((each / "stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid():
                return int(each.name)
    return None


async def measure(address: str, standin: int, attacks: bool) -> dict[str, float]:
    """Measure the checkout this process runs in."""
    os.environ |= {"IDENTITY_ENDPOINT": f"{address}/msi/token", "IDENTITY_HEADER": "x"}
    from d365mcp.app import Application
    from d365mcp.settings import read_settings

    app = Application(read_settings({"D365FO_BASE_URL": address, "MCP_AUTH": "none"}))
    headers = {"host": "localhost", "content-type": "application/json", "mcp-protocol-version": "2025-11-25"}

    async def ask(tool: str, seconds: float = 40, /, **arguments: Any) -> Any:
        params = {"name": f"d365fo_{tool}", "arguments": arguments}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        reply = await app.endpoint.handle("POST", {**headers, "x-mcp-timeout": str(seconds)}, body)
        return json.loads(reply.body)["result"]

    async def timed(sql: str) -> float:
        began = time.perf_counter()
        result = await ask("query_sql", sql=sql)
        assert not result["isError"], result
        return time.perf_counter() - began

    def over(entity_set: str, width: int) -> str:
        columns = ", ".join(f"max({name}) AS m{at}" for at, name in enumerate(names(width)))
        return f"SELECT {columns} FROM {entity_set}"  # noqa: S608 - our own names

    for name in ("Small5", "Wide5", "Wide20"):
        await ask("get_entity_schema", entity_name=name)
    await ask("query_entities", entity_name="Small5", top=1)
    await app.endpoint.engine.get()
    found = {"idle MB": held("self", "VmRSS")}
    small = "SELECT Number3, count(*) AS n, sum(Amount1) AS total FROM Small5 GROUP BY 1 ORDER BY 2"
    found["first ms"] = await timed(small) * 1000
    used = cpu_seconds()
    found["steady ms"] = statistics.median([await timed(small) for _ in range(STEADY)]) * 1000
    found["steady cpu ms"] = (cpu_seconds() - used) / STEADY * 1000
    forget_peak()
    before = held("self")
    for width in WIDTHS:
        used, used_there = cpu_seconds(), cpu_of(standin)
        took = min([await timed(over(f"Wide{width}", width)) for _ in range(3)])
        found[f"cpu s, {width} columns"] = (cpu_seconds() - used) / 3
        found[f"stand-in cpu s, {width} columns"] = (cpu_of(standin) - used_there) / 3
        found[f"rows/s, {width} columns"] = LARGE / took
        if width == WIDTHS[0]:
            found["child MB, 100,000 x 5"] = held(child() or 0)
    found["growth MB"] = held("self") - before
    if attacks:
        found |= await attacked(ask)
    return found


async def attacked(ask: Any) -> dict[str, float]:
    """Measure ordinary queries alone, and beside ten endless statements."""

    async def ordinary() -> list[float]:
        took = []
        for _ in range(60):
            began = time.perf_counter()
            await ask("query_entities", entity_name="Small5", top=20)
            took.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(0.05)
        return took

    def p95(took: list[float]) -> float:
        return statistics.quantiles(took, n=20)[-1]

    alone = await ordinary()
    *errors, beside = await asyncio.gather(*(ask("query_sql", 8, sql=ENDLESS) for _ in range(10)), ordinary())
    assert all(error["isError"] for error in errors)
    return {"ordinary p95 ms": p95(alone), "beside ten endless, p95 ms": p95(beside)}


def measured(root: Path, address: str, standin: int, *options: str) -> dict[str, float]:
    """Measure a checkout in a process of its own."""
    command = [sys.executable, __file__, "--measure", address, str(standin), *options]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=root, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def better(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Return the best of two: the most rows, the least time."""
    return {name: (max if "rows" in name else min)(value, one.get(name, value)) for name, value in other.items()}


def main(beside: Path | None, attacks: bool, rounds: int) -> None:
    # Named as TCP, asyncio sends small parts at once: else the client's late acknowledgement costs each answer 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = os.fork()
    if not server:
        serve(listening)
        os._exit(0)
    listening.close()
    try:
        time.sleep(8)
        # By turns, and the best of each: others use the machine, too.
        ours, other = {}, {}
        for _ in range(rounds):
            ours = better(ours, measured(ROOT, address, server, *["--attacks"] * attacks))
            other = better(other, measured(beside, address, server)) if beside else {}
        for name, value in ours.items():
            ratio = f"{other[name]:12,.2f}  {value / other[name]:.2f}" if other.get(name) else ""
            print(f"{name:28} {value:12,.2f} {ratio}")
    finally:
        os.kill(server, 9)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, help="another checkout to compare with")
    parser.add_argument("--attacks", action="store_true", help="ordinary queries beside endless statements, too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(asyncio.run(measure(given.measure[0], int(given.measure[1]), given.attacks))))
    else:
        main(given.beside, given.attacks, given.rounds)
