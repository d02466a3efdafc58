"""An F&O's metadata service of any size and slowness, in a process of its own: whole, stalling, or breaking off.

    python -m tests.large_fo --entities 5000 --properties 42 --labels 27000 --label-ms 120

It prints its address. `GET /__control` says what was asked for; `POST /__control` turns the options.
"""

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.dev_host import ROOT
from tests.simulated import IDENTITY_HEADER

SYLLABLES = [first + last for first in ("bar", "cor", "dal", "fen", "gor", "lim", "mon", "pas") for last in "aeiou"]
WORDS = [one + other for one in SYLLABLES for other in ("ket", "lin", "mer", "ron", "tas", "vel", "zon", "dun")]
ENUMERATIONS = 2_000
DIFFERENT_PROPERTIES = 32_000
PROPERTY = {
    "TypeName": "Edm.String", "DataType": "String", "ConfigurationEnabled": True, "AllowEdit": True,
    "AllowEditOnCreate": True, "IsDimension": False, "DimensionRelation": None, "IsDynamicDimension": False,
    "DimensionLegalEntityProperty": None, "DimensionTypeProperty": None,
}  # fmt: skip


@dataclass
class Options:
    """What it has, and how it fails."""

    entities: int = 5_000
    properties: int = 42
    labels: int = 27_000
    label_ms: float = 0
    stall_after: int = 0  # entities of PublicEntities, where it is not 0
    break_after: int = 0
    list_stalls: bool = False
    versions_stall: bool = False
    entities_stall: bool = False  # before the first of them
    entities_fail: bool = False  # all at once; each for itself does not
    enumerations_stall: bool = False
    failing_entities: int = 0  # of a hundred, where they are read one by one
    failing_labels: int = 0  # of a hundred
    hanging_labels: int = 0  # of a hundred
    failing_status: int = 500


class World:
    """What there is."""

    def __init__(self, options: Options) -> None:
        self.options = options
        chance = random.Random(7)  # noqa: S311 - the same every time
        self.words = [chance.sample(WORDS, 3) for _ in range(4_000)]
        self.summaries = [self.summary(number) for number in range(options.entities)]
        self.schemas = [json.dumps(self.schema(number)).encode() for number in range(options.entities)]

    def named(self, number: int) -> str:
        return "".join(word.title() for word in self.words[number % len(self.words)])

    def property_name(self, number: int) -> str:
        """Return one of some 30,000: as in F&O, most stand in several entities."""
        return f"{self.named(number)}{number % DIFFERENT_PROPERTIES // len(self.words) or ''}"

    def label(self, number: int) -> str:
        return f"@LAR{number % self.options.labels}"

    def summary(self, number: int) -> dict[str, Any]:
        return {
            "Name": f"{self.named(number)}{number}Entity",
            "PublicEntityName": f"{self.named(number)}{number}",
            "PublicCollectionName": f"{self.named(number)}{number}s",
            "LabelId": self.label(number),
            "DataServiceEnabled": True,
            "DataManagementEnabled": True,
            "EntityCategory": "Master",
            "IsReadOnly": False,
        }

    def schema(self, number: int) -> dict[str, Any]:
        light, first = self.summaries[number], self.options.entities + number * self.options.properties
        columns = [
            {**PROPERTY, "Name": self.property_name(first + place), "LabelId": self.label(first + place),
             "IsKey": place < 2, "IsMandatory": place < 4}
            for place in range(self.options.properties)
        ]  # fmt: skip
        names = {"Name": light["PublicEntityName"], "EntitySetName": light["PublicCollectionName"]}
        others = {"NavigationProperties": [], "PropertyGroups": [], "Actions": []}
        return {**names, "LabelId": light["LabelId"], "Properties": columns, **others}

    def enumerations(self) -> list[dict[str, Any]]:
        members = [{"Name": "No", "Value": 0, "LabelId": "@LAR0"}, {"Name": "Yes", "Value": 1, "LabelId": "@LAR1"}]
        return [{"Name": f"{self.named(number)}{number}", "Members": members} for number in range(ENUMERATIONS)]


class LargeFo:
    """Answers, and counts what was asked for."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.world = World(options)
        self.asked: Counter[str] = Counter()
        self.asked_labels: list[str] = []

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/__control", self.control, methods=["GET", "POST"]),
                Route("/msi/token", self.token),
                Route("/metadata/DataEntities", self.data_entities),
                Route("/metadata/PublicEntities", self.public_entities),
                Route("/metadata/PublicEnumerations", self.public_enumerations),
                Route("/metadata/{one:path}", self.one),
                Route("/{rest:path}", self.anything, methods=["GET", "POST"]),
            ]
        )

    async def control(self, request: Request) -> Response:
        if request.method == "POST":
            for name, value in (await request.json()).items():
                setattr(self.options, name, value)
            self.asked.clear()
            self.asked_labels.clear()
        return JSONResponse({"asked": self.asked, "labels": self.asked_labels})

    async def token(self, request: Request) -> Response:
        return JSONResponse({"access_token": "t", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"})

    async def data_entities(self, request: Request) -> Response:
        self.asked["DataEntities"] += 1
        if self.options.list_stalls:
            await asyncio.sleep(3_600)
        return JSONResponse({"value": self.world.summaries})

    async def public_entities(self, request: Request) -> Response:
        self.asked["PublicEntities"] += 1
        if self.options.entities_stall:
            await asyncio.sleep(3_600)
        if self.options.entities_fail:
            return Response("no", status_code=self.options.failing_status)
        return StreamingResponse(self.entities(), media_type="application/json")

    async def entities(self) -> AsyncIterator[bytes]:
        yield b'{"value":['
        for number, schema in enumerate(self.world.schemas):
            if number and number == self.options.stall_after:
                await asyncio.sleep(3_600)
            if number and number == self.options.break_after:
                raise ConnectionError("broken off, as asked for")
            yield (b"," if number else b"") + schema
        yield b"]}"

    async def public_enumerations(self, request: Request) -> Response:
        self.asked["PublicEnumerations"] += 1
        if self.options.enumerations_stall:
            await asyncio.sleep(3_600)
        return JSONResponse({"value": self.world.enumerations()})

    async def one(self, request: Request) -> Response:
        kind, _, key = request.path_params["one"].partition("(")
        self.asked[f"{kind}(…)"] += 1
        if kind == "Labels":
            return await self.label(key.split("'")[1], key.split("'")[3])
        found = next((each for each in self.world.summaries if f"'{each['PublicEntityName']}'" in key), None)
        if kind != "PublicEntities" or found is None:
            return Response(status_code=404)
        number = self.world.summaries.index(found)
        if number % 100 < self.options.failing_entities:
            return Response("no", status_code=self.options.failing_status)
        return Response(self.world.schemas[number], media_type="application/json")

    async def label(self, label_id: str, language: str) -> Response:
        self.asked_labels.append(label_id)
        await asyncio.sleep(self.options.label_ms / 1000)
        number = int(label_id.removeprefix("@LAR"))
        if number % 100 < self.options.hanging_labels:
            await asyncio.sleep(3_600)
        if number % 100 < self.options.failing_labels:
            return Response("no", status_code=self.options.failing_status)
        text = f"{' '.join(self.world.words[number % len(self.world.words)])} {number} in {language}"
        return JSONResponse({"Id": label_id, "Language": language, "Value": text})

    async def anything(self, request: Request) -> Response:
        if self.options.versions_stall:
            await asyncio.sleep(3_600)
        return JSONResponse({"value": "10.0.43"})


@dataclass
class Running:
    """One that runs."""

    base_url: str
    process: subprocess.Popen[str]

    def environment(self) -> dict[str, str]:
        return {"IDENTITY_ENDPOINT": f"{self.base_url}/msi/token", "IDENTITY_HEADER": IDENTITY_HEADER}

    def set(self, **options: Any) -> None:
        """Turn options; what was asked for is counted anew."""
        httpx.post(f"{self.base_url}/__control", json=options, trust_env=False).raise_for_status()

    def asked(self) -> dict[str, int]:
        return dict(httpx.get(f"{self.base_url}/__control", trust_env=False).json()["asked"])

    def asked_labels(self) -> list[str]:
        return list(httpx.get(f"{self.base_url}/__control", trust_env=False).json()["labels"])


@contextmanager
def large_fo(**options: Any) -> Iterator[Running]:
    """Start one on a free port, and end it."""
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.large_fo", *given]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield Running(process.stdout.readline().strip(), process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for each in fields(Options):
        kind = float if each.type is float else int
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=kind, default=each.default)
    app = LargeFo(Options(**vars(parser.parse_args()))).app()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # so that who reads the address may connect, however busy the machine
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
