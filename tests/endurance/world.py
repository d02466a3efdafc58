"""The world of the endurance run: a faulty F&O, a storage that fails, and two servers that are killed in turn."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from d365mcp.metadata.store import CONTAINER, CatalogStore, Pointer
from d365mcp.settings import Settings
from d365mcp.storage import open_storage
from tests.cached import node_packages
from tests.dev_host import ROOT, DevHost
from tests.simulated import Simulator

# Each kind's share of F&O's requests: a fifth together.
FAULTS = (
    (0.04, {"status": 429, "headers": {"Retry-After": "1"}}),
    (0.04, {"status": 503}),
    (0.04, {"kind": "drop"}),
    (0.03, {"kind": "slow", "seconds": 2}),
    (0.03, {"kind": "malformed"}),
    (0.02, {"kind": "cut"}),
)
# Azurite's published development account.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
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


class Storage:
    """Azurite on a port and a folder of its own, so that it can go and come back with what it had."""

    def __init__(self, folder: Path) -> None:
        main = node_packages("azurite@3.37.0") / "azurite" / "dist" / "src" / "blob" / "main.js"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(folder)]
        self.command = ["node", str(main), *options, "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        self.start()

    @property
    def connection(self) -> str:
        where = f"BlobEndpoint=http://127.0.0.1:{self.port}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{where}"

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError("Azurite did not start.")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(30)

    async def be_out(self, *, hanging: bool) -> None:
        """Be gone for a while, or there without ever answering."""
        if hanging:
            self.process.send_signal(signal.SIGSTOP)
        else:
            await asyncio.to_thread(self.stop)
        try:
            await asyncio.sleep(OUTAGE_SECONDS)
        finally:
            if hanging:
                self.process.send_signal(signal.SIGCONT)
            else:
                await asyncio.to_thread(self.start)


@dataclass
class World:
    """All that runs."""

    simulator: Simulator
    storage: Storage
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
    storage = Storage(folder / "storage")
    made = World(simulator, storage, folder)
    try:
        yield made.prepare()
    finally:
        made.stop()
