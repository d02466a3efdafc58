"""The simulated Application Insights: as strict as the real one where our mistakes would show."""

from __future__ import annotations

from typing import Any

import pytest

from d365mcp.simulator.insights import KEY, KEYLESS
from d365mcp.simulator.log_analytics import COLUMNS, TABLES, WORKSPACE
from tests.kusto.language import TABLES as SCHEMAS
from tests.simulated import Simulator
from tests.telemetry.conftest import Workspace

DUCKDB_TYPES = {
    "datetime": "TIMESTAMP",
    "string": "VARCHAR",
    "bool": "BOOLEAN",
    "real": "DOUBLE",
    "int": "INTEGER",
    "dynamic": "JSON",
}
QUERY = f"/v1/workspaces/{WORKSPACE}/query"


def event(key: str = KEY, **changes: Any) -> dict[str, Any]:
    item = {
        "name": "Microsoft.ApplicationInsights.Event",
        "time": "2026-11-22T07:57:50.532473Z",
        "iKey": key,
        "tags": {"ai.cloud.role": "test"},
        "data": {"baseType": "EventData", "baseData": {"ver": 2, "name": "x"}},
    }
    return {**item, **changes}


def test_items_are_refused_one_by_one(simulator: Simulator, workspace: Workspace) -> None:
    reply = simulator.http.post("/v2.1/track", json=[event(), event(time="yesterday"), event(data={})])
    assert reply.status_code == 206
    outcome = reply.json()
    assert (outcome["itemsReceived"], outcome["itemsAccepted"]) == (3, 1)
    assert [(each["index"], each["statusCode"]) for each in outcome["errors"]] == [(1, 400), (2, 400)]
    assert len(workspace.rows("AppEvents")) == 1


@pytest.mark.parametrize("body", [b"", b"{", b'"x"', b"[1]"])
def test_what_is_no_array_of_items_is_refused(body: bytes, simulator: Simulator) -> None:
    assert simulator.http.post("/v2.1/track", content=body).status_code == 400


def test_an_unknown_key_is_refused(simulator: Simulator) -> None:
    assert simulator.http.post("/v2.1/track", json=[event("00000000-0000-4000-8000-000000000000")]).status_code == 400


def test_a_component_without_keys_wants_a_token_for_azure_monitor(simulator: Simulator, workspace: Workspace) -> None:
    def sent(audience: str) -> int:
        headers = {"Authorization": f"Bearer {workspace.token(audience)}"}
        return simulator.http.post("/v2.1/track", json=[event(KEYLESS)], headers=headers).status_code

    assert simulator.http.post("/v2.1/track", json=[event(KEYLESS)]).status_code == 401
    assert sent("https://management.azure.com/") == 403
    assert sent("https://monitor.azure.com/") == 200


def test_a_query_wants_a_token_for_log_analytics(simulator: Simulator, workspace: Workspace) -> None:
    query = {"query": "AppEvents"}
    foreign = {"Authorization": f"Bearer {workspace.token('https://management.azure.com/')}"}
    assert simulator.http.post(QUERY, json=query).json()["error"]["code"] == "AuthenticationFailed"
    assert simulator.http.post(QUERY, json=query, headers=foreign).status_code == 403


@pytest.mark.parametrize("query", ["AppEvents | where", "NoSuchTable", "AppEvents | where NoSuchColumn == 1", 7, None])
def test_a_query_that_cannot_be_run_is_refused(query: Any, simulator: Simulator, workspace: Workspace) -> None:
    headers = {"Authorization": f"Bearer {workspace.token(simulator.base_url)}"}
    reply = simulator.http.post(QUERY, json={"query": query}, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "BadArgumentError")


def test_the_tables_have_the_columns_microsoft_documents() -> None:
    known = {name: DUCKDB_TYPES[kind] for table in TABLES for name, kind in SCHEMAS[table].items()}
    assert {name: kind for name, kind in COLUMNS.items() if known.get(name) != kind} == {}
