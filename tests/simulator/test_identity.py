"""Tokens: from the managed-identity endpoint and from Entra's, through the real azure-identity, and what F&O makes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential, CredentialUnavailableError, ManagedIdentityCredential

from tests.certificates import loopback_certificate
from tests.simulated import IDENTITY_HEADER, Simulator

pytestmark = pytest.mark.once

WORLD = {
    "default_company": "usmf",
    "entities": [
        {
            "entitySet": "Units",
            "publicEntityName": "Unit",
            "keys": ["Symbol"],
            "properties": [{"name": "Symbol", "edmType": "Edm.String"}],
            "records": [{"Symbol": "ea"}],
        }
    ],
    "clients": {
        "known": {"company": "usmf", "secret": "right"},
        "shut-out": {"company": "usmf", "allowed": False},
        "reader": {"company": "usmf", "read_only": True},
        "half-blind": {"company": "usmf", "denied": ["Units"]},
    },
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Simulator]:
    """A world that knows its clients."""
    running = Simulator.start(WORLD)
    yield running
    running.stop()


@pytest.fixture
def environment(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)
    return simulator


def get(simulator: Simulator, token: str, path: str = "/data/Units") -> httpx.Response:
    return httpx.get(simulator.base_url + path, headers={"Authorization": f"Bearer {token}"}, trust_env=False)


def test_the_real_managed_identity_credential_is_served(environment: Simulator) -> None:
    with ManagedIdentityCredential() as credential:
        token = credential.get_token(f"{environment.base_url}/.default")
    assert get(environment, token.token, "/data/Currencies?$top=1").status_code == 200
    assert 3500 < token.expires_on - time.time() <= 3600


def test_a_user_assigned_identity_is_the_client_that_calls(environment: Simulator) -> None:
    with ManagedIdentityCredential(client_id="11111111-0000-0000-0000-000000000000") as credential:
        token = credential.get_token(f"{environment.base_url}/.default").token
    get(environment, token, "/data/Currencies?$top=1")
    assert environment.log("/data")[-1]["client"] == "11111111-0000-0000-0000-000000000000"


def test_a_wrong_identity_header_gets_no_token(environment: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with (
        ManagedIdentityCredential() as credential,
        pytest.raises((ClientAuthenticationError, CredentialUnavailableError)),
    ):
        credential.get_token(f"{environment.base_url}/.default")


def test_the_real_client_secret_credential_is_served_over_https(tmp_path: Path) -> None:
    certificate = loopback_certificate(tmp_path)
    secured = Simulator.start(WORLD, certificate=certificate)
    credential = ClientSecretCredential(
        "contoso.com",
        "known",
        "right",
        authority=secured.base_url,
        disable_instance_discovery=True,
        connection_verify=str(certificate),
    )
    with credential:
        token = credential.get_token(f"{secured.base_url}/.default").token
    reply = secured.http.get("/data/Units", headers={"Authorization": f"Bearer {token}"})
    secured.stop()
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_secret": ""}, "invalid_client"),
        ({"client_id": "unknown"}, "unauthorized_client"),
        ({"scope": "https://somewhere"}, "invalid_scope"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
def test_entra_names_what_is_wrong(guarded: Simulator, change: dict[str, str], error: str) -> None:
    form = {"grant_type": "client_credentials", "client_id": "known", "client_secret": "right", "scope": "x/.default"}
    reply = guarded.http.post("/contoso.com/oauth2/v2.0/token", data=form | change)
    assert reply.status_code in (400, 401)
    assert reply.json()["error"] == error
    assert "AADSTS" in reply.json()["error_description"]


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer x", "Bearer x.y.z", "Basic eA==", "Bearer é".encode()]
)
def test_without_a_token_of_ours_there_is_no_answer(simulator: Simulator, authorization: Any) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/data/Currencies", "/metadata/DataEntities", "/api/services", "/data/$batch"):
        reply = simulator.http.get(path, headers=headers)
        assert reply.status_code == 401
        assert reply.content == b""
        assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("suffix", ["/", "/data", "x"])
def test_the_audience_must_be_the_environment_exactly(simulator: Simulator, suffix: str) -> None:
    token = simulator.token(resource=simulator.base_url + suffix)
    assert get(simulator, token, "/data/Currencies?$top=1").status_code == 401


def test_an_expired_or_revoked_token_is_refused(simulator: Simulator) -> None:
    simulator.control(token_seconds=0)
    assert get(simulator, simulator.token(), "/data/Currencies?$top=1").status_code == 401
    simulator.control(token_seconds=60)
    before = simulator.token()
    simulator.control(revoke_tokens=True)
    assert get(simulator, before, "/data/Currencies?$top=1").status_code == 401
    assert get(simulator, simulator.token(), "/data/Currencies?$top=1").status_code == 200


def test_a_tampered_token_is_refused(simulator: Simulator) -> None:
    header, claims, signature = simulator.token().split(".")
    assert get(simulator, f"{header}.{claims}A.{signature}", "/data/Currencies?$top=1").status_code == 401


def test_an_unknown_client_is_refused_where_clients_are_known(guarded: Simulator) -> None:
    assert get(guarded, guarded.token("stranger")).status_code == 401
    assert get(guarded, guarded.token("known")).status_code == 200


def test_a_client_without_access_is_forbidden(guarded: Simulator) -> None:
    reply = get(guarded, guarded.token("shut-out"))
    assert reply.status_code == 403
    assert "Access denied" in reply.json()["error"]["message"]


def test_permissions_bound_what_a_client_reads_and_writes(guarded: Simulator) -> None:
    assert get(guarded, guarded.token("half-blind")).status_code == 403
    with guarded.client("reader") as reader:
        assert reader.get("/data/Units").status_code == 200
        assert reader.post("/data/Units", json={"Symbol": "kg"}).status_code == 403


def test_the_header_of_the_managed_identity_is_the_documented_one(simulator: Simulator) -> None:
    assert simulator.identity_environment()["IDENTITY_HEADER"] == IDENTITY_HEADER
    reply = simulator.http.get("/msi/token", params={"resource": "x"}, headers={"X-IDENTITY-HEADER": IDENTITY_HEADER})
    assert reply.status_code == 400
