"""Asks the real Bicep compiler, where this machine has one; knows what no file should say, but not why.

One process is asked again and again, by JSON-RPC: the first answer takes two seconds, those after it less than half.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# Microsoft Graph's types as a file, so that no registry is asked: `bicep publish-extension` made it of
# https://github.com/microsoft/msgraph-bicep-types (MIT).
GRAPH, VERSION = Path(__file__).with_name("microsoftgraph-v1.0-1.0.0.tgz"), "microsoftgraph/v1.0:1.0.0"


class NotFoundError(Exception):
    """There is no compiler here, or it does not start; the message says where it was looked for."""


def program() -> str:
    """Return the compiler: that of `BICEP`, of `PATH`, or where `az bicep install` puts it."""
    installed = Path.home() / ".azure" / "bin" / "bicep"
    places = (os.environ.get("BICEP"), shutil.which("bicep"), str(installed) if installed.exists() else None)
    found = next((each for each in places if each), None)
    if found is None:
        raise NotFoundError("there is no bicep in BICEP, on PATH or in ~/.azure/bin: `az bicep install` brings it")
    try:
        subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as exc:
        raise NotFoundError(f"{found} does not start: {getattr(exc, 'stderr', '') or exc}") from exc
    return found


def bring_graph(infra: Path) -> None:
    """Let a copy of infra/ find Microsoft Graph's types beside it."""
    settings = infra / "entra" / "bicepconfig.json"
    wanted = json.loads(settings.read_text())["extensions"]["microsoftGraphV1"]
    assert wanted.endswith(VERSION), f"make {GRAPH.name} anew"
    settings.write_text(settings.read_text().replace(wanted, f"./{GRAPH.name}"))
    shutil.copy(GRAPH, infra / "entra")


class Compiler:
    """The compiler as a process that stays; use it as a context manager."""

    def __init__(self, found: str, **environ: str) -> None:
        pipe = subprocess.PIPE
        command = [found, "jsonrpc", "--stdio"]
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env={**os.environ, **environ}
        )
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def complaints(self, path: Path) -> list[str]:
        """Return every error, warning and remark of the linter on a file and all it uses."""
        is_parameters = path.suffix == ".bicepparam"
        more = {"parameterOverrides": {}} if is_parameters else {}
        answer = self._ask("bicep/compileParams" if is_parameters else "bicep/compile", path=str(path), **more)
        return [
            f"{Path(each['source']).name}:{each['range']['start']['line'] + 1}: {each['code']} {each['message']}"
            for each in answer["diagnostics"]
        ]

    def _ask(self, method: str, **params: Any) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        self._asked += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}).encode()
        stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        stdin.flush()
        while True:
            length = 0
            while line := stdout.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            if not length:
                raise EOFError("the compiler has ended")
            answer = json.loads(stdout.read(length))
            if answer.get("id") == self._asked:
                return answer["result"]
