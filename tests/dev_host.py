"""Runs the dev host in a process of its own, as a user would; knows nothing of the app it serves."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.secret_markers import refuse_secrets

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "infra" / "local" / "devhost.py"
READY = "Functions dev host ready on "


class DevHost:
    """A dev host serving `app` on a free port; use it as a context manager."""

    def __init__(self, app: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile("a+")  # noqa: SIM115 - __exit__ closes it
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--app", str(app), "--port", "0", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(READY):
            self.stop()
            raise RuntimeError(f"The dev host did not start: {line}{self.log}")
        self.base_url = line.removeprefix(READY).strip()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What the host has written to its log so far."""
        self._errors.seek(0)
        return self._errors.read()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the host and return its exit status."""
        self._process.send_signal(number)
        status = self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        log = self.log
        self._errors.close()
        refuse_secrets(log, "The host's log")
