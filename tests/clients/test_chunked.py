"""Bodies in chunks, as the C# SDK sends them: taken on every door, and missed with the true cause where the host keeps them."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.dev_host import ROOT, DevHost
from tests.entra import Entra
from tests.functions_runtime import Call, run_app
from tests.signing import PUBLIC_CLIENT, TENANT

PING = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping"})
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
CALLBACK = "http://localhost/callback"
RENEWAL = urlencode({"client_id": PUBLIC_CLIENT, "grant_type": "refresh_token", "refresh_token": "Zoë"})
# Of each door that takes a body: what is sent there, and what a door that has read it says.
DOORS: dict[str, tuple[dict[str, str], str, int, str]] = {
    "mcp": (JSON, PING, 200, '{"jsonrpc":"2.0","id":7,"result":{}}'),
    "token": (FORM, RENEWAL, 400, "AADSTS9002313"),
    "register": (JSON, json.dumps({"redirect_uris": [CALLBACK]}), 201, CALLBACK),
}


def posted(server: DevHost, door: str, content: Iterator[bytes], headers: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{server.base_url}/{door}", content=content, headers=headers, timeout=60, trust_env=False)


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


@pytest.mark.parametrize("size", [1, 5, 10_000], ids=["byte by byte", "many", "one"])
@pytest.mark.parametrize("door", DOORS)
def test_a_body_in_chunks_is_read_on_every_door(server: DevHost, entra: Entra, door: str, size: int) -> None:
    headers, body, status, said = DOORS[door]
    headers = {**headers, "authorization": f"Bearer {entra.access_token()}"}
    reply = posted(server, door, pieces(body.encode(), size), headers)
    assert "content-length" not in reply.request.headers
    assert (reply.status_code, said in reply.text) == (status, True), reply.text


def test_a_body_above_4_mib_in_chunks_is_refused(server: DevHost, entra: Entra) -> None:
    headers = {**JSON, "authorization": f"Bearer {entra.access_token()}"}
    content = (b" " * 65_536 for _ in range(65))
    assert posted(server, "mcp", content, headers).status_code == 413


def message_of(body: str) -> str:
    said: dict[str, Any] = json.loads(body)
    return str(said["error_description"] if "error_description" in said else said["error"]["message"])


@pytest.mark.parametrize("door", DOORS)
def test_where_the_host_keeps_the_body_the_answer_says_why_and_what_helps(door: str) -> None:
    """Microsoft's own runtime, with what its host hands on of a body in chunks: the headers."""
    pytest.importorskip("azure_functions_runtime", reason="azure-functions-runtime needs Python 3.13 or newer")
    headers = {**DOORS[door][0], "host": "localhost", "transfer-encoding": "chunked"}
    environ = {
        "D365FO_BASE_URL": "https://contoso.operations.dynamics.com",
        "MCP_AUTH": "jwt",
        "MCP_CLIENT_ID": "api",
        "MCP_ALLOWED_TENANTS": TENANT,
        "MCP_PUBLIC_URL": "https://mcp.contoso.com",
        "MCP_OAUTH_CLIENT_ID": PUBLIC_CLIENT,
        "MCP_OAUTH_FACADE": "true",
    }
    if door == "mcp":
        environ = {**environ, "MCP_AUTH": "none", "MCP_OAUTH_FACADE": "false"}
    outcome = run_app(ROOT, Call(door, "POST", f"http://localhost/{door}", headers), environ=environ)
    (answer,) = outcome.answers
    assert answer.status == 400
    for word in ("Transfer-Encoding", "LoadIntoBufferAsync", "proxy"):
        assert word in message_of(answer.body)
