"""Runs azure-cli's own code again and again in one process, behind a port; the Azure it talks to is resource_manager.py.

Run by a Python that has azure-cli. Prints the port. A line of JSON asks: arguments, folder, environment; a line answers.
Each command runs in a fork, as a process of its own would: with its own folder, variables, output and exit code.
"""

import contextlib
import io
import json
import os
import socketserver
import sys
import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests
import urllib3
from azure.cli.core import get_default_cli
from resource_manager import Azure, Request

# What the guide and the workflows use: loaded once, so that a command takes tenths of a second.
USED = ("login", "account", "ad", "deployment", "functionapp", "identity", "keyvault", "storage")


def send(azure: Azure, request: requests.PreparedRequest) -> requests.Response:
    """Answer in place of the network: where all of the CLI's libraries meet."""
    body = request.body.encode() if isinstance(request.body, str) else request.body
    content = body if isinstance(body, bytes) else body.read() if body else b""
    status, headers, answer = azure.answer(Request(str(request.method), str(request.url), request.headers, content))
    response = requests.Response()
    response.status_code, response.request, response.url = status, request, str(request.url)
    response.reason = HTTPStatus(status).phrase
    response.headers.update({"Content-Length": str(len(answer)), **headers})
    response.raw = urllib3.HTTPResponse(io.BytesIO(answer), response.headers, status, preload_content=False)
    return response


def run(arguments: list[str]) -> int:
    """Run one command; the browser that `az login` opens is a managed identity's sign-in here."""
    arguments = ["login", "--identity"] if arguments == ["login"] else arguments
    try:
        return int(get_default_cli().invoke(arguments) or 0)
    except SystemExit as ended:
        return int(ended.code or 0)


def in_a_fork(asked: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            os._exit(started(asked))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        errors.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "output": output.read().decode(),
            "errors": errors.read().decode(),
        }


def started(asked: dict[str, Any]) -> int:
    """Be the process that was asked for, and return its exit code."""
    own = {name: value for name, value in os.environ.items() if name.startswith(("AZURE_CO", "IDENTITY_"))}
    os.environ.clear()
    os.environ.update({**asked["environment"], **own})
    os.chdir(asked["folder"])
    azure = Azure(Path(asked["environment"]["AZURE"]))
    requests.adapters.HTTPAdapter.send = lambda adapter, request, **options: send(azure, request)
    try:
        code = run(asked["arguments"])
        if code == 0:
            azure.note(asked["arguments"])
        return code
    except BaseException as problem:
        print(repr(problem), file=sys.stderr)
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(json.dumps(in_a_fork(json.loads(self.rfile.readline()))).encode())


def main(folder: Path) -> None:
    """Sign in, load what is used, and serve."""
    for command in USED:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            get_default_cli().invoke([command, "--help"])
    in_a_fork({"arguments": ["login"], "folder": str(folder), "environment": {"AZURE": str(folder)}})
    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
