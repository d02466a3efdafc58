"""Callers over HTTP: who is let in with which token, what is told to who is not, and what each role sees."""

import asyncio
import base64
import hmac
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Tool

from d365mcp.errors import NotReady
from d365mcp.server.auth import tokens
from d365mcp.server.auth.callers import Callers
from d365mcp.server.auth.challenges import InvalidToken
from d365mcp.server.auth.tokens import TokenCheck
from d365mcp.server.messages import Refused
from d365mcp.settings import Settings
from d365mcp.tools import ALL_TOOLS
from tests.served import Served, serving
from tests.signing import API, PUBLIC_CLIENT, TENANT, USER, claims, private_key, public_key, publish, signed, token
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

OTHER_TENANT = "aaaaaaaa-0000-4000-8000-00000000000f"
STRANGE_TENANT = "aaaaaaaa-0000-4000-8000-0000000000ff"
CUSTOM = "https://mcp.contoso.com/mcp"
SCOPE = f"api://{API}"
METADATA = "https://mcp.contoso.com/.well-known/oauth-protected-resource/mcp"
HEADERS = {"content-type": "application/json", "accept": "application/json", "mcp-protocol-version": "2025-11-25"}
SETTINGS = {
    "MCP_AUTH": "jwt",
    "MCP_CLIENT_ID": API,
    "MCP_ALLOWED_TENANTS": f"{TENANT},{OTHER_TENANT}",
    "MCP_AUDIENCES": f"{SCOPE},{CUSTOM}",
    "MCP_PUBLIC_URL": "https://mcp.contoso.com",
    "MCP_READ_ONLY": "false",
    "MCP_TOOLSETS": "all",
    "D365FO_ALLOWED_ACTIONS": "*",
}
READING = {tool.name for tool in ALL_TOOLS if tool.read_only and tool.toolset != "admin"}
CHANGING = {tool.name for tool in ALL_TOOLS if not tool.read_only and tool.toolset not in ("admin", "performance")}
ALL = {tool.name for tool in ALL_TOOLS}


@pytest.fixture(scope="module")
def process(simulator_process: Simulator) -> Iterator[Served]:
    with serving(simulator_process, **SETTINGS, AZURE_AUTHORITY_HOST=simulator_process.base_url) as served:
        yield served


@pytest.fixture
def served(process: Served, simulator: Simulator) -> Served:
    """A server that checks tokens, and a tenant with one key."""
    publish(simulator, "one")
    return process


def ask(served: Served, authorization: str | None, method: str = "tools/list", **more: Any) -> httpx.Response:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, **more}
    headers = HEADERS if authorization is None else {**HEADERS, "authorization": authorization}
    return httpx.post(served.url, json=message, headers=headers, timeout=60, trust_env=False)


def call(served: Served, authorization: str, tool: str, **arguments: Any) -> httpx.Response:
    return ask(served, authorization, "tools/call", params={"name": f"d365fo_{tool}", "arguments": arguments})


def bearer(served: Served, **changes: Any) -> str:
    return f"Bearer {token(served.simulator.base_url, **changes)}"


def challenge(reply: httpx.Response) -> dict[str, str]:
    """Return the parameters of WWW-Authenticate."""
    scheme, _, rest = reply.headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer"
    found = dict(re.findall(r'([a-z_]+)="([^"\\]*)"', rest))
    assert ", ".join(f'{name}="{value}"' for name, value in found.items()) == rest
    return found


def test_without_a_token_the_answer_says_where_to_sign_in_and_for_what(served: Served) -> None:
    reply = ask(served, None)
    assert reply.status_code == 401
    assert challenge(reply) == {"scope": f"{SCOPE}/D365.Read", "resource_metadata": METADATA}
    assert reply.json()["error"]["message"].startswith("Sign in first")


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_every_method_wants_a_token_first(served: Served, method: str) -> None:
    assert httpx.request(method, served.url, content=b"{", trust_env=False).status_code == 401
    assert httpx.get(f"{served.base_url}/health/deep", trust_env=False).status_code == 401


def test_deep_health_is_for_signed_in_callers(served: Served) -> None:
    headers = {"authorization": bearer(served)}
    assert httpx.get(f"{served.base_url}/health/deep", headers=headers, timeout=60, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Basic dXNlcjpwYXNz", "Negotiate abc", "bearertoken", "token Bearer x"]
)
def test_what_is_no_bearer_token_counts_as_none(served: Served, authorization: str) -> None:
    reply = ask(served, authorization)
    assert (reply.status_code, challenge(reply).get("error")) == (401, None)


def test_a_token_in_the_url_counts_as_none(served: Served) -> None:
    url = f"{served.url}?access_token={token(served.simulator.base_url)}"
    assert httpx.post(url, json={}, headers=HEADERS, trust_env=False).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="client id as audience"),
        pytest.param({"aud": SCOPE}, id="Application ID URI as audience"),
        pytest.param({"aud": CUSTOM}, id="our own URL as audience"),
        pytest.param(
            {"iss": f"https://sts.windows.net/{TENANT}/", "azp": None, "appid": PUBLIC_CLIENT, "ver": "1.0"}, id="v1.0"
        ),
        pytest.param({"tid": OTHER_TENANT}, id="another tenant that is let in"),
        pytest.param({"exp": lambda: int(time.time()) - 30}, id="expired within the skew"),
        pytest.param({"nbf": int(time.time()) + 30, "iat": int(time.time()) + 30}, id="valid within the skew"),
        pytest.param({"scp": None, "roles": ["D365.Read"], "idtyp": "app"}, id="an app with a role"),
        pytest.param({"scp": "user_impersonation", "roles": ["D365.Read"]}, id="a user with a role"),
        pytest.param({"scp": "openid D365.Read"}, id="several scopes"),
        pytest.param({"scp": "D365.Admin"}, id="a scope that includes reading"),
    ],
)
def test_an_access_token_for_us_is_good(served: Served, changes: dict[str, Any]) -> None:
    now = {name: value() if callable(value) else value for name, value in changes.items()}
    reply = ask(served, bearer(served, **now))
    assert (reply.status_code, reply.headers.get("www-authenticate")) == (200, None)


NOW = int(time.time())
BAD_CLAIMS = {
    "expired": ({"exp": NOW - 120}, "has expired"),
    "not yet valid": ({"nbf": NOW + 1200}, "not valid yet"),
    "issued in the future": ({"iat": NOW + 1200}, "not valid yet"),
    "for Microsoft Graph": ({"aud": "00000003-0000-0000-c000-000000000000"}, "somebody else"),
    "for F&O": ({"aud": "https://contoso.operations.dynamics.com"}, "somebody else"),
    "for a longer audience": ({"aud": f"{API}0"}, "somebody else"),
    "with an empty audience": ({"aud": ""}, "lacks one of the claims"),
    "from a tenant not let in": ({"tid": STRANGE_TENANT}, "tenant"),
    "from another issuer": ({"iss": "https://evil.example/v2.0"}, "not issued by Entra"),
    "from the issuer of another tenant": ({"iss": f"https://sts.windows.net/{OTHER_TENANT}/"}, "not issued by Entra"),
    "from an issuer that begins alike": ({"iss": f"https://sts.windows.net/{TENANT}/x"}, "not issued by Entra"),
    "an ID token": ({"azp": None, "roles": ["D365.Admin"], "nonce": "n"}, "ID token"),
    "without expiry": ({"exp": None}, "lacks one of the claims"),
    "without issuer": ({"iss": None}, "lacks one of the claims"),
    "without audience": ({"aud": None}, "lacks one of the claims"),
    "without tenant": ({"tid": None}, "not one of Entra's"),
    "with an expiry that is no number": ({"exp": "tomorrow"}, "not one of Entra's"),
    "with an audience that is no text": ({"aud": {"a": 1}}, "somebody else"),
}


@pytest.mark.parametrize(("changes", "told"), BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_a_bad_claim_is_refused_and_named(served: Served, changes: dict[str, Any], told: str) -> None:
    refused(ask(served, bearer(served, **changes)), told)


def refused(reply: httpx.Response, told: str) -> None:
    """Check that a reply asks for another token and says why."""
    assert reply.status_code == 401
    found = challenge(reply)
    assert (found["error"], found["scope"], found["resource_metadata"]) == (
        "invalid_token",
        f"{SCOPE}/D365.Read",
        METADATA,
    )
    assert told in found["error_description"]
    assert reply.json()["error"]["message"] == found["error_description"]


def test_a_token_signed_by_somebody_else_under_a_known_name_is_refused(served: Served) -> None:
    forged = signed(claims(served.simulator.base_url), "stranger", kid="one")
    refused(ask(served, f"Bearer {forged}"), "signature is wrong")


def test_a_changed_token_is_refused(served: Served) -> None:
    header, payload, signature = token(served.simulator.base_url).split(".")
    found = json.loads(base64.urlsafe_b64decode(payload + "=="))
    raised = base64.urlsafe_b64encode(json.dumps({**found, "scp": "D365.Admin"}).encode()).decode().rstrip("=")
    refused(ask(served, f"Bearer {header}.{raised}.{signature}"), "signature is wrong")


def test_an_unsigned_token_is_refused(served: Served) -> None:
    unsigned = jwt.encode(claims(served.simulator.base_url), "", "none", headers={"kid": "one"})
    refused(ask(served, f"Bearer {unsigned}"), "RS256")


def test_a_token_signed_with_our_public_key_as_a_secret_is_refused(served: Served) -> None:
    """The old trick: the public key, which all know, taken for the secret of HS256."""
    header, payload, _ = jwt.encode(
        claims(served.simulator.base_url), "any secret of 32 bytes and more!", "HS256", headers={"kid": "one"}
    ).split(".")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = private_key("one").public_key().public_bytes(serialization.Encoding.PEM, form)
    mac = hmac.digest(secret, f"{header}.{payload}".encode(), "sha256")
    signature = base64.urlsafe_b64encode(mac).decode().rstrip("=")
    refused(ask(served, f"Bearer {header}.{payload}.{signature}"), "RS256")


def test_a_token_that_brings_its_own_key_is_refused(served: Served) -> None:
    forged = signed(claims(served.simulator.base_url), "own", jwk=public_key("own"), jku="https://evil.example/keys")
    refused(ask(served, f"Bearer {forged}"), "key that its tenant does not have")


def test_a_token_without_the_name_of_its_key_is_refused(served: Served) -> None:
    nameless = jwt.encode(claims(served.simulator.base_url), private_key("one"), "RS256")
    refused(ask(served, f"Bearer {nameless}"), "not one of Entra's")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just(TENANT)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
    max_leaves=5,
)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


NESTED = "[" * 6000
GARBAGE = {
    "text": "garbage",
    "dots": "..",
    "two parts": "e30.e30",
    "five parts": "e30.e30.e30.e30.e30",
    "no base64": "!.!.!",
    "not an object": f"{base64.urlsafe_b64encode(b'[1]').decode()}.W10.x",
    "nested deeply": f"eyJhbGciOiJSUzI1NiIsImtpZCI6Im9uZSJ9.{base64.urlsafe_b64encode(NESTED.encode()).decode()}.e30",
    "two tokens": "e30.e30.e30, Bearer e30.e30.e30",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_refused(served: Served, garbage: str) -> None:
    refused(ask(served, f"Bearer {garbage}"), "not one of Entra's")


def test_a_token_of_unusual_length_is_refused(served: Served) -> None:
    refused(ask(served, f"Bearer {'a' * 16_001}"), "longer than 16000")


@pytest.mark.parametrize(
    "changes",
    [
        {"scp": "user_impersonation"},
        {"scp": None, "idtyp": "app"},
        {"roles": "D365.Admin", "scp": "x"},
        # The app has roles, then, and theirs are none of ours, whatever all clients may do.
        {"roles": ["Other"], "scp": "D365.Admin"},
        {"roles": "D365.Admin", "scp": "D365.Admin"},
    ],
)
def test_a_caller_without_a_role_is_told_which_to_get(served: Served, changes: dict[str, Any]) -> None:
    reply = ask(served, bearer(served, **changes), "initialize")
    assert reply.status_code == 403
    found = challenge(reply)
    assert (found["error"], found["scope"]) == ("insufficient_scope", f"{SCOPE}/D365.Read")
    assert "administrator" in found["error_description"]


def names(reply: httpx.Response) -> set[str]:
    return {tool["name"] for tool in reply.json()["result"]["tools"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scp": "D365.Read"}, READING),
        ({"scp": "D365.Write"}, READING | CHANGING),
        ({"scp": "D365.Admin"}, ALL),
        ({"scp": None, "roles": ["D365.Write"]}, READING | CHANGING),
        ({"scp": "user_impersonation", "roles": ["D365.Read", "D365.Admin", "Other"]}, ALL),
        # The client may do no more than its scope says, its user no more than their role.
        ({"scp": "D365.Read", "roles": ["D365.Admin"]}, READING),
        ({"scp": "D365.Admin", "roles": ["D365.Write"]}, READING | CHANGING),
    ],
)
def test_a_caller_sees_just_the_tools_of_their_role(
    served: Served, changes: dict[str, Any], expected: set[str]
) -> None:
    prepared = ask(served, bearer(served, **changes))
    by_the_sdk = ask(served, bearer(served, **changes), params={"of": "no consequence"})
    assert names(prepared) == names(by_the_sdk) == expected


def test_lists_are_private_where_callers_differ(served: Served) -> None:
    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {**HEADERS, "authorization": bearer(served), "mcp-protocol-version": version, "mcp-method": "tools/list"}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    reply = httpx.post(served.url, json=message, headers=headers, trust_env=False)
    assert (reply.status_code, reply.json()["result"]["cacheScope"]) == (200, "private")


@pytest.mark.parametrize(
    ("tool", "held", "asked"),
    [
        ("delete_entity_record", "D365.Read", "D365.Read D365.Write"),
        ("call_json_service", "D365.Read", "D365.Read D365.Write"),
        ("sync_metadata", "D365.Write", "D365.Read D365.Write D365.Admin"),
        ("get_sync_progress", "D365.Write", "D365.Read D365.Write D365.Admin"),
        ("reset_performance_stats", "D365.Write", "D365.Read D365.Write D365.Admin"),
    ],
)
def test_a_call_beyond_the_role_is_told_all_scopes_it_needs(served: Served, tool: str, held: str, asked: str) -> None:
    reply = call(served, bearer(served, scp=held), tool)
    assert reply.status_code == 403
    found = challenge(reply)
    assert found["error"] == "insufficient_scope"
    assert found["scope"] == " ".join(f"{SCOPE}/{scope}" for scope in asked.split())
    assert found["resource_metadata"] == METADATA
    body = reply.json()
    assert (body["id"], body["error"]["data"]["required"]) == (1, asked.split()[-1])
    assert f"d365fo_{tool}" in body["error"]["message"]


@pytest.mark.parametrize(("role", "code"), [("D365.Read", "not_allowed"), ("D365.Write", "not_found")])
def test_who_may_only_read_runs_no_controller_of_their_choosing(served: Served, role: str, code: str) -> None:
    custom = {"document": "custom", "controller": "AnyController", "table": "AnyTable", "field": "AnyField"}
    reply = call(served, bearer(served, scp=role), "download_document", **custom, number="1", company="usmf")
    error = json.loads(reply.json()["result"]["content"][0]["text"])
    assert (error["code"], "D365.Write" in error["message"]) == (code, code == "not_allowed")


def test_a_call_within_the_role_is_done(served: Served) -> None:
    group = {"CustomerGroupId": "JWT", "Description": "By token"}
    made = call(
        served, bearer(served, scp="D365.Write"), "create_entity_record", entity_name="CustomerGroups", data=group
    )
    assert made.json()["result"]["structuredContent"]["outcome"] == "created"


def test_the_callers_token_never_reaches_f_and_o(served: Served) -> None:
    sent = token(served.simulator.base_url)
    call(served, f"Bearer {sent}", "query_entities", entity_name="CustomersV3", top=1)
    entries = served.simulator.log("/")
    assert {entry["client"] for entry in entries if entry["path"].startswith("/data")} == {
        "00000000-0000-4000-8000-000000000001"  # the managed identity
    }
    assert sent not in json.dumps(entries)
    assert sent.rpartition(".")[2] not in served.host.log


def test_a_cursor_is_its_callers_own(served: Served) -> None:
    """What one caller may read on is not for another, however they came by the cursor."""

    def page(user: str, **arguments: Any) -> dict[str, Any]:
        reply = call(served, bearer(served, oid=user), "query_entities", entity_name="SalesOrderLines", **arguments)
        return dict(json.loads(reply.json()["result"]["content"][0]["text"]))

    cursor = page(USER)["next_cursor"]
    assert page(USER, cursor=cursor)["records"]
    assert page("somebody-else", cursor=cursor)["code"] == "invalid_cursor"


@pytest.mark.parametrize("role", ["D365.Read", "D365.Write", "D365.Admin"])
def test_a_request_that_only_reads_sees_no_tool_that_does_more(served: Served, role: str) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {**HEADERS, "authorization": bearer(served, scp=role), "x-mcp-readonly": "true"}
    for params in ({}, {"of": "no consequence"}):  # prepared, and by the SDK
        reply = httpx.post(served.url, json={**message, "params": params}, headers=headers, trust_env=False)
        assert {tool.name for tool in ALL_TOOLS if not tool.read_only} & names(reply) == set()


def test_a_request_may_narrow_its_role_never_widen_it(served: Served) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {**HEADERS, "authorization": bearer(served), "x-mcp-toolsets": "data,admin", "x-mcp-readonly": "false"}
    reply = httpx.post(served.url, json=message, headers=headers, trust_env=False)
    assert names(reply) == {tool.name for tool in ALL_TOOLS if tool.toolset == "data" and tool.read_only}


@pytest.mark.parametrize("role", ["D365.Read", "D365.Write", "D365.Admin"])
def test_a_caller_is_suggested_the_tools_of_their_role_alone(served: Served, role: str) -> None:
    authorization = bearer(served, scp=role)
    offered = names(ask(served, authorization))
    for tool in ALL_TOOLS:
        short = f"{tool.name.removeprefix('d365fo_')}s"
        message = call(served, authorization, short).json()["error"]["message"]
        suggested = set(re.findall(r"d365fo_\w+", message)) - {f"{tool.name}s"}
        assert suggested <= offered
        assert (tool.name in suggested) == (tool.name in offered)


def test_a_real_client_signs_in_with_its_token(served: Served) -> None:
    async def once(authorization: str) -> tuple[list[Tool], Any]:
        async with (
            httpx2.AsyncClient(headers={"authorization": authorization}, trust_env=False) as http,
            Client(streamable_http_client(served.url, http_client=http)) as client,
        ):
            found = await client.call_tool("d365fo_get_server_config", {})
            return (await client.list_tools()).tools, found.structured_content

    tools, config = asyncio.run(once(bearer(served, scp="D365.Write")))
    assert {tool.name for tool in tools} == READING | CHANGING
    assert config["access"]["caller"] == USER
    assert config["access"]["roles"] == ["D365.Read", "D365.Write"]


# Keys


def fetches(simulator: Simulator) -> int:
    return len(simulator.log(f"/{TENANT}/discovery"))


@pytest.mark.once
def test_keys_are_fetched_once_and_again_when_a_new_one_signs(simulator: Simulator) -> None:
    publish(simulator, "one")
    with serving(simulator, **SETTINGS, AZURE_AUTHORITY_HOST=simulator.base_url) as served:
        first = [ask(served, bearer(served)).status_code for _ in range(3)]
        assert (first, fetches(simulator)) == ([200] * 3, 1)
        publish(simulator, "one", "two")
        assert ask(served, bearer(served, key="two")).status_code == 200
        assert ask(served, bearer(served, key="one")).status_code == 200
        publish(simulator, "two", "three")
        assert ask(served, bearer(served, key="three")).status_code == 200
        refused(ask(served, bearer(served, key="one")), "key that its tenant does not have")
        seen = fetches(simulator)
        # Names of keys can be invented: they cost Entra nothing, and good tokens go on.
        for number in range(20):
            invented = signed(claims(simulator.base_url), "three", kid=f"invented-{number}")
            assert ask(served, f"Bearer {invented}").status_code == 401
        assert fetches(simulator) <= seen + 1
        simulator.fault(f"/{TENANT}/discovery", status=500, times=0)
        assert ask(served, bearer(served, key="three")).status_code == 200
        assert "No signing keys came" not in served.host.log


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500},
        {"status": 302, "headers": {"Location": "/__control"}},
        {"kind": "malformed"},
        {"kind": "html", "status": 200},
        {"status": 200, "body": '{"keys": []}'},
        {"status": 200, "body": "[" * 100_000},
        {"status": 200, "body": '[{"keys": 7}]'},
        {"kind": "drop"},
        {"kind": "huge", "bytes": 10_000_000},
    ],
    ids=["500", "redirect", "malformed", "html", "no keys", "nested deeply", "a list", "dropped", "huge"],
)
def test_without_entras_keys_nobody_is_let_in_and_it_is_told(simulator: Simulator, trouble: dict[str, Any]) -> None:
    publish(simulator, "one")
    simulator.fault(f"/{TENANT}/discovery", **trouble)
    check = TokenCheck(Settings(authority=simulator.base_url, caller_client_id=API, allowed_tenants=(TENANT,)))

    async def refusal() -> NotReady:
        with pytest.raises(NotReady) as refused:
            await check.claims(token(simulator.base_url))
        return refused.value

    async def all_at_once_and_once_more() -> list[NotReady]:
        async with check.http:
            return [*await asyncio.gather(*(refusal() for _ in range(10))), await refusal()]

    refusals = asyncio.run(all_at_once_and_once_more())
    assert {refusal.retry_after for refusal in refusals} == {5}
    assert fetches(simulator) == 1
    assert "signing keys could not be fetched from 127.0.0.1" in refusals[0].message


def test_a_token_seen_before_is_good_as_long_as_it_and_its_key_are(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(simulator, "one")
    settings = Settings(authority=simulator.base_url, caller_client_id=API, allowed_tenants=(TENANT,))

    async def scenario() -> None:
        check = TokenCheck(settings)
        async with check.http:
            shown = token(simulator.base_url)
            first = await check.claims(shown)
            monkeypatch.setattr(tokens, "ALGORITHMS", [])  # no token can be checked any more
            assert await check.claims(shown) is first
            monkeypatch.setattr(tokens.time, "time", lambda now=time.time: now() + 3700)
            with pytest.raises(InvalidToken):
                await check.claims(shown)
            monkeypatch.undo()
            assert await check.claims(shown) is not None
            publish(simulator, "two")
            await check.claims(token(simulator.base_url, key="two"))  # brings the new keys
            with pytest.raises(InvalidToken, match="unknown_key"):
                await check.claims(shown)

    asyncio.run(scenario())


def test_keys_are_renewed_while_nobody_waits_and_last_a_day_without_entra(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(simulator, "one")
    shown, newer = token(simulator.base_url), token(simulator.base_url, key="two")

    async def scenario() -> None:
        check = TokenCheck(Settings(authority=simulator.base_url, caller_client_id=API, allowed_tenants=(TENANT,)))
        keys = check.keys[TENANT]
        async with check.http:
            await check.claims(shown)
            publish(simulator, "one", "two")
            monkeypatch.setattr(tokens, "FRESH_SECONDS", -1.0)
            await check.claims(shown)
            assert keys.fetching is not None and "two" not in keys.keys
            await keys.fetching
            assert "two" in keys.keys
            simulator.fault(f"/{TENANT}/discovery", status=500, times=0)
            await check.claims(shown)
            assert keys.fetching is not None
            await keys.fetching
            assert await check.claims(newer) == await check.claims(newer)
            with pytest.raises(NotReady):  # whether there is such a key by now, only Entra could tell
                await check.claims(token(simulator.base_url, key="three"))
            monkeypatch.setattr(tokens, "LAST_SECONDS", -1.0)
            with pytest.raises(NotReady):
                await check.claims(shown)

    asyncio.run(scenario())


def test_only_so_many_tokens_are_remembered(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(simulator, "one")
    monkeypatch.setattr(tokens, "MOST_SEEN", 3)

    async def scenario() -> int:
        check = TokenCheck(Settings(authority=simulator.base_url, caller_client_id=API, allowed_tenants=(TENANT,)))
        async with check.http:
            for number in range(10):
                await check.claims(token(simulator.base_url, oid=str(number)))
        return len(check.seen)

    assert asyncio.run(scenario()) == 3


ODD = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(["Bearer", " ", ".", "e30", "W10", "bnVsbA", "=", ",", "\ud800", "\x00", "é"])).map(
        "".join
    ),
    st.builds(
        lambda header, payload: f"Bearer {encoded(header)}.{encoded(payload)}.e30",
        st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5c"]), JSON),
        st.dictionaries(st.sampled_from(["tid", "exp", "aud", "iss", "oid"]), JSON),
    ),
)


@given(ODD)
def test_no_authorization_header_is_too_odd_for_a_401(authorization: str) -> None:
    callers = Callers(
        Settings(mcp_auth="jwt", caller_client_id=API, allowed_tenants=(TENANT,), authority="http://[::1]:9")
    )
    with pytest.raises(Refused) as refused:
        asyncio.run(callers.identify({"authorization": authorization}))
    assert refused.value.reply.status == 401


@given(st.one_of(st.binary(max_size=100), JSON.map(lambda value: json.dumps(value).encode())))
def test_no_header_of_the_platform_is_too_odd_for_a_401(document: bytes) -> None:
    callers = Callers(Settings(mcp_auth="easy_auth", platform_auth=True))
    with pytest.raises(Refused) as refused:
        asyncio.run(callers.identify({"x-ms-client-principal": base64.b64encode(document).decode()}))
    assert refused.value.reply.status in (401, 403)


# App Service Authentication

EASY = {"MCP_AUTH": "easy_auth", "MCP_READ_ONLY": "false", "MCP_TOOLSETS": "all"}
OID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
TID = "http://schemas.microsoft.com/identity/claims/tenantid"
SCP = "http://schemas.microsoft.com/identity/claims/scope"
ROLE = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"


@pytest.fixture(scope="module")
def easy(simulator_process: Simulator) -> Iterator[Served]:
    settings = {**EASY, "WEBSITE_AUTH_ENABLED": "True", "MCP_ALLOWED_TENANTS": TENANT}
    with serving(simulator_process, **settings) as served:
        yield served


def principal(*pairs: tuple[str, str], role_typ: str = ROLE, auth_typ: str | None = "aad") -> dict[str, str]:
    """Return the header the platform writes for a user with these claims."""
    told = [{"typ": name, "val": value} for name, value in ((OID, USER), (TID, TENANT), *pairs)]
    document = {"auth_typ": auth_typ, "claims": told, "name_typ": "name", "role_typ": role_typ}
    return {"x-ms-client-principal": base64.b64encode(json.dumps(document).encode()).decode()}


def ask_easy(served: Served, headers: dict[str, str]) -> httpx.Response:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    return httpx.post(served.url, json=message, headers={**HEADERS, **headers}, timeout=60, trust_env=False)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(SCP, "D365.Read")], READING),
        ([("scp", "D365.Write")], READING | CHANGING),
        ([(ROLE, "D365.Read"), (ROLE, "D365.Admin")], ALL),
        ([("roles", "D365.Write"), (SCP, "user_impersonation")], READING | CHANGING),
    ],
)
def test_whom_the_platform_let_in_sees_what_their_role_allows(
    easy: Served, pairs: list[tuple[str, str]], expected: set[str]
) -> None:
    assert names(ask_easy(easy, principal(*pairs))) == expected


@pytest.mark.parametrize("provider", ["google", "github", "facebook", "apple", "contoso-oidc", "AAD ", "", None])
def test_only_entras_accounts_are_let_in(easy: Served, provider: str | None) -> None:
    """A provider of any kind may write claims of any name, roles and tenants among them."""
    reply = ask_easy(easy, principal((ROLE, "D365.Admin"), (SCP, "D365.Admin"), auth_typ=provider))
    assert reply.status_code == 401
    assert "only accounts of Entra" in reply.json()["error"]["message"]


def test_without_a_list_callers_are_held_to_our_own_tenant(simulator: Simulator) -> None:
    settings = {**EASY, "WEBSITE_AUTH_ENABLED": "True", "D365FO_TENANT_ID": TENANT.upper()}
    with serving(simulator, **settings) as served:
        assert names(ask_easy(served, principal((SCP, "D365.Read")))) == READING
        assert names(ask_easy(served, principal((SCP, "D365.Read"), (TID, TENANT.upper())))) == READING
        for foreign in (STRANGE_TENANT, ""):
            reply = ask_easy(served, principal((SCP, "D365.Read"), (TID, foreign)))
            assert (reply.status_code, "D365FO_TENANT_ID" in reply.json()["error"]["message"]) == (401, True)


@pytest.mark.parametrize("mode", ["jwt", "easy_auth"])
def test_where_the_app_has_roles_who_holds_none_may_do_nothing(simulator: Simulator, mode: str) -> None:
    """The façade's client gets all scopes for everybody: they say nothing about who signed in."""
    publish(simulator, "one")
    own = {**SETTINGS, "MCP_AUTH": mode, "AZURE_AUTHORITY_HOST": simulator.base_url, "WEBSITE_AUTH_ENABLED": "True"}
    with serving(simulator, **own, MCP_REQUIRE_ROLES="true") as served:

        def answer(scopes: str, *roles: str) -> httpx.Response:
            if mode == "jwt":
                return ask(served, bearer(served, scp=scopes, roles=list(roles) or None))
            return ask_easy(served, principal((SCP, scopes), *((ROLE, role) for role in roles)))

        everything = "D365.Read D365.Write D365.Admin"
        for roles in ((), ("Other",)):
            reply = answer(everything, *roles)
            assert (reply.status_code, challenge(reply)["error"]) == (403, "insufficient_scope")
            assert "an administrator assigns them" in challenge(reply)["error_description"]
        assert names(answer(everything, "D365.Read")) == READING
        assert names(answer("D365.Read", "D365.Admin")) == READING
        assert names(answer("user_impersonation", "D365.Write")) == READING | CHANGING


def test_whom_the_platform_let_in_without_signing_in_is_refused(easy: Served) -> None:
    assert ask_easy(easy, {}).status_code == 401
    assert ask_easy(easy, {"authorization": "Bearer e30.e30.e30"}).status_code == 401
    assert ask_easy(easy, principal()).status_code == 403
    assert ask_easy(easy, principal((SCP, "D365.Read"), (TID, STRANGE_TENANT))).status_code == 401


@pytest.mark.parametrize(
    "written", ["!", "e30=", "W10=", "bnVsbA==", "eyJjbGFpbXMiOlsxXX0=", "eyJjbGFpbXMiOnt9fQ=,e30="]
)
def test_a_header_the_platform_does_not_write_is_refused(easy: Served, written: str) -> None:
    reply = ask_easy(easy, {"x-ms-client-principal": written})
    assert reply.status_code in (401, 403)


def test_only_the_signed_in_users_own_token_is_exchanged() -> None:
    on_behalf = Settings(mcp_auth="easy_auth", platform_auth=True, d365_auth="on_behalf_of")
    own, other = (signed({"oid": name}) for name in (USER, "somebody else"))
    read = principal((SCP, "D365.Read"))

    def assertion(**headers: str) -> str | None:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(Callers(on_behalf).identify({**read, **told})).assertion

    assert assertion(authorization=f"Bearer {own}") == own
    assert assertion(x_ms_token_aad_access_token=own, authorization=f"Bearer {other}") == own
    assert assertion() is None
    for odd in (other, "garbage", "a.b.c", "..", "e30.W10.e30"):
        with pytest.raises(Refused):
            assertion(authorization=f"Bearer {odd}")


def test_the_platforms_header_is_not_believed_where_it_is_off(simulator: Simulator) -> None:
    with serving(simulator, **EASY, WEBSITE_AUTH_ENABLED="false") as served:
        reply = ask_easy(served, principal((ROLE, "D365.Admin")))
    assert reply.status_code == 401
    assert "App Service Authentication is off" in reply.json()["error"]["message"]


def test_the_platforms_header_is_not_believed_in_another_mode(served: Served) -> None:
    assert ask_easy(served, principal((ROLE, "D365.Admin"))).status_code == 401
