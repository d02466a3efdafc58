"""A real MCP client signs in by itself, with the SDK's own OAuth client, where Entra alone would leave it at a dead end."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.auth import OAuthClientProvider
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.cached import node_packages
from tests.clients.signing_in import serving
from tests.dev_host import DevHost
from tests.entra import Entra
from tests.signing import API, PUBLIC_CLIENT
from tests.simulated import Simulator

CALLBACK = "http://localhost:49152/callback"
QUERY = {"entity_name": "CustomersV3", "select": ["CustomerAccount"], "top": 1}


@dataclass
class Kept:
    """What a client keeps of a sign-in."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class Browser:
    """Follows redirects until one leads back to the client."""

    visited: list[str] = field(default_factory=list)

    async def open(self, url: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            while not url.startswith(CALLBACK):
                self.visited.append(url)
                reply = await http.get(url)
                assert reply.status_code == 302, reply.text
                url = reply.headers["location"]
        self.visited.append(url)

    async def returned(self) -> AuthorizationCodeResult:
        fields = parse_qs(urlsplit(self.visited[-1]).query)
        return AuthorizationCodeResult(code=fields["code"][0], state=fields["state"][0])


@dataclass
class Visitor:
    """A client on its way to one server."""

    url: str
    kept: Kept = field(default_factory=Kept)
    browser: Browser = field(default_factory=Browser)

    def __post_init__(self) -> None:
        wanted = OAuthClientMetadata.model_validate({"client_name": "tests", "redirect_uris": [CALLBACK]})
        self.auth = OAuthClientProvider(self.url, wanted, self.kept, self.browser.open, self.browser.returned)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        async with (
            httpx2.AsyncClient(auth=self.auth, trust_env=False, timeout=60) as http,
            Client(streamable_http_client(self.url, http_client=http)) as client,
        ):
            yield client

    async def query(self) -> dict[str, Any]:
        async with self.connected() as client:
            result = await client.call_tool("d365fo_query_entities", QUERY)
        assert not result.is_error, result.content
        return dict(result.structured_content or {})


@pytest.fixture(scope="module")
def entra() -> Iterator[Entra]:
    with Entra(("http://localhost/callback", "http://localhost/oauth/callback")) as running:
        yield running


@pytest.fixture
def visitor(server: DevHost, entra: Entra, simulator: Simulator) -> Visitor:
    entra.asked.clear()
    return Visitor(f"{server.base_url}/mcp")


def secrets_of(visitor: Visitor, entra: Entra) -> set[str]:
    """Return all that was secret in a sign-in."""
    assert visitor.kept.tokens is not None
    names = ("code", "code_verifier", "refresh_token")
    sent = {form[name] for form in entra.forms() for name in names if name in form}
    return sent | {visitor.kept.tokens.access_token, str(visitor.kept.tokens.refresh_token)}


def test_a_client_that_knows_nothing_but_the_url_signs_in_and_calls_a_tool(
    visitor: Visitor, server: DevHost, entra: Entra
) -> None:
    answer = asyncio.run(visitor.query())
    assert answer["records"]
    assert visitor.kept.client is not None
    assert (visitor.kept.client.client_id, visitor.kept.client.client_secret) == (PUBLIC_CLIENT, None)
    began, entra_asked, came_back = map(urlsplit, visitor.browser.visited)
    own, theirs = parse_qs(began.query), parse_qs(entra_asked.query)
    assert own["resource"] == [visitor.url]
    assert "resource" not in theirs
    for untouched in ("state", "code_challenge", "redirect_uri"):
        assert own[untouched] == theirs[untouched]
    assert parse_qs(came_back.query)["state"] == own["state"]
    assert [form["grant_type"] for form in entra.forms()] == ["authorization_code"]


def test_tokens_are_renewed_without_the_user(visitor: Visitor, entra: Entra) -> None:
    async def scenario() -> None:
        await visitor.query()
        assert visitor.kept.tokens is not None
        first, opened = visitor.kept.tokens, len(visitor.browser.visited)
        visitor.auth.context.token_expiry_time = 1  # long ago
        await visitor.query()
        assert visitor.kept.tokens.access_token != first.access_token
        assert entra.forms()[-1] == {
            "client_id": PUBLIC_CLIENT,
            "grant_type": "refresh_token",
            "refresh_token": first.refresh_token,
            "scope": f"api://{API}/.default offline_access",
        }
        assert len(visitor.browser.visited) == opened

    asyncio.run(scenario())


def test_a_refresh_token_that_has_ended_lets_the_user_sign_in_anew(visitor: Visitor, entra: Entra) -> None:
    async def scenario() -> None:
        await visitor.query()
        entra.refresh_tokens.clear()
        visitor.kept.tokens = None
        visitor.auth.context.token_expiry_time = 1
        await visitor.query()

    asyncio.run(scenario())
    grants = [form["grant_type"] for form in entra.forms()]
    assert grants == ["authorization_code", "refresh_token", "authorization_code"]


def test_nothing_secret_of_a_sign_in_is_in_the_log(visitor: Visitor, server: DevHost, entra: Entra) -> None:
    asyncio.run(visitor.query())
    visitor.auth.context.token_expiry_time = 1
    asyncio.run(visitor.query())
    log = server.log
    assert "DEBUG" in log
    assert not [secret for secret in secrets_of(visitor, entra) if secret in log]


@pytest.mark.once
def test_a_client_signs_in_for_more_when_a_call_needs_it(
    simulator: Simulator, entra: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 403 of a call beyond the role names all its scopes, and the SDK's client asks for them by itself."""
    entra.asked.clear()
    group = {"entity_name": "CustomerGroups", "data": {"CustomerGroupId": "UP", "Description": "more"}}

    async def scenario(visitor: Visitor) -> Any:
        monkeypatch.setattr(entra, "scopes", "D365.Read")
        async with visitor.connected() as client:
            assert not (await client.call_tool("d365fo_query_entities", QUERY)).is_error
            monkeypatch.setattr(entra, "scopes", "D365.Read D365.Write")  # granted meanwhile
            return (await client.call_tool("d365fo_create_entity_record", group)).structured_content

    with serving(simulator, entra, MCP_READ_ONLY="false") as host:
        visitor = Visitor(f"{host.base_url}/mcp")
        assert asyncio.run(scenario(visitor))["outcome"] == "created"
    asked = [parse_qs(urlsplit(url).query) for url in visitor.browser.visited if url.startswith(host.base_url)]
    first, second = (set(each["scope"][0].split()) for each in asked)
    assert first == {f"api://{API}/D365.Read"}
    assert second == {f"api://{API}/D365.Read", f"api://{API}/D365.Write"}


@pytest.mark.once
def test_without_the_facade_the_same_client_is_refused_by_entra(simulator: Simulator, entra: Entra) -> None:
    entra.asked.clear()
    with serving(simulator, entra, MCP_OAUTH_FACADE="false") as host:
        visitor = Visitor(f"{host.base_url}/mcp")
        # Entra registers nobody: the client has to be known to it beforehand.
        visitor.kept.client = OAuthClientInformationFull(client_id=PUBLIC_CLIENT)
        with pytest.raises(BaseExceptionGroup) as caught:
            asyncio.run(visitor.query())
    assert "AADSTS9010010" in str(list(leaves(caught.value)))
    assert entra.forms() == []


def leaves(group: BaseException) -> Iterator[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        for inner in group.exceptions:
            yield from leaves(inner)
    else:
        yield group


def browser_in(folder: Path) -> Path:
    """Make a browser, a command that follows redirects; by its name it is also found as the desktop's own."""
    browser = folder / "xdg-open"
    browser.write_text(f"#!{sys.executable}\nimport sys, urllib.request\nurllib.request.urlopen(sys.argv[1]).close()\n")
    browser.chmod(0o700)
    return browser


@pytest.mark.once
def test_mcp_remote_signs_in_for_a_client_that_cannot(
    server: DevHost, entra: Entra, simulator: Simulator, tmp_path: Path
) -> None:
    modules = node_packages("node", "mcp-remote")
    own = {"BROWSER": str(browser_in(tmp_path)), "MCP_REMOTE_CONFIG_DIR": str(tmp_path), "no_proxy": "*"}
    command = StdioServerParameters(
        command=str(modules / "node" / "bin" / "node"),
        args=[str(modules / "mcp-remote" / "dist" / "proxy.js"), f"{server.base_url}/mcp"],
        env={**os.environ, **own},
    )

    async def query() -> dict[str, Any]:
        with (tmp_path / "log").open("w") as log:
            async with asyncio.timeout(60), Client(stdio_client(command, errlog=log)) as client:
                result = await client.call_tool("d365fo_query_entities", QUERY)
        return dict(result.structured_content or {})

    entra.asked.clear()
    assert asyncio.run(query())["records"]
    (form,) = entra.forms()
    assert form["redirect_uri"].endswith("/oauth/callback")


@pytest.mark.once
def test_the_typescript_sdk_of_the_handshake_era_signs_in_and_renews_a_token_that_is_refused(
    server: DevHost, entra: Entra
) -> None:
    modules = node_packages("node", "@modelcontextprotocol/sdk")
    script = Path(__file__).with_name("sign_in.mjs")
    command = [modules / "node" / "bin" / "node", script, modules, f"{server.base_url}/mcp", CALLBACK]
    entra.asked.clear()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["tools"] > 5
    assert (told["client"]["client_id"], told["client"]["token_endpoint_auth_method"]) == (PUBLIC_CLIENT, "none")
    assert [form["grant_type"] for form in entra.forms()] == ["authorization_code", "refresh_token"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:443", "127.0.0.1@evil.example"])
def test_no_document_follows_the_host_header(server: DevHost, host: str) -> None:
    documents = ("oauth-protected-resource", "oauth-protected-resource/mcp", "oauth-authorization-server")
    headers = {"host": host, "x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
    with httpx.Client(base_url=server.base_url, trust_env=False) as http:
        for path in documents:
            told = http.get(f"/.well-known/{path}", headers=headers)
            assert told.status_code == 200
            assert told.json() == http.get(f"/.well-known/{path}").json()
            assert "evil" not in told.text
        asked = urlencode({"redirect_uri": "http://evil.example/", "client_id": PUBLIC_CLIENT})
        assert http.get(f"/authorize?{asked}", headers=headers).status_code == 400


def test_the_challenge_leads_to_the_documents(server: DevHost, entra: Entra) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    with httpx.Client(base_url=server.base_url, trust_env=False) as http:
        reply = http.post("/mcp", json=ping)
        assert reply.status_code == 401
        address = reply.headers["www-authenticate"].partition('resource_metadata="')[2].partition('"')[0]
        resource = http.get(address).json()
        (issuer,) = resource["authorization_servers"]
        assert http.get(f"{issuer}/.well-known/oauth-authorization-server").json()["issuer"] == issuer


def test_a_token_for_somebody_else_does_not_do(server: DevHost, entra: Entra) -> None:
    ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    headers = {"content-type": "application/json", "accept": "application/json"}

    def status(token: str) -> int:
        bearer = {**headers, "authorization": f"Bearer {token}"}
        return httpx.post(f"{server.base_url}/mcp", content=ping, headers=bearer, trust_env=False).status_code

    assert status(entra.access_token()) == 200
    assert status(entra.access_token(aud=f"api://{API}")) == 200
    assert status(entra.access_token(aud=PUBLIC_CLIENT)) == 401
