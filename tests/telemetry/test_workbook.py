"""The workbook as it would be deployed: one JSON document, whose every query is true KQL and finds what its title says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from d365mcp.events import CatalogRefreshed, D365Exchange
from d365mcp.settings import Settings
from d365mcp.telemetry.exporter import Telemetry
from tests.infra.bicep.compiler import Compiler
from tests.kusto.language import problems
from tests.simulated import ROOT
from tests.telemetry.conftest import Workspace
from tests.telemetry.conftest import call as tool_call

FOLDER = Path(ROOT, "infra", "app")
Items = list[dict[str, Any]]
DRAWN = {"table", "linechart", "barchart"}

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def items(compiler: Compiler) -> Items:
    """What the workbook is made of."""
    given = {"location": "westeurope", "tags": {}, "displayName": "d365mcp", "workspaceName": "log-test"}
    [resource] = compiler.snapshot(FOLDER / "workbook.bicep", **given)["predictedResources"]
    found: Items = json.loads(resource["properties"]["serializedData"])["items"]
    return found


def panels(items: Items) -> dict[str, dict[str, Any]]:
    return {each["name"]: each["content"] for each in items if each["type"] == 3}


def queries(items: Items, server: str = "func-contoso") -> dict[str, str]:
    """Return every query with the choices made: a server, or * for all; points of five minutes."""
    found = {name: panel["query"] for name, panel in panels(items).items()}
    [choices] = (each["content"] for each in items if each["type"] == 9)
    found |= {each["name"]: each["query"] for each in choices["parameters"] if "query" in each}
    made = {"{Server}": f"'{server}'", "{TimeRange:grain}": "5m"}
    for choice, value in made.items():
        found = {name: query.replace(choice, value) for name, query in found.items()}
    return found


def test_every_panel_is_drawn_of_the_chosen_time_and_server(items: Items) -> None:
    assert {path.stem for path in (FOLDER / "workbook").iterdir()} == {*panels(items), "servers"}
    for panel in panels(items).values():
        assert panel["timeContextFromParameter"] == "TimeRange"
        assert "{Server}" in panel["query"]
        assert panel["visualization"] in DRAWN
        # A chart over time needs the time.
        assert ("TimeRange:grain" in panel["query"]) == (panel["visualization"] != "table")


def test_microsofts_language_service_finds_nothing_wrong_with_the_queries(items: Items) -> None:
    found = problems(queries(items))
    assert [problem for each in found.values() for problem in each] == []
    assert not [query for query in queries(items).values() if "{" in query]


def test_one_server_or_all_are_in_view(
    items: Items, settings: Settings, started: Callable[[Settings], Telemetry], workspace: Workspace
) -> None:
    for site in ("func-contoso", "func-fabrikam"):
        telemetry = started(replace(settings, site_name=site))
        telemetry(tool_call())
        assert telemetry.flush()

    def calls(server: str) -> int:
        [summary] = workspace.rows(queries(items, server)["summary"])
        return int(summary["calls"])

    assert (calls("func-contoso"), calls("*")) == (1, 2)


def test_mistakes_of_callers_are_no_errors_of_the_server(
    items: Items, telemetry: Telemetry, workspace: Workspace
) -> None:
    telemetry(tool_call("d365fo_query_sql"))
    telemetry(tool_call("d365fo_query_sql", outcome="tool_error", error_code="unknown_name", callers_mistake=True))
    assert telemetry.flush()

    [summary], [tool] = (workspace.rows(queries(items)[name]) for name in ("summary", "tools"))

    assert (summary["calls"], summary["error_percent"], summary["mistakes_percent"]) == (2, 0, 50)
    assert (tool["calls"], tool["errors"], tool["mistakes"]) == (2, 0, 1)


def test_each_panel_shows_what_its_title_says(items: Items, telemetry: Telemetry, workspace: Workspace) -> None:
    within = time.time() // 300 * 300 - 150  # all in one point of the charts
    call = partial(tool_call, started_at=within)
    first = call(duration_ms=200.0, d365_ms=150.0, queue_ms=20.0, throttles=1, retries=2, cold_start=True)
    telemetry(first)
    telemetry(call("d365fo_query_sql", duration_ms=600.0, d365_ms=50.0, outcome="tool_error", error_code="throttled"))
    telemetry(call("tools/list", method="tools/list", duration_ms=9_000.0))
    exchange = first.trace.child()
    telemetry(
        D365Exchange("GET", "contoso", "/data/CustomersV3", exchange, first.started_at, 150.0, 429, held_ms=2_000.0)
    )
    telemetry(CatalogRefreshed("contoso", "built", 4_200.0, entities=12))
    assert telemetry.flush()

    found = {name: workspace.rows(query) for name, query in queries(items).items()}

    assert found["Server"] == [{"AppRoleName": "func-contoso"}]
    [summary] = found["summary"]
    assert (summary["calls"], summary["error_percent"], summary["p95_ms"]) == (2, 50, 600)
    assert (summary["d365_percent"], summary["throttles"], summary["instances"]) == (25, 1, 1)
    assert {(row["outcome"], row["calls"]) for row in found["calls"]} == {("ok", 1), ("tool_error", 1)}
    slow = next(row for row in found["tools"] if row["tool"] == "d365fo_query_sql")
    assert (slow["calls"], slow["errors"], slow["p99_ms"], slow["d365_percent"]) == (1, 1, 600, 8.3)
    assert max(row["p99_ms"] for row in found["percentiles"]) == 600
    assert [(row["d365_percent"], row["waiting_percent"]) for row in found["share"]] == [(25, 2.5)]
    assert [(row["throttles"], row["retries"]) for row in found["throttles"]] == [(1, 2)]
    assert [row["cold_starts"] for row in found["cold_starts"]] == [1]
    [first_answers] = found["first"]
    assert (first_answers["request"], first_answers["p95_ms"]) == ("d365fo_query_entities", 200)
    assert [row["instances"] for row in found["instances"]] == [1]
    assert [(row["name"], row["error_code"]) for row in found["failures"]] == [("d365fo_query_sql", "throttled")]
    [costly] = found["d365"]
    assert (costly["call"], costly["calls"], costly["throttled"]) == ("GET /data/CustomersV3", 1, 1)
    assert costly["held_s"] == 2
    assert [(row["client"], row["requests"]) for row in found["clients"]] == [("claude-ai", 3)]
    [build] = found["catalog"]
    assert (build["outcome"], build["entities"], build["took_s"]) == ("built", 12, 4.2)
