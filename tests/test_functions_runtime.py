"""Microsoft's own worker library loads and invokes what the dev host serves, to the same effect."""

import json
from pathlib import Path

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


def test_the_catalogs_timer_is_there_only_where_storage_is_shared() -> None:
    given = {"D365FO_BASE_URL": "https://contoso.operations.dynamics.com", "AzureWebJobsStorage": ""}
    assert "catalog" not in run_app(TESTS.parent, environ=given).triggers
    shared = {**given, "AzureWebJobsStorage": "UseDevelopmentStorage=true"}
    timer = run_app(TESTS.parent, environ=shared).triggers["catalog"]
    assert (timer["type"], timer["schedule"]) == ("timerTrigger", "0 */5 * * * *")
