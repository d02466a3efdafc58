"""Runs the simulator in a process of its own, for tests that talk to it over HTTP. Knows nothing of what it simulates."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
IDENTITY_HEADER = "simulated-identity-secret"
TODAY = "2023-10-31"
"""The day on which the shipped world was written: its dates stay, and tests can name them."""


@dataclass
class Simulator:
    """A running simulator."""

    base_url: str
    process: subprocess.Popen[str]
    certificate: Path | None

    @classmethod
    def start(
        cls, world: Path | Mapping[str, Any] | None = None, *options: str, certificate: Path | None = None
    ) -> Simulator:
        """Start one on a free port, with the shipped world, a world file, or a world given as data."""
        if isinstance(world, Mapping):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "world.json")
                path.write_text(json.dumps(world))
                return cls.start(path, *options, certificate=certificate)
        chosen = ["--world", str(world)] if world else []
        secured = ["--certificate", str(certificate)] if certificate else []
        command = [sys.executable, "-m", "d365mcp.simulator", "--port", "0", "--quiet", "--today", TODAY]
        command += [*chosen, *secured, *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        ready = process.stdout.readline()
        if "ready on" not in ready:
            process.wait()
            raise RuntimeError("The simulator did not start; its complaint is above.")
        return cls(ready.split()[-1], process, certificate)

    @cached_property
    def http(self) -> httpx.Client:
        """An HTTP client that is not signed in."""
        return self._client({})

    def identity_environment(self) -> dict[str, str]:
        """What App Service sets, so that a managed identity gets its tokens here."""
        return {"IDENTITY_ENDPOINT": f"{self.base_url}/msi/token", "IDENTITY_HEADER": IDENTITY_HEADER}

    def token(self, client_id: str = "", resource: str = "") -> str:
        """A bearer token, as the managed-identity endpoint gives it."""
        asked = {"api-version": "2019-08-01", "resource": resource or self.base_url, "client_id": client_id}
        reply = self.http.get("/msi/token", params=asked, headers={"X-IDENTITY-HEADER": IDENTITY_HEADER})
        return str(reply.raise_for_status().json()["access_token"])

    def client(self, client_id: str = "") -> httpx.Client:
        """An HTTP client that is signed in."""
        return self._client({"Authorization": f"Bearer {self.token(client_id)}"})

    def _client(self, headers: Mapping[str, str]) -> httpx.Client:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the public authorities, which take a while to load
        if self.certificate:
            trust.load_verify_locations(self.certificate)
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=60, trust_env=False, verify=trust)

    def control(self, **commands: Any) -> None:
        """Turn something; `d365mcp/simulator/control.py` lists the commands."""
        reply = self.http.post("/__control", json=commands)
        if reply.is_error:
            raise ValueError(reply.text)

    def reset(self) -> None:
        """Put everything back as it was at the start."""
        self.control(reset=True)

    def fault(
        self, path: str = "", *, method: str = "", after_n: int = 0, chance: float = 1, times: int = 1, **what: Any
    ) -> None:
        """Let the next requests whose path has this regular expression fail: `kind=`, `status=`, `headers=`, `body=`, …"""
        match = {"path": path, "method": method, "after_n": after_n, "chance": chance}
        self.control(fault={"match": match, "fault": what, "times": times})

    def log(self, path: str = "/") -> list[dict[str, Any]]:
        """The requests since the last reset whose path starts so; "/data" leaves the token requests out."""
        entries: list[dict[str, Any]] = self.http.get("/__control").json()["log"]
        return [entry for entry in entries if entry["path"].lower().startswith(path)]

    def most_in_flight(self) -> int:
        """The largest number of requests at work at the same time since the last reset."""
        return int(self.http.get("/__control").json()["most_in_flight"])

    def stop(self) -> None:
        self.http.close()
        self.process.terminate()
        self.process.wait(timeout=60)
        assert self.process.stdout is not None
        self.process.stdout.close()
