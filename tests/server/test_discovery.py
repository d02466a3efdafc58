"""What clients read before they sign in says where, and nobody but the operator's settings decides what it says."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from d365mcp.server.auth.discovery import documents, well_known
from d365mcp.settings import Settings
from tests.dev_host import ROOT, DevHost
from tests.signing import API, PUBLIC_CLIENT, TENANT

SETTINGS = Settings(
    base_url="https://contoso.operations.dynamics.com",
    mcp_auth="jwt",
    caller_client_id=API,
    allowed_tenants=(TENANT,),
    public_address="https://mcp.contoso.com",
)
FACADE = replace(SETTINGS, oauth_facade=True, oauth_client_id=PUBLIC_CLIENT)
SCOPES = [f"api://{API}/D365.Read", f"api://{API}/D365.Write", f"api://{API}/D365.Admin"]


@pytest.mark.parametrize("path", ["oauth-protected-resource", "oauth-protected-resource/mcp"])
def test_both_addresses_say_what_the_endpoint_is_and_that_entra_issues_its_tokens(path: str) -> None:
    assert well_known(SETTINGS, path) == (
        200,
        {
            "resource": "https://mcp.contoso.com/mcp",
            "authorization_servers": [f"https://login.microsoftonline.com/{TENANT}/v2.0"],
            "scopes_supported": SCOPES,
            "bearer_methods_supported": ["header"],
        },
    )


def test_scopes_carry_the_application_id_uri_that_is_set() -> None:
    custom = replace(SETTINGS, own_audiences=("https://mcp.contoso.com/mcp",))
    _, document = well_known(custom, "oauth-protected-resource")
    assert document["scopes_supported"][0] == "https://mcp.contoso.com/mcp/D365.Read"


def test_below_a_gateways_path_the_well_known_part_stands_before_it() -> None:
    behind = replace(FACADE, public_address="https://gateway.contoso.com/d365")
    assert set(documents(behind)) == {
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/d365/mcp",
        "/.well-known/oauth-authorization-server/d365",
    }


def test_with_the_facade_this_app_is_the_authorization_server_and_tells_of_pkce() -> None:
    _, resource = well_known(FACADE, "oauth-protected-resource/mcp")
    status, server = well_known(FACADE, "oauth-authorization-server")
    assert status == 200
    assert resource["authorization_servers"] == [server["issuer"]] == ["https://mcp.contoso.com"]
    assert server["code_challenge_methods_supported"] == ["S256"]
    assert server["token_endpoint_auth_methods_supported"] == ["none"]
    assert server["grant_types_supported"] == ["authorization_code", "refresh_token"]
    assert "offline_access" not in str(server)  # a client that sees it asks for a new consent each time
    addresses = [server[f"{name}_endpoint"] for name in ("authorization", "token", "registration")]
    assert addresses == [f"https://mcp.contoso.com/{name}" for name in ("authorize", "token", "register")]


@pytest.mark.parametrize(
    "changes",
    [
        {"mcp_auth": "function_key"},
        {"mcp_auth": "none"},
        {"public_address": ""},
        {"caller_client_id": ""},
        {"allowed_tenants": ()},
        {"problems": ("D365FO_BASE_URL is not set.",)},
    ],
    ids=lambda changes: "/".join(changes),
)
def test_nothing_is_told_that_does_not_hold(changes: dict[str, Any]) -> None:
    changed: Settings = replace(FACADE, **changes)
    for path in ("oauth-protected-resource", "oauth-authorization-server"):
        status, document = well_known(changed, path)
        assert (status, document["error"]) == (404, "not_found")
        assert "/health" in document["message"]


@pytest.mark.parametrize("path", ["", "openid-configuration", "oauth-protected-resource/other", "../health"])
def test_an_unknown_document_is_answered_with_those_there_are(path: str) -> None:
    status, document = well_known(FACADE, path)
    assert status == 404
    assert "/.well-known/oauth-protected-resource/mcp" in document["message"]


def test_without_the_facade_nobody_finds_it() -> None:
    assert well_known(SETTINGS, "oauth-authorization-server")[0] == 404
    environ = {"D365FO_BASE_URL": "https://contoso.operations.dynamics.com", "MCP_AUTH": "none"}
    with DevHost(ROOT, environ=environ) as host, httpx.Client(base_url=host.base_url, trust_env=False) as http:
        statuses = [http.get("/authorize"), http.post("/token"), http.post("/register")]
        assert [reply.status_code for reply in statuses] == [404, 404, 404]
