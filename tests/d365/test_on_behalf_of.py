"""On behalf of the caller: each user's token is exchanged for their own, and F&O decides by it what they may do."""

import asyncio
import base64
import json
import random
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import httpx
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from d365mcp.d365 import auth
from d365mcp.d365.auth import TokenSource
from d365mcp.errors import SignInFailed
from d365mcp.events import Operation, Trace
from d365mcp.settings import read_settings
from tests.certificates import loopback_certificate
from tests.served import Served, serving
from tests.signing import API, TENANT, USER, publish, token
from tests.simulated import Simulator

USERS = 50
HEADERS = {"content-type": "application/json", "accept": "application/json", "mcp-protocol-version": "2025-11-25"}
SETTINGS = {
    "D365FO_AUTH": "on_behalf_of",
    "D365FO_TENANT_ID": TENANT,
    "D365FO_CLIENT_ID": API,
    "D365FO_CLIENT_SECRET": "right",
    "MCP_AUTH": "jwt",
    "MCP_CLIENT_ID": API,
    "MCP_PUBLIC_URL": "https://mcp.contoso.com",
    "MCP_READ_ONLY": "false",
}

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loopback_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secured_process(certificate: Path) -> Iterator[Simulator]:
    running = Simulator.start(certificate=certificate)
    yield running
    running.stop()


@pytest.fixture
def secured(secured_process: Simulator, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """An F&O and an Entra with https, on which azure-identity insists."""
    secured_process.reset()
    publish(secured_process, "one")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    return secured_process


@pytest.fixture(scope="module")
def process(secured_process: Simulator, certificate: Path) -> Iterator[Served]:
    trust = {"SSL_CERT_FILE": str(certificate), "REQUESTS_CA_BUNDLE": str(certificate)}
    with serving(secured_process, **SETTINGS, **trust, AZURE_AUTHORITY_HOST=secured_process.base_url) as served:
        yield served


@pytest.fixture
def served(process: Served, secured: Simulator) -> Served:
    return process


def oid(number: int) -> str:
    return f"dddddddd-0000-4000-8000-{number:012}"


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": f"d365fo_{tool}", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def query(number: int) -> dict[str, Any]:
    """Return a query that F&O's log tells whose it is."""
    return call(
        "query_entities", entity_name="CustomersV3", filter=f"contains(OrganizationName,'user {number}')", top=1
    )


def post(served: Served, assertion: str, message: dict[str, Any]) -> dict[str, Any]:
    headers = {**HEADERS, "authorization": f"Bearer {assertion}"}
    reply = httpx.post(served.url, json=message, headers=headers, timeout=60, trust_env=False)
    assert reply.status_code == 200, reply.text
    return dict(reply.json()["result"])


def structured(result: dict[str, Any]) -> dict[str, Any]:
    assert not result["isError"], result["content"]
    return dict(result["structuredContent"])


def failure(result: dict[str, Any]) -> dict[str, Any]:
    assert result["isError"]
    return dict(json.loads(result["content"][0]["text"]))


def exchanges(simulator: Simulator) -> list[dict[str, str]]:
    """Return the forms Entra's token endpoint was sent."""
    entries = simulator.log(f"/{TENANT}/oauth2")
    return [{name: values[0] for name, values in parse_qs(entry["body"]).items()} for entry in entries]


def test_every_call_of_fifty_interleaved_users_carries_their_own_token(served: Served) -> None:
    assertions = [token(served.simulator.base_url, oid=oid(number)) for number in range(USERS)]

    async def round_of_calls(calls_each: int) -> None:
        turns = [number for number in range(USERS) for _ in range(calls_each)]
        random.Random(calls_each).shuffle(turns)  # noqa: S311 - not for secrets
        async with httpx.AsyncClient(headers=HEADERS, timeout=120, trust_env=False) as http:

            async def one(number: int) -> httpx.Response:
                headers = {"authorization": f"Bearer {assertions[number]}"}
                return await http.post(served.url, json=query(number), headers=headers)

            for reply in await asyncio.gather(*(one(number) for number in turns)):
                assert structured(reply.json()["result"])["records"] == []

    asyncio.run(round_of_calls(2))
    assert len(exchanges(served.simulator)) == USERS
    served.simulator.control(revoke_tokens=True)  # all have to be exchanged anew, in the midst of the calls
    asyncio.run(round_of_calls(1))

    answered = [entry for entry in served.simulator.log("/data") if entry["status"] == 200]
    whose = [
        (entry["client"], oid(int(re.findall(r"user (\d+)", unquote_plus(entry["query"]))[0]))) for entry in answered
    ]
    assert len(whose) == 3 * USERS
    assert all(client == user for client, user in whose)
    assert {entry["client"] for entry in served.simulator.log("/api/services")} == {oid(n) for n in range(USERS)}
    # Only Entra ever saw the callers' own tokens.
    assert {form["assertion"] for form in exchanges(served.simulator)} == set(assertions)
    assert not any(assertion in json.dumps(served.simulator.log("/data")) for assertion in assertions)


def test_f_and_os_own_roles_decide_for_each_user(served: Served) -> None:
    served.simulator.control(client={"id": oid(1), "read_only": True, "company": "usmf"})
    served.simulator.control(client={"id": oid(2), "company": "ussi"})
    one, two = (token(served.simulator.base_url, oid=oid(number), scp="D365.Write") for number in (1, 2))
    created = call(
        "create_entity_record", entity_name="CustomerGroups", data={"CustomerGroupId": "OBO", "Description": "x"}
    )
    assert failure(post(served, one, created))["code"] == "forbidden"
    assert structured(post(served, two, created))["outcome"] == "created"
    read = [structured(post(served, assertion, query(1)))["company"] for assertion in (one, two)]
    assert read == ["usmf", "ussi"]


def test_deep_health_asks_f_and_o_as_its_caller(served: Served) -> None:
    headers = {"authorization": f"Bearer {token(served.simulator.base_url, oid=oid(7))}"}
    reply = httpx.get(f"{served.base_url}/health/deep", headers=headers, timeout=60, trust_env=False)
    assert reply.status_code == 200, reply.text
    assert {entry["client"] for entry in served.simulator.log("/api/services")} == {oid(7)}


LOOKUPS = [
    call("query_entities", entity_name="CustomersV3", top=1),  # who they are, and the entity
    call("get_entity_schema", entity_name="CustomersV3"),
    call("get_entity_schema", entity_name="CustomerV3"),  # found in the list of all
    call("get_enumeration_fields", enumeration_name="NoYes"),
    call("search_entities", query="customer"),
    call("search_enumerations", query="yes"),
    call("get_labels", label_ids=["@SYS1"]),
]


@pytest.mark.parametrize("number", range(len(LOOKUPS)))
def test_a_refusal_is_for_the_user_it_was_meant_for(served: Served, number: int) -> None:
    """The other asks for the same while F&O is about to refuse the first, and after it has; and the first after that."""
    refused, welcome = oid(200 + number), oid(300 + number)
    one, two = (token(served.simulator.base_url, oid=user) for user in (refused, welcome))
    served.simulator.control(client={"id": refused, "allowed": False}, latency_ms=300)

    async def at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(headers=HEADERS, timeout=60, trust_env=False) as http:

            async def asked(assertion: str, delay: float) -> httpx.Response:
                await asyncio.sleep(delay)
                return await http.post(
                    served.url, json=LOOKUPS[number], headers={"authorization": f"Bearer {assertion}"}
                )

            return await asyncio.gather(asked(one, 0), *(asked(two, 0.05 * n) for n in range(1, 4)))

    first, *others = asyncio.run(at_once())
    for other in others:
        assert not without_answer(other.json()["result"])
    assert without_answer(first.json()["result"])
    served.simulator.control(latency_ms=0)
    assert without_answer(post(served, one, LOOKUPS[number]))  # nor does what the other's call brought serve them


def without_answer(result: dict[str, Any]) -> bool:
    """Return whether F&O has refused a call, or all labels it asks for."""
    return bool(result["isError"]) or not result["structuredContent"].get("labels", True)


@pytest.mark.parametrize("times", [1, 3])
def test_a_user_is_asked_for_once_however_many_calls_wait(served: Served, times: int) -> None:
    assertion = token(served.simulator.base_url, oid=oid(100 + times))
    for _ in range(times):
        post(served, assertion, query(3))
    assert len(exchanges(served.simulator)) == 1


def test_what_entra_refuses_is_answered_with_the_way_out(served: Served) -> None:
    assertion, another = (token(served.simulator.base_url, oid=oid(8), sid=sign_in) for sign_in in ("1", "2"))
    served.simulator.fault(f"/{TENANT}/oauth2", status=400, times=0, body=entra_error("AADSTS50076"))
    refused = failure(post(served, assertion, query(8)))
    assert (refused["code"], "second factor" in refused["hint"]) == ("sign_in_failed", True)
    assert "hunter2" not in str(refused)
    served.simulator.reset()
    publish(served.simulator, "one")
    assert structured(post(served, another, query(8)))["records"] == []


def entra_error(code: str) -> dict[str, str]:
    return {"error": "invalid_grant", "error_description": f"{code}: said by Entra. Secret: hunter2"}


# The ways to prove which app asks, through the real azure-identity.


def source(secured: Simulator, **changes: str) -> TokenSource:
    variables = {"D365FO_BASE_URL": secured.base_url, "AZURE_AUTHORITY_HOST": secured.base_url, **SETTINGS, **changes}
    settings = read_settings(variables)
    assert settings.problems == ()
    return TokenSource(settings)


def operation(assertion: str | None = None) -> Operation:
    return Operation(Trace.continued(None), time.monotonic() + 60, user_assertion=assertion)


def signed_in(tokens: TokenSource, wanted: Operation | None) -> str:
    """Return the user F&O takes the token's bearer for."""
    found = jwt.decode(asyncio.run(tokens.token(wanted)), options={"verify_signature": False})
    return str(found["oid"] if "scp" in found else found["appid"])


@pytest.fixture(scope="module")
def key_pair() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name.from_rfc4514_string("CN=d365mcp")
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    return key, builder.sign(key, hashes.SHA256())


def pem(key: rsa.RSAPrivateKey, found: x509.Certificate) -> str:
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, form, none)
    return (private + found.public_bytes(serialization.Encoding.PEM)).decode()


def pfx(key: rsa.RSAPrivateKey, found: x509.Certificate) -> str:
    none = serialization.NoEncryption()
    return base64.b64encode(pkcs12.serialize_key_and_certificates(b"d365mcp", key, found, None, none)).decode()


def test_a_secret_proves_which_app_asks(secured: Simulator) -> None:
    assertion = token(secured.base_url)
    assert signed_in(source(secured), operation(assertion)) == USER
    [form] = exchanges(secured)
    assert (form["client_secret"], form["requested_token_use"]) == ("right", "on_behalf_of")
    assert (form["assertion"], form["scope"].split()[0]) == (assertion, f"{secured.base_url}/.default")


@pytest.mark.parametrize("written", [pem, pfx])
def test_a_certificate_proves_which_app_asks(secured: Simulator, key_pair: Any, written: Any) -> None:
    tokens = source(secured, D365FO_CLIENT_SECRET="", D365FO_CLIENT_CERTIFICATE=written(*key_pair))
    assert signed_in(tokens, operation(token(secured.base_url))) == USER
    assert signed_in(tokens, None) == API
    for form in exchanges(secured):
        proof = jwt.decode(
            form["client_assertion"], key_pair[0].public_key(), ["RS256", "PS256"], options={"verify_aud": False}
        )
        assert proof["iss"] == API


def test_the_managed_identity_vouches_where_there_is_no_secret(
    secured: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in secured.identity_environment().items():
        monkeypatch.setenv(name, value)
    tokens = source(secured, D365FO_CLIENT_SECRET="", AZURE_CLIENT_ID="the-identity")
    assert signed_in(tokens, operation(token(secured.base_url))) == USER
    assert signed_in(tokens, None) == API
    for form in exchanges(secured):
        vouched = jwt.decode(form["client_assertion"], options={"verify_signature": False})
        assert (vouched["appid"], vouched["aud"]) == ("the-identity", "api://AzureADTokenExchange")


def test_where_nobody_calls_the_app_signs_in_for_itself(secured: Simulator) -> None:
    tokens = source(secured)
    assert signed_in(tokens, None) == API
    own = Operation(Trace.continued(None), time.monotonic() + 60, on_own_behalf=True)
    assert signed_in(tokens, own) == API


def test_a_request_without_the_callers_token_gets_none_of_the_apps(secured: Simulator) -> None:
    with pytest.raises(SignInFailed, match="carries no caller's token"):
        asyncio.run(source(secured).token(operation()))
    assert exchanges(secured) == []


@pytest.mark.parametrize("change", [{"aud": "api://somebody-else"}, {"exp": int(time.time()) - 600}])
def test_entra_exchanges_no_token_that_is_not_good(secured: Simulator, change: dict[str, Any]) -> None:
    with pytest.raises(SignInFailed, match="AADSTS50013"):
        asyncio.run(source(secured).token(operation(token(secured.base_url, **change))))


def test_only_so_many_users_are_remembered(secured: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_MAX_USERS", 3)
    tokens = source(secured)

    async def all_of_them() -> None:
        await asyncio.gather(*(tokens.token(operation(token(secured.base_url, oid=oid(n)))) for n in range(8)))

    asyncio.run(all_of_them())
    assert (len(tokens.held), len(exchanges(secured))) == (3, 8)
