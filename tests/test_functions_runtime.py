"""Microsoft's own worker library loads and invokes what the dev host serves, to the same effect."""

import json
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.functions_runtime import Call, run_app

pytest.importorskip("azure_functions_runtime", reason="azure-functions-runtime needs Python 3.13 or newer")

TESTS = Path(__file__).parent
SAMPLE = TESTS / "infra" / "local" / "apps" / "sample"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_sample_app_is_indexed_and_answers_as_under_the_dev_host() -> None:
    outcome = run_app(
        SAMPLE,
        Call("echo", "PUT", "http://localhost/v1/echo?a=1", {"x-one": "1"}, query={"a": "1"}, body="grüezi"),
        Call("items", route_parameters={"kind": "book"}),
        Call("context_of", traceparent=TRACEPARENT),
        Call("text"),
        Call("broken"),
    )
    echo, items, context, text, broken = outcome.answers
    assert json.loads(echo.body) == {
        "method": "PUT",
        "url": "http://localhost/v1/echo?a=1",
        "params": {"a": "1"},
        "headers": {"x-one": "1"},
        "body": "grüezi",
    }
    assert (echo.status, echo.headers["content-type"]) == (200, "application/json")
    assert json.loads(items.body) == {"items": {"kind": "book"}}
    assert json.loads(context.body)["function_directory"] == str(SAMPLE)
    assert json.loads(context.body)["trace_parent"] == TRACEPARENT
    assert text.body == "grüezi"
    assert broken.status == 500
    assert "the secret reason" in (broken.error or "")
    assert outcome.triggers["tick"]["schedule"] == "%TICK_SCHEDULE%"


def test_our_app_is_indexed_and_answers_without_a_setting() -> None:
    ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    headers = {"host": "localhost", "content-type": "application/json", "accept": "application/json"}
    outcome = run_app(
        TESTS.parent,
        Call("health"),
        Call("well_known", route_parameters={"path": "oauth-protected-resource"}),
        Call("mcp", "POST", "http://localhost/mcp", headers, body=json.dumps(ping)),
        Call("mcp", "GET", "http://localhost/mcp", headers),
        environ={"D365FO_BASE_URL": "", "MCP_AUTH": ""},
    )
    assert outcome.triggers["mcp"]["route"] == "mcp"
    assert outcome.triggers["mcp"]["methods"] == ["GET", "POST", "DELETE"]
    assert outcome.triggers["mcp"]["authLevel"] == "FUNCTION"
    assert outcome.triggers["health"]["authLevel"] == outcome.triggers["well_known"]["authLevel"] == "ANONYMOUS"
    assert outcome.triggers["well_known"]["route"] == ".well-known/{*path}"
    health, well_known, answer, refused = outcome.answers
    assert health.status == 200
    assert "D365FO_BASE_URL" in health.body
    assert (well_known.status, well_known.headers["content-type"]) == (404, "application/json")
    assert (answer.status, json.loads(answer.body)) == (200, {"jsonrpc": "2.0", "id": 7, "result": {}})
    assert (refused.status, refused.headers["allow"]) == (405, "POST")


def test_who_has_no_token_is_told_where_to_sign_in() -> None:
    ping = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
    headers = {"Host": "localhost", "Content-Type": "application/json", "X-MS-CLIENT-PRINCIPAL": "e30="}
    outcome = run_app(
        TESTS.parent,
        Call("mcp", "POST", "http://localhost/mcp", headers, body=json.dumps(ping)),
        Call("mcp", "POST", "http://localhost/mcp", {**headers, "Authorization": "Bearer e30"}, body=json.dumps(ping)),
        Call("health_deep", "GET", "http://localhost/health/deep", headers),
        environ={
            "D365FO_BASE_URL": "https://contoso.operations.dynamics.com",
            "MCP_AUTH": "jwt",
            "MCP_CLIENT_ID": "api",
            "MCP_ALLOWED_TENANTS": "aaaaaaaa-0000-4000-8000-000000000001",
            "MCP_PUBLIC_URL": "https://mcp.contoso.com",
        },
    )
    assert outcome.triggers["mcp"]["authLevel"] == outcome.triggers["health_deep"]["authLevel"] == "ANONYMOUS"
    assert [answer.status for answer in outcome.answers] == [401] * 3
    where = 'resource_metadata="https://mcp.contoso.com/.well-known/oauth-protected-resource/mcp"'
    assert all(where in answer.headers["www-authenticate"] for answer in outcome.answers)
    assert ['error="invalid_token"' in answer.headers["www-authenticate"] for answer in outcome.answers] == [
        False,
        True,
        False,
    ]


def test_the_catalogs_timer_is_there_only_where_storage_is_shared() -> None:
    given = {"D365FO_BASE_URL": "https://contoso.operations.dynamics.com", "AzureWebJobsStorage": ""}
    assert "catalog" not in run_app(TESTS.parent, environ=given).triggers
    shared = {**given, "AzureWebJobsStorage": "UseDevelopmentStorage=true"}
    timer = run_app(TESTS.parent, environ=shared).triggers["catalog"]
    assert (timer["type"], timer["schedule"]) == ("timerTrigger", "0 */5 * * * *")


def test_the_sign_in_facade_is_there_only_where_it_is_on() -> None:
    given = {
        "D365FO_BASE_URL": "https://contoso.operations.dynamics.com",
        "MCP_AUTH": "jwt",
        "MCP_CLIENT_ID": "api",
        "MCP_ALLOWED_TENANTS": "aaaaaaaa-0000-4000-8000-000000000001",
        "MCP_PUBLIC_URL": "https://mcp.contoso.com",
        "MCP_OAUTH_CLIENT_ID": "public",
    }
    asked = {
        "response_type": "code",
        "client_id": "public",
        "redirect_uri": "http://localhost:1/callback",
        "code_challenge": "a" * 43,
        "code_challenge_method": "S256",
        "state": "&=+ ä",
    }
    form = {"content-type": "application/x-www-form-urlencoded"}
    outcome = run_app(
        TESTS.parent,
        Call("authorize", "GET", f"http://localhost/authorize?{urlencode(asked)}"),
        Call("token", "POST", "http://localhost/token", form, body="client_id=public&grant_type=password"),
        Call(
            "register", "POST", "http://localhost/register", body='{"redirect_uris": ["http://localhost:1/callback"]}'
        ),
        environ={**given, "MCP_OAUTH_FACADE": "true"},
    )
    routes = {name: outcome.triggers[name] for name in ("authorize", "token", "register")}
    assert [trigger["route"] for trigger in routes.values()] == list(routes)
    assert {trigger["authLevel"] for trigger in routes.values()} == {"ANONYMOUS"}
    sent_on, refused, registered = outcome.answers
    assert sent_on.status == 302
    assert parse_qs(urlsplit(sent_on.headers["location"]).query)["state"] == [asked["state"]]
    assert (refused.status, json.loads(refused.body)["error"]) == (400, "unsupported_grant_type")
    assert (registered.status, json.loads(registered.body)["client_id"]) == (201, "public")
    assert not routes.keys() & run_app(TESTS.parent, environ=given).triggers.keys()
