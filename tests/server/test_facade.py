"""The sign-in façade: what it sends on to Entra, what it hands back, and what it refuses without asking Entra."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.lazy import Lazy
from d365mcp.server.auth import entra as entra_module
from d365mcp.server.auth.entra import CONNECTIONS, Entra
from d365mcp.server.auth.facade import GRANTS, MAX_BYTES, Declined, Facade, authority_of
from d365mcp.server.messages import Reply
from d365mcp.settings import Settings, read_settings
from tests import entra as stand_in
from tests.dev_host import ROOT
from tests.entra import Answer, challenge_of, json_answer
from tests.signing import API, PUBLIC_CLIENT, TENANT

CALLBACK = "http://localhost:49152/callback"
VERIFIER = "v" * 43
SETTINGS = Settings(
    mcp_auth="jwt",
    caller_client_id=API,
    allowed_tenants=(TENANT,),
    public_address="https://mcp.contoso.com",
    oauth_facade=True,
    oauth_client_id=PUBLIC_CLIENT,
)
AUTHORIZE = {
    "response_type": "code",
    "client_id": PUBLIC_CLIENT,
    "redirect_uri": CALLBACK,
    "state": "ä+/=% 1",
    "code_challenge": challenge_of(VERIFIER),
    "code_challenge_method": "S256",
    "scope": "openid everything",
    "resource": "https://mcp.contoso.com/mcp",
    "prompt": "consent",
}
EXCHANGE = {
    "grant_type": "authorization_code",
    "client_id": PUBLIC_CLIENT,
    "code": "1.code",
    "redirect_uri": CALLBACK,
    "code_verifier": VERIFIER,
}
REFRESH = {"grant_type": "refresh_token", "client_id": PUBLIC_CLIENT, "refresh_token": "1.refresh"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LONGEST = "x" * (MAX_BYTES + 1)


def facade(settings: Settings = SETTINGS) -> Facade:
    def load() -> Entra:
        raise AssertionError("Entra must not be asked.")

    return Facade(settings, Lazy(load))


def authorize(fields: Any, settings: Settings = SETTINGS) -> Reply:
    return facade(settings).authorize(fields if isinstance(fields, str) else urlencode(fields))


def redirected(reply: Reply) -> tuple[str, dict[str, str]]:
    assert reply.status == 302, reply.body
    address, _, query = reply.headers["location"].partition("?")
    return address, dict(parse_qsl(query))


def asked(fields: dict[str, str], server: stand_in.Entra, headers: dict[str, str] = FORM) -> Reply:
    """Ask the token endpoint of a façade before this stand-in."""
    settings = replace(SETTINGS, authority=server.base_url)

    async def ask() -> Reply:
        entra = Entra(authority_of(settings))
        reply = await Facade(settings, Lazy(lambda: entra)).token(headers, urlencode(fields).encode())
        await entra.http.aclose()
        return reply

    return asyncio.run(ask())


def refused_token(fields: Any, headers: dict[str, str] = FORM, settings: Settings = SETTINGS) -> tuple[int, str, str]:
    """Return status, error and description of a token request that Entra must not see."""
    body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    reply = asyncio.run(facade(settings).token(headers, body))
    told = json.loads(reply.body)
    assert reply.headers["cache-control"] == "no-store"
    return reply.status, told["error"], told["error_description"]


def test_a_browser_is_sent_to_entra_without_resource_and_with_our_own_scopes() -> None:
    address, sent = redirected(authorize(AUTHORIZE))
    assert address == f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize"
    assert sent == {
        "client_id": PUBLIC_CLIENT,
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": f"api://{API}/.default offline_access",
        "state": AUTHORIZE["state"],
        "code_challenge": AUTHORIZE["code_challenge"],
        "code_challenge_method": "S256",
    }


def test_with_several_tenants_users_of_any_organization_may_sign_in_and_their_tokens_decide() -> None:
    several = replace(SETTINGS, allowed_tenants=(TENANT, API))
    assert "/organizations/oauth2" in redirected(authorize(AUTHORIZE, several))[0]


def test_a_sovereign_clouds_entra_is_the_one_that_is_set() -> None:
    china = replace(SETTINGS, authority="https://login.partner.microsoftonline.cn")
    assert redirected(authorize(AUTHORIZE, china))[0].startswith("https://login.partner.microsoftonline.cn/")


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ("http://localhost/callback", "http://localhost/callback"),
        ("http://localhost/callback", "http://localhost:1/callback"),
        ("http://localhost:3118/callback", "http://localhost:65535/callback"),
        ("http://127.0.0.1/", "http://127.0.0.1:33418/"),
        ("http://127.0.0.1", "http://127.0.0.1:33418/"),
        ("http://127.0.0.1/", "http://127.0.0.1:33418"),
        ("http://[::1]/callback", "http://[::1]:5000/callback"),
        ("http://localhost/cb?client=a", "http://localhost:80/cb?client=a"),
        ("https://claude.ai/api/mcp/auth_callback", "https://claude.ai/api/mcp/auth_callback"),
        ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor://anysphere.cursor-mcp/oauth/callback"),
    ],
)
def test_a_redirect_on_the_list_is_taken_on_loopback_with_any_port(allowed: str, sent: str) -> None:
    settings = replace(SETTINGS, redirect_uris=(allowed,))
    assert redirected(authorize({**AUTHORIZE, "redirect_uri": sent}, settings))[1]["redirect_uri"] == sent


FOREIGN = {
    "another host": "https://evil.example/callback",
    "user name that looks like the host": "http://localhost:80@evil.example/callback",
    "backslash": "http://localhost\\@evil.example/callback",
    "longer host": "http://localhost.evil.example/callback",
    "longer port": "http://localhost:123456/callback",
    "digits of another script": "http://localhost:٣/callback",
    "no port after the colon": "http://localhost:/callback",
    "longer path": "http://localhost/callback/../other",
    "more query": "http://localhost/callback?next=https://evil.example",
    "fragment": "http://localhost/callback#evil",
    "https on loopback": "https://localhost/callback",
    "upper case": "HTTP://LOCALHOST/callback",
    "the other loopback name": "http://127.0.0.1/callback",
    "line end": "http://localhost/callback\r\nset-cookie: a=b",
    "trailing line end": "http://localhost/callback\n",
    "port on a public host": "https://claude.ai:8443/api/mcp/auth_callback",
    "path on a public host": "https://claude.ai/api/mcp/auth_callback2",
    "script": "javascript:alert(1)",
    "nothing": " ",
}
LISTED = replace(SETTINGS, redirect_uris=("http://localhost/callback", "https://claude.ai/api/mcp/auth_callback"))


@pytest.mark.parametrize("uri", FOREIGN.values(), ids=FOREIGN)
def test_a_redirect_off_the_list_is_told_to_the_person_and_never_followed(uri: str) -> None:
    reply = authorize({**AUTHORIZE, "redirect_uri": uri}, LISTED)
    assert (reply.status, reply.headers["content-type"]) == (400, "text/plain; charset=utf-8")
    assert "location" not in reply.headers
    assert b"MCP_OAUTH_REDIRECT_URIS" in reply.body
    registered = facade(LISTED).register({}, json.dumps({"redirect_uris": [uri]}).encode())
    assert (registered.status, json.loads(registered.body)["error"]) == (400, "invalid_redirect_uri")
    status, error, _ = refused_token({**EXCHANGE, "redirect_uri": uri}, settings=LISTED)
    assert (status, error) == (400, "invalid_grant")


UNTRUSTED: dict[str, tuple[Any, str]] = {
    "no client": ({**AUTHORIZE, "client_id": ""}, "client_id is missing"),
    "foreign client": ({**AUTHORIZE, "client_id": "other"}, "register anew"),
    "no redirect": ({**AUTHORIZE, "redirect_uri": ""}, "redirect_uri is missing"),
    "two redirects": (
        f"{urlencode(AUTHORIZE)}&redirect_uri=https://evil.example",
        "redirect_uri is given more than once",
    ),
    "two clients": (f"client_id=other&{urlencode(AUTHORIZE)}", "client_id is given more than once"),
    "two states": (f"{urlencode(AUTHORIZE)}&state=2", "state is given more than once"),
    "not UTF-8": (f"{urlencode(AUTHORIZE)}&state=%FF", "UTF-8"),
    "nothing": ("", "client_id is missing"),
    "a thousand fields": ("&".join(f"a{n}=1" for n in range(1000)), "100 at most"),
    "a long query": (f"{urlencode(AUTHORIZE)}&x={LONGEST}", "longer than 64 KiB"),
}


@pytest.mark.parametrize(("fields", "told"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_a_sign_in_that_cannot_be_trusted_ends_before_any_redirect(fields: Any, told: str) -> None:
    reply = authorize(fields)
    assert (reply.status, "location" in reply.headers) == (400, False)
    assert told in reply.body.decode()


UNABLE: dict[str, tuple[Any, str]] = {
    "implicit": ({**AUTHORIZE, "response_type": "token"}, "unsupported_response_type"),
    "no response type": ({**AUTHORIZE, "response_type": ""}, "invalid_request"),
    "no PKCE": ({**AUTHORIZE, "code_challenge": ""}, "invalid_request"),
    "plain PKCE": ({**AUTHORIZE, "code_challenge_method": "plain"}, "invalid_request"),
    "PKCE without its method": ({**AUTHORIZE, "code_challenge_method": ""}, "invalid_request"),
    "short challenge": ({**AUTHORIZE, "code_challenge": "abc"}, "invalid_request"),
    "two challenges": (f"{urlencode(AUTHORIZE)}&code_challenge={'a' * 43}", "invalid_request"),
    "another resource": ({**AUTHORIZE, "resource": "https://evil.example/mcp"}, "invalid_target"),
    "another resource beside ours": (f"{urlencode(AUTHORIZE)}&resource=https://evil.example", "invalid_target"),
}


@pytest.mark.parametrize(("fields", "code"), UNABLE.values(), ids=UNABLE)
def test_a_sign_in_we_cannot_do_goes_back_to_the_client_with_its_state(fields: Any, code: str) -> None:
    address, told = redirected(authorize(fields))
    assert (address, told["error"], told["state"]) == (CALLBACK, code, AUTHORIZE["state"])
    assert told["error_description"].isascii()


@pytest.mark.parametrize(
    "resource", ["https://mcp.contoso.com/mcp", "https://MCP.contoso.com/mcp/", "https://mcp.contoso.com"]
)
def test_our_own_resource_is_taken_however_a_client_writes_it(resource: str) -> None:
    assert "resource" not in redirected(authorize({**AUTHORIZE, "resource": resource}))[1]


@pytest.mark.parametrize(
    ("sent", "grant"),
    [(EXCHANGE, {"code", "redirect_uri", "code_verifier"}), (REFRESH, {"refresh_token"})],
    ids=["code", "refresh token"],
)
def test_entra_gets_the_fields_of_the_grant_and_ours_and_no_others(sent: dict[str, str], grant: set[str]) -> None:
    extra = {
        "resource": "https://mcp.contoso.com/mcp",
        "scope": "https://graph.microsoft.com/.default",
        "client_secret": "secret",
        "client_assertion": "assertion",
        "username": "user",
        "password": "password",
    }
    headers = {**FORM, "authorization": "Basic YTpi", "cookie": "a=b", "x-forwarded-for": "1.2.3.4"}
    with stand_in.Entra() as server:
        asked({**extra, **sent}, server, headers)
    (form,) = server.forms()
    assert form == {
        "client_id": PUBLIC_CLIENT,
        "grant_type": sent["grant_type"],
        "scope": f"api://{API}/.default offline_access",
        **{name: sent[name] for name in grant},
    }
    assert not {"authorization", "cookie", "x-forwarded-for"} & server.asked[0].headers.keys()


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"access_token": "a", "refresh_token": "b"}),
        json_answer({"error": "invalid_grant", "error_description": "AADSTS70008: expired"}, 400),
        json_answer({"error": "interaction_required", "suberror": "basic_action", "claims": "{}"}, 400),
        Answer(429, b"", {"Retry-After": "17"}),
        Answer(503, b"<html>busy</html>", {"Content-Type": "text/html"}),
        Answer(200, b"\xff not even JSON", {"Content-Type": "application/json"}),
    ],
    ids=["tokens", "refused", "more claims", "throttled", "unavailable", "odd"],
)
def test_entras_answer_is_handed_back_as_it_is_and_kept_nowhere(answer: Answer) -> None:
    with stand_in.Entra() as server:
        server.answer_with = replace(answer, headers={**answer.headers, "Set-Cookie": "fpc=1", "X-Ms-Request-Id": "1"})
        reply = asked(REFRESH, server)
    assert (reply.status, reply.body) == (answer.status, answer.body)
    kept = {"cache-control": "no-store", "pragma": "no-cache"}
    assert reply.headers == {**{name.lower(): value for name, value in answer.headers.items()}, **kept}


@pytest.mark.parametrize(
    "answer",
    [
        Answer(302, b"", {"Location": "https://evil.example/"}),
        Answer(200, b"x" * (entra_module.MAX_BYTES + 1), {"Content-Type": "application/json"}),
        Answer(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}),
        Answer(200, b"", {"Content-Length": "10", "Connection": "close"}),
    ],
    ids=["redirect", "too large", "compressed", "broken off"],
)
def test_an_answer_that_cannot_be_handed_on_is_a_503_that_says_when_to_try_again(answer: Answer) -> None:
    with stand_in.Entra() as server:
        server.answer_with = answer
        reply = asked(REFRESH, server)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert json.loads(reply.body)["error"] == "temporarily_unavailable"


def test_an_entra_that_is_not_there_is_a_503() -> None:
    with stand_in.Entra() as server:
        pass
    assert asked(REFRESH, server).status == 503


def test_an_entra_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entra_module, "SECONDS", 0.2)
    with stand_in.Entra() as server:
        server.server.shutdown()  # connections wait in the listener's queue
        assert asked(REFRESH, server).status == 503


def test_a_flood_of_made_up_codes_reaches_entra_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entra_module, "QUEUE_SECONDS", 0.2)

    async def flood(server: stand_in.Entra, held: threading.Event) -> list[int]:
        entra = Entra(f"{server.base_url}/{TENANT}")
        asking = [asyncio.create_task(entra.token(REFRESH)) for _ in range(CONNECTIONS + 30)]
        for number, done in enumerate(asyncio.as_completed(asking), 1):
            assert (await done).status == (503 if number <= 30 else 400)
            if number == 30:  # all that were turned away
                held.set()
        await entra.http.aclose()
        return [task.result().status for task in asking]

    with stand_in.Entra() as server:
        server.held = threading.Event()
        statuses = asyncio.run(flood(server, server.held))
    assert statuses.count(400) == len(server.asked) == CONNECTIONS


def test_who_leaves_at_any_turn_of_the_loop_takes_no_connection_along() -> None:
    """httpx alone loses one for good, cold and warm, in a turn or two of the first forty."""

    async def leave(server: stand_in.Entra, *, warm: bool) -> str:
        entra = Entra(f"{server.base_url}/{TENANT}")
        for turns in range(41):
            if warm:
                await entra.token(REFRESH)
            asking = asyncio.create_task(entra.token(REFRESH))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
        pool = entra.http._transport._pool  # type: ignore[attr-defined]
        await entra.http.aclose()
        return repr(pool)

    with stand_in.Entra() as server:
        for warm in (True, False):
            assert "0 active, 0 queued" in (found := asyncio.run(leave(server, warm=warm))), found


def test_one_users_cookies_do_not_come_along_with_the_next() -> None:
    async def twice(server: stand_in.Entra) -> None:
        entra = Entra(f"{server.base_url}/{TENANT}")
        for _ in range(2):
            await entra.token(REFRESH)
        await entra.http.aclose()

    with stand_in.Entra() as server:
        server.answer_with = json_answer({}, headers={"Set-Cookie": "fpc=1; path=/"})
        asyncio.run(twice(server))
    assert [("cookie" in each.headers) for each in server.asked] == [False, False]


def test_where_httpx_cannot_be_loaded_the_client_is_told_so() -> None:
    def load() -> Entra:
        raise ModuleNotFoundError(name="httpx")

    reply = asyncio.run(Facade(SETTINGS, Lazy(load)).token(FORM, urlencode(REFRESH).encode()))
    assert (reply.status, json.loads(reply.body)["error"]) == (503, "temporarily_unavailable")


BAD_TOKEN_REQUESTS: dict[str, tuple[Any, int, str, str]] = {
    "client credentials": (
        {**EXCHANGE, "grant_type": "client_credentials"},
        400,
        "unsupported_grant_type",
        "or refresh_token",
    ),
    "password": ({**EXCHANGE, "grant_type": "password"}, 400, "unsupported_grant_type", "or refresh_token"),
    "device code": (
        {**EXCHANGE, "grant_type": "urn:ietf:params:oauth:grant-type:device_code"},
        400,
        "unsupported_grant_type",
        "or refresh_token",
    ),
    "on behalf of": (
        {**EXCHANGE, "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"},
        400,
        "unsupported_grant_type",
        "or refresh_token",
    ),
    "no grant": ({**EXCHANGE, "grant_type": ""}, 400, "invalid_request", "grant_type is missing"),
    "no client": ({**EXCHANGE, "client_id": ""}, 400, "invalid_request", "client_id is missing"),
    "foreign client": ({**EXCHANGE, "client_id": "other"}, 401, "invalid_client", "register anew"),
    "no code": ({**EXCHANGE, "code": ""}, 400, "invalid_request", "code is missing"),
    "no verifier": ({**EXCHANGE, "code_verifier": ""}, 400, "invalid_request", "code_verifier is missing"),
    "no redirect": ({**EXCHANGE, "redirect_uri": ""}, 400, "invalid_request", "redirect_uri is missing"),
    "no refresh token": ({**REFRESH, "refresh_token": ""}, 400, "invalid_request", "refresh_token is missing"),
    "another resource": ({**REFRESH, "resource": "https://evil.example"}, 400, "invalid_target", "not this server"),
    "two codes": (urlencode(EXCHANGE).encode() + b"&code=2", 400, "invalid_request", "code is given more than once"),
    "not UTF-8": (b"grant_type=\xff", 400, "invalid_request", "UTF-8"),
    "not UTF-8 below its escapes": (urlencode(REFRESH).encode() + b"&x=%FF", 400, "invalid_request", "UTF-8"),
    "a thousand fields": (b"a=1&" * 1000, 400, "invalid_request", "100 at most"),
    "nothing": (b"", 400, "invalid_request", "client_id is missing"),
    "a large body": (LONGEST.encode(), 413, "invalid_request", "larger than 64 KiB"),
}


@pytest.mark.parametrize(("fields", "status", "code", "told"), BAD_TOKEN_REQUESTS.values(), ids=BAD_TOKEN_REQUESTS)
def test_a_bad_token_request_is_told_why_and_entra_is_not_asked(fields: Any, status: int, code: str, told: str) -> None:
    assert refused_token(fields)[:2] == (status, code)
    assert told in refused_token(fields)[2]


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", ""])
def test_a_token_request_in_another_form_is_refused(kind: str) -> None:
    assert refused_token(REFRESH, {"content-type": kind})[:2] == (400, "invalid_request")


def test_who_registers_becomes_the_one_public_client_and_gets_no_secret() -> None:
    wanted = {
        "client_name": "Claude Code",
        "redirect_uris": [CALLBACK, "https://evil.example/"],
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "client_credentials"],
    }
    reply = facade().register({}, json.dumps(wanted).encode())
    assert (reply.status, reply.headers["cache-control"]) == (201, "no-store")
    assert json.loads(reply.body) == {
        "client_id": PUBLIC_CLIENT,
        "redirect_uris": [CALLBACK],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }


FIELDS = st.dictionaries(
    st.sampled_from([*AUTHORIZE, *EXCHANGE, *REFRESH, "client_secret", "x"]),
    st.sampled_from([*AUTHORIZE.values(), *EXCHANGE.values(), *REFRESH.values(), *FOREIGN.values(), ""]) | st.text(),
)


@given(FIELDS.map(lambda fields: urlencode(fields, errors="replace")) | st.text())
def test_no_query_sends_a_browser_anywhere_but_to_entra_or_an_allowed_redirect(query: str) -> None:
    there = facade()
    reply = there.authorize(query)
    assert reply.status in (302, 400)
    if reply.status == 302:
        address = reply.headers["location"].partition("?")[0]
        assert address == there.address or there.is_allowed(address)
        assert address.isascii()
        assert address.isprintable()


@given(FIELDS.map(lambda fields: urlencode(fields, errors="replace").encode()) | st.binary())
def test_no_form_makes_entra_get_more_than_the_fields_of_a_grant(body: bytes) -> None:
    try:
        form = facade().token_request(FORM, body)
    except Declined as problem:
        assert problem.message.isascii()
    else:
        assert form.keys() == {"client_id", "grant_type", "scope", *GRANTS[form["grant_type"]]}
        assert (form["client_id"], form["scope"]) == (PUBLIC_CLIENT, f"api://{API}/.default offline_access")


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner))


@given(JSON.map(lambda value: json.dumps({"redirect_uris": value}).encode()) | st.binary())
def test_no_registration_gets_anything_but_an_answer(body: bytes) -> None:
    reply = facade().register({}, body)
    assert reply.status == 400
    assert json.loads(reply.body)["error_description"].isascii()


BAD_REGISTRATIONS: dict[str, tuple[bytes, int, str]] = {
    "not JSON": (b"redirect_uris=a", 400, "invalid_client_metadata"),
    "a list": (b"[]", 400, "invalid_client_metadata"),
    "no redirects": (b"{}", 400, "invalid_client_metadata"),
    "redirects that are no list": (b'{"redirect_uris": 5}', 400, "invalid_client_metadata"),
    "redirects that are no text": (b'{"redirect_uris": [{}]}', 400, "invalid_client_metadata"),
    "redirects twice": (b'{"redirect_uris": [], "redirect_uris": []}', 400, "invalid_client_metadata"),
    "an empty list": (b'{"redirect_uris": []}', 400, "invalid_redirect_uri"),
    "half a surrogate pair": (b'{"redirect_uris": ["\\ud800"]}', 400, "invalid_client_metadata"),
    "too deep": (b'{"redirect_uris":' + b"[" * 60_000, 400, "invalid_client_metadata"),
    "not UTF-8": (b"\xff", 400, "invalid_request"),
    "a large body": (LONGEST.encode(), 413, "invalid_request"),
}


@pytest.mark.parametrize(("body", "status", "code"), BAD_REGISTRATIONS.values(), ids=BAD_REGISTRATIONS)
def test_a_bad_registration_is_told_why(body: bytes, status: int, code: str) -> None:
    reply = facade().register({}, body)
    told = json.loads(reply.body)
    assert (reply.status, told["error"]) == (status, code)
    assert told["error_description"].isascii()


READY = {
    "D365FO_BASE_URL": "https://contoso.operations.dynamics.com",
    "MCP_AUTH": "jwt",
    "MCP_OAUTH_FACADE": "true",
    "MCP_PUBLIC_URL": "https://mcp.contoso.com",
    "MCP_CLIENT_ID": API,
    "MCP_OAUTH_CLIENT_ID": PUBLIC_CLIENT,
    "MCP_ALLOWED_TENANTS": TENANT,
}


LIGHT = """
import sys, json
import function_app
early = [name for name in sys.modules if name.startswith("d365mcp.server.auth.facade")]
from d365mcp.app import application
assert application.well_known("oauth-authorization-server")[0] == 200
assert application.facade.register({}, b'{"redirect_uris": ["http://localhost/callback"]}').status == 201
assert application.facade.authorize("client_id=other").status == 400
print(json.dumps(early + [name for name in ("httpx", "mcp", "jwt", "cryptography", "pydantic") if name in sys.modules]))
"""


def test_a_cold_start_of_a_sign_in_loads_nothing_heavy_until_entra_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=ROOT, env={**os.environ, **READY}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("name", ["MCP_PUBLIC_URL", "MCP_CLIENT_ID", "MCP_OAUTH_CLIENT_ID", "MCP_ALLOWED_TENANTS"])
def test_the_facade_stays_shut_while_a_setting_is_missing(name: str) -> None:
    read = read_settings({**READY, name: ""})
    assert name in read.missing
    assert not read.has_facade


@pytest.mark.parametrize("mode", ["function_key", "easy_auth", "none"])
def test_the_facade_is_refused_where_its_tokens_would_not_be_taken(mode: str) -> None:
    read = read_settings({**READY, "MCP_AUTH": mode})
    assert f"MCP_OAUTH_FACADE needs MCP_AUTH=jwt, not {mode}." in read.problems
    assert not read.has_facade


@pytest.mark.parametrize(
    "uri",
    [
        "http://evil.example/",
        "https://*.example/",
        "https://a.example/#b",
        "callback",
        "javascript://%0aalert(1)",
        "https://a@b.example/",
    ],
)
def test_a_list_of_redirects_that_would_give_codes_away_is_a_problem(uri: str) -> None:
    (problem, *_) = read_settings(
        {**READY, "MCP_OAUTH_REDIRECT_URIS": f"https://claude.ai/api/mcp/auth_callback,{uri}"}
    ).problems
    assert problem.startswith("MCP_OAUTH_REDIRECT_URIS must be complete addresses")
