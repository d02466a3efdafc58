"""The world of the endurance run: a faulty F&O, a storage that fails, and two servers that are killed in turn."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from d365mcp.metadata.store import CONTAINER, CatalogStore, Pointer
from d365mcp.settings import Settings
from d365mcp.storage import open_storage
from tests.azurite import Azurite
from tests.dev_host import ROOT, DevHost
from tests.simulated import Simulator

# What meets F&O's requests, each with its chance where none before it did: a fifth together.
FAULTS = (
    (0.045, {"status": 429, "headers": {"Retry-After": "1"}}),
    (0.03, {"status": 503}),
    (0.03, {"kind": "drop"}),
    (0.015, {"status": 502, "after": True}),
    (0.015, {"kind": "drop", "after": True}),
    (0.035, {"kind": "slow", "seconds": 2}),
    (0.03, {"kind": "malformed"}),
    (0.02, {"kind": "cut"}),
)
OUTAGE_SECONDS = 5.0


@dataclass
class Server:
    """One server process."""

    host: DevHost
    killed: bool = False


@dataclass(frozen=True)
class Sample:
    """What a server process held at a moment of the run."""

    at: float
    server: int
    megabytes: float
    descriptors: int
    threads: int


@dataclass
class World:
    """All that runs."""

    simulator: Simulator
    storage: Azurite
    folder: Path
    servers: list[Server] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    pointers: list[Pointer] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("kills", "outages", "swaps", "revocations"), 0))
    log: list[str] = field(default_factory=list)

    def environ(self) -> dict[str, str]:
        return {
            "D365FO_BASE_URL": self.simulator.base_url,
            "D365FO_AUTH": "managed_identity",
            "AzureWebJobsStorage": self.storage.connection,
            "MCP_AUTH": "none",
            "MCP_READ_ONLY": "false",
            "MCP_REQUEST_TIMEOUT": "20",
            "MCP_CATALOG_REVALIDATE_SECONDS": "1",
            "TMPDIR": str(self.folder),
            **self.simulator.identity_environment(),
        }

    def prepare(self) -> Self:
        """Build two catalogs to change between, start the servers, and let F&O begin to fail."""
        store = CatalogStore(
            open_storage(Settings(storage_connection=self.storage.connection)), self.simulator.base_url
        )
        for languages in ("en-US", "en-US,de"):
            build(self.environ() | {"D365FO_LANGUAGES": languages})
            found = store.pointer()
            assert found is not None
            self.pointers.append(found[0])
        self.store = store
        self.servers = [Server(self.new_host()) for _ in range(2)]
        for chance, what in FAULTS:
            self.simulator.fault("^/data/", times=0, chance=chance, **what)
        # A token is renewed when five minutes of it are left.
        self.simulator.control(token_seconds=310)
        return self

    def new_host(self) -> DevHost:
        return DevHost(ROOT, "--log-level", "warning", environ=self.environ())

    def alive(self) -> list[Server]:
        return [server for server in self.servers if not server.killed] or self.servers

    async def kill_one(self, number: int) -> None:
        """Kill a server as a crash would, and start another in its place."""
        old = self.servers[number]
        old.killed = True
        await asyncio.to_thread(old.host.stop, signal.SIGKILL)
        self.log.append(old.host.log)
        self.servers[number] = Server(await asyncio.to_thread(self.new_host))
        self.done["kills"] += 1

    async def take_storage_away(self) -> None:
        """Let the storage be gone for a while, or be there and never answer, in turn."""
        hanging = self.done["outages"] % 2 == 0
        away, back = (self.storage.hang, self.storage.go_on) if hanging else (self.storage.stop, self.storage.start)
        await asyncio.to_thread(away)
        try:
            await asyncio.sleep(OUTAGE_SECONDS)
        finally:
            await asyncio.to_thread(back)
        self.done["outages"] += 1

    def swap(self) -> None:
        """Let the other catalog serve."""
        pointer = self.pointers[self.done["swaps"] % 2]
        body = json.dumps(dataclasses.asdict(pointer)).encode()
        self.store.storage.put(CONTAINER, self.store.name("pointer.json"), body)
        self.done["swaps"] += 1

    def revoke(self) -> None:
        self.simulator.control(revoke_tokens=True)
        self.done["revocations"] += 1

    def sample(self, at: float) -> None:
        for number, server in enumerate(self.servers):
            if not server.killed:
                process = psutil.Process(server.host.pid)
                memory = process.memory_info().rss / 1e6
                self.samples.append(Sample(at, number, memory, process.num_fds(), process.num_threads()))

    def orders(self) -> dict[str, list[str]]:
        """Return the names of the callers' orders in F&O, by reference, once F&O fails no more."""
        found: dict[str, list[str]] = {}
        query = "$select=CustomersOrderReference,SalesOrderName&$filter=CustomersOrderReference eq 'E-*'"
        with self.simulator.client() as fo:
            path = f"/data/SalesOrderHeadersV2?{query}"
            while path:
                page = fo.get(path).raise_for_status().json()
                for record in page["value"]:
                    found.setdefault(record["CustomersOrderReference"], []).append(record["SalesOrderName"])
                path = page.get("@odata.nextLink", "")
        return found

    def stop(self) -> None:
        for server in self.servers:
            server.host.stop(signal.SIGKILL)
            self.log.append(server.host.log)
        self.storage.stop()
        self.simulator.stop()


def build(environ: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "d365mcp", "catalog", "build"]
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    if built.returncode:
        raise RuntimeError(f"The catalog could not be built: {built.stderr[-2000:]}")


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Start everything, and stop it whatever happens."""
    simulator = Simulator.start()
    storage = Azurite(folder / "storage")
    made = World(simulator, storage, folder)
    try:
        yield made.prepare()
    finally:
        made.stop()
