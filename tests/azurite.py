"""Runs Azurite, Microsoft's stand-in for Blob Storage, in a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.cached import node_packages

# Azurite's published development account.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
READY_SECONDS = 60.0


class Azurite:
    """A blob service on a port of its own; with a folder, it comes back with what it had."""

    def __init__(self, folder: Path | None = None) -> None:
        main = node_packages("azurite") / "azurite" / "dist" / "src" / "blob" / "main.js"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        kept = ["--location", str(folder)] if folder else ["--inMemoryPersistence"]
        options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", *kept]
        self.command = ["node", str(main), *options, "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        self.start()

    @property
    def connection(self) -> str:
        """The connection string."""
        where = f"BlobEndpoint=http://127.0.0.1:{self.port}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{where}"

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError("Azurite did not start; its complaint is above.")

    def stop(self) -> None:
        self.go_on()
        self.process.terminate()
        self.process.wait(60)

    def hang(self) -> None:
        """Take connections and answer none of them."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
