"""Asks the real Bicep compiler, and Azure Resource Manager's own engine inside it; knows no file and no policy.

One process is asked again and again, by JSON-RPC: the first answers take seconds, those after them less than one.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# Where a snapshot is deployed to.
PLACE = {
    "tenantId": "00000000-0000-0000-0000-000000000002",
    "subscriptionId": "00000000-0000-0000-0000-000000000001",
    "location": "westeurope",
    "deploymentName": "test",
}


class RefusedError(Exception):
    """The compiler, or Azure Resource Manager's engine inside it, said no; the message is its own."""


class Compiler:
    """The compiler as a process that stays; use it as a context manager."""

    def __init__(self, found: str, **environ: str) -> None:
        pipe = subprocess.PIPE
        command = [found, "jsonrpc", "--stdio"]
        # What .NET measures to compile its own code a second time costs more than it gives in so few answers.
        env = {**os.environ, "DOTNET_TieredPGO": "0", **environ}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=env)
        self._asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def complaints(self, path: Path) -> list[str]:
        """Return every error, warning and remark of the linter on a file and all it uses, with the line it is about."""
        return [complaint(each) for each in self._compiled(path)["diagnostics"]]

    def compiled(self, path: Path) -> Any:
        """Return the template that Azure Resource Manager gets, or the parameters of a parameter file."""
        answer = self._compiled(path)
        if not answer["success"]:
            raise RefusedError(" ".join(self.complaints(path)))
        return json.loads(answer["contents" if path.suffix == ".bicep" else "parameters"])

    def snapshot(self, template: Path, **given: Any) -> dict[str, Any]:
        """Return what a deployment with these parameters would make: `predictedResources` and `outputs`.

        What only Azure knows, and every secure parameter, stays an expression. Raises RefusedError.
        """
        group = {} if "\ntargetScope = 'subscription'" in template.read_text() else {"resourceGroup": "rg-test"}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "given.bicepparam").resolve()
            parameters = "".join(f"param {name} = {literal(value)}\n" for name, value in given.items())
            path.write_text(f"using '{os.path.relpath(template.resolve(), path.parent)}'\n{parameters}")
            try:
                answer = self._ask("bicep/getSnapshot", path=str(path), metadata={**PLACE, **group})
            except RefusedError:
                # Where it does not compile, that is all it says.
                if complaints := self.complaints(path):
                    raise RefusedError(" ".join(complaints)) from None
                raise
        return json.loads(answer["snapshot"])

    def _compiled(self, path: Path) -> Any:
        if path.suffix == ".bicepparam":
            return self._ask("bicep/compileParams", path=str(path), parameterOverrides={})
        return self._ask("bicep/compile", path=str(path))

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
                if error := answer.get("error"):
                    raise RefusedError((error.get("data") or error)["message"])
                return answer["result"]


def complaint(found: dict[str, Any]) -> str:
    source, number = Path(found["source"]), found["range"]["start"]["line"]
    line = source.read_text().splitlines()[number].strip()
    return f"{source.name}:{number + 1}: {found['code']} {found['message']} ({line})"


def literal(value: Any) -> str:
    """Return a value as Bicep writes it."""
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"
    if isinstance(value, list):
        return "[\n" + "".join(f"{literal(each)}\n" for each in value) + "]"
    return "{\n" + "".join(f"{literal(name)}: {literal(each)}\n" for name, each in value.items()) + "}"
