"""A stand-in for F&O with one entity set of many records: slow, short of resources, stubborn or changing, as a test wants it.

python -m tests.sql.standin ROWS SECONDS_A_PAGE     serves until it is ended
"""

from __future__ import annotations

import asyncio
import bisect
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.hosts.loopback import running

PROPERTY = {"DataType": "String", "TypeName": "Edm.String", "IsKey": False, "IsMandatory": False, "AllowEdit": True}
ENTITY = {
    "Name": "Item",
    "EntitySetName": "Items",
    "Properties": [
        {**PROPERTY, "Name": "ItemId", "IsKey": True},
        {**PROPERTY, "Name": "Status"},
        {**PROPERTY, "Name": "Amount", "DataType": "Real", "TypeName": "Edm.Decimal"},
        {**PROPERTY, "Name": "Day", "DataType": "Date", "TypeName": "Edm.DateTimeOffset"},
        {**PROPERTY, "Name": "Serial", "DataType": "Int64", "TypeName": "Edm.Int64"},
    ],
}


@dataclass
class Standin:
    """What it holds, and how it behaves. A page of fewer records takes less of `seconds`."""

    rows: int = 1_000
    page_rows: int = 10_000
    seconds: float = 0.0
    deep: float = 0.0  # seconds more for each 100,000 records that are skipped
    most: int = 1_000  # requests at once, before it turns others away
    retry_after: int = 1
    etags: bool = True
    refuses: tuple[str, ...] = ()  # query options, such as $orderby
    counts: bool = True
    after: Callable[[Standin, int], None] = lambda standin, requests: None  # before each page, what changes meanwhile
    requests: list[str] = field(default_factory=list)
    at_once: int = 0
    peak: int = 0
    turned_away: int = 0

    def __post_init__(self) -> None:
        self.keys = [f"K{number:08}" for number in range(self.rows)]
        self.records = dict.fromkeys(self.keys, 0)  # with the version of each
        self.texts: dict[str, bytes] = {}

    def insert(self, key: str) -> None:
        bisect.insort(self.keys, key)
        self.records[key] = 0

    def delete(self, key: str) -> None:
        self.keys.remove(key)

    def update(self, key: str) -> None:
        self.records[key] += 1
        self.texts.pop(key, None)

    def text(self, key: str) -> bytes:
        if key not in self.texts:
            number = int("".join(filter(str.isdigit, key)))
            tag = {"@odata.etag": f'W/"{key};{self.records[key]}"'} if self.etags else {}
            record = {
                "ItemId": key,
                "Status": ("Open", "Done", "Invoiced")[number % 3],
                "Amount": number * 7919 % 1_000_003 / 100,
                "Day": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}T12:00:00Z",
                "Serial": 5637144576 + number,
            }
            self.texts[key] = json.dumps(tag | record, separators=(",", ":")).encode()
        return self.texts[key]

    # Answers

    async def bounded(self, request: Request, answer: Callable[[Request], Response], seconds: float) -> Response:
        """Answer, unless too many are at work."""
        self.requests.append(f"{request.url.path}?{request.url.query}")
        if self.at_once >= self.most:
            self.turned_away += 1
            return Response(status_code=429, headers={"retry-after": str(self.retry_after)})
        self.at_once += 1
        self.peak = max(self.peak, self.at_once)
        try:
            found = answer(request)
            await asyncio.sleep(seconds)
            return found
        finally:
            self.at_once -= 1

    async def page(self, request: Request) -> Response:
        options = request.query_params
        if refused := [name for name in self.refuses if name in options]:
            message = f"The query option {refused[0]} is not supported here."
            self.requests.append(f"{request.url.path}?{request.url.query}")
            return JSONResponse({"error": {"code": "", "message": message}}, 400)
        skip = int(options.get("$skip", 0)) + int(options.get("$skiptoken", 0))
        rows = min(int(options.get("$top", self.page_rows)), self.page_rows, max(0, len(self.keys) - skip))
        seconds = self.seconds * max(0.2, rows / self.page_rows) + self.deep * int(options.get("$skip", 0)) / 100_000
        return await self.bounded(request, self.records_asked, seconds)

    def records_asked(self, request: Request) -> Response:
        self.after(self, len(self.requests))
        options = dict(request.query_params)
        start = int(options.pop("$skip", 0)) + int(options.pop("$skiptoken", 0))
        top = int(options.pop("$top", sys.maxsize))
        keys = self.keys[start : start + min(top, self.page_rows)]
        body = b'{"@odata.context":"x","value":[' + b",".join(map(self.text, keys)) + b"]"
        if len(keys) < top and start + len(keys) < len(self.keys):
            options |= {"$skiptoken": str(start + len(keys))} | (
                {"$top": str(top - len(keys))} if top < sys.maxsize else {}
            )
            query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
            body += f',"@odata.nextLink":"{request.base_url}data/Items?{query}"'.encode()
        return Response(body + b"}", media_type="application/json")

    async def count(self, request: Request) -> Response:
        if not self.counts:
            self.requests.append(request.url.path)
            return JSONResponse({"error": {"code": "", "message": "No."}}, 400)
        return await self.bounded(request, lambda _: Response(str(len(self.keys))), self.seconds / 3)

    def app(self) -> Starlette:
        async def token(request: Request) -> Response:
            return JSONResponse(
                {"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}
            )

        async def entities(request: Request) -> Response:
            return JSONResponse({"value": [ENTITY]})

        async def session(request: Request) -> Response:
            return JSONResponse({"Company": "usmf", "UserId": "Admin"})

        routes = [
            Route("/msi/token", token),
            Route("/metadata/PublicEntities", entities),
            Route("/data/Items", self.page),
            Route("/data/Items/$count", self.count),
            Route("/api/services/{rest:path}", session, methods=["POST"]),
        ]
        return Starlette(routes=routes)


def main(rows: int, seconds: float, deep: float = 0.0, most: int = 1_000) -> None:
    """Serve in this process, until it is ended or ten minutes are over."""
    threading.Timer(600, os._exit, [0]).start()
    standin = Standin(rows, seconds=seconds, deep=deep, most=most)
    for key in standin.keys:
        standin.text(key)
    with running(standin.app()) as address:
        print(f"ready on {address}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(float, sys.argv[2:4]), *map(int, sys.argv[4:]))
