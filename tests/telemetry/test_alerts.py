"""The alerts' queries: each is true KQL, and measures what the Bicep compares with its threshold."""

from __future__ import annotations

import operator
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from d365mcp.events import CatalogRefreshed, Refusal
from d365mcp.simulator.insights import KEY
from d365mcp.telemetry.exporter import Telemetry
from tests.infra.bicep.compiler import Compiler
from tests.kusto.language import problems
from tests.simulated import ROOT, Simulator
from tests.telemetry.conftest import Workspace, call

FOLDER = Path(ROOT, "infra", "app", "alerts")
GIVEN = {
    "location": "westeurope",
    "tags": {},
    "workspaceName": "log-test",
    "actionGroupName": "ag-test",
    "emails": [],
    "actionGroupIds": [],
    "appName": "func-test",
    "p95ThresholdMs": 5000,
    "errorRatePercent": 5,
    "throttleThreshold": 20,
}
FIRES = {"GreaterThan": operator.gt, "LessThan": operator.lt}

pytestmark = pytest.mark.once


Rules = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def rules(compiler: Compiler) -> Rules:
    """What each rule compares with what, as it would be deployed."""
    made = compiler.snapshot(FOLDER.parent / "alerts.bicep", **GIVEN)["predictedResources"]
    return {each["name"].rpartition("-")[2]: each["properties"]["criteria"]["allOf"][0] for each in made}


def query(name: str) -> str:
    return (FOLDER / f"{name}.kql").read_text(encoding="utf-8")


def measured(workspace: Workspace, name: str) -> list[Any]:
    """Return the one number a rule compares with its threshold, or none where there is nothing to judge."""
    [row] = workspace.rows(query(name)) or [{}]
    return list(row.values())


def fired(workspace: Workspace, rules: Rules) -> set[str]:
    """Return the rules that fire on what the workspace has; of itself (blind) the simulated one has no table."""
    return {
        name
        for name, rule in rules.items()
        if name != "blind"
        for row in workspace.rows(rule["query"])
        if FIRES[rule["operator"]](row[rule["metricMeasureColumn"]] or 0, rule["threshold"])
    }


def request(simulator: Simulator, function: str, status: str) -> None:
    """Store what the host says of an invocation."""
    data = {"ver": 2, "id": "1", "duration": "0.00:00:00.100", "responseCode": status, "success": status < "400"}
    envelope = {
        "name": "Microsoft.ApplicationInsights.Request",
        "time": datetime.now(UTC).isoformat(),
        "iKey": KEY,
        "tags": {"ai.operation.name": function},
        "data": {"baseType": "RequestData", "baseData": {**data, "name": function, "properties": {}}},
    }
    simulator.http.post("/v2.1/track", json=[envelope]).raise_for_status()


def test_every_query_belongs_to_a_rule(rules: Rules) -> None:
    assert {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == {
        name: rule["query"] for name, rule in rules.items()
    }


def test_the_guide_counts_what_the_rules_cost() -> None:
    """Azure Monitor bills a rule by how often it looks: $1.50 a month every 5 minutes, $0.50 every 15."""
    every = Counter(re.findall(r"every: '(\w+)'", (FOLDER.parent / "alerts.bicep").read_text(encoding="utf-8")))
    often, seldom = every.pop("PT5M"), every.pop("PT15M")
    guide = Path(ROOT, "infra", "README.md").read_text(encoding="utf-8")
    assert f"{often} × $1.50 + {seldom} × $0.50 = ${often * 1.5 + seldom * 0.5:.2f}" in guide and not every
    assert f"1,000,000,000 ÷ 3.3 KB = {1e9 / 3300:,.0f}"[:-3] in guide


def test_microsofts_language_service_finds_nothing_wrong_with_the_queries(rules: Rules) -> None:
    found = problems({name: rule["query"] for name, rule in rules.items()})
    assert [problem for each in found.values() for problem in each] == []


def test_silence_is_a_fault_and_no_other_alert_s(simulator: Simulator, workspace: Workspace, rules: Rules) -> None:
    assert fired(workspace, rules) == {"silent"}
    for status in ("200", "401"):
        request(simulator, "mcp", status)
    assert fired(workspace, rules) == {"silent"}, "the timer is what comes without being called"


def test_an_app_whose_timer_runs_is_alive(simulator: Simulator, workspace: Workspace, rules: Rules) -> None:
    request(simulator, "catalog", "0")
    assert fired(workspace, rules) == set()
    assert "async def catalog(timer" in Path(ROOT, "function_app.py").read_text(encoding="utf-8")


def test_a_handful_of_calls_says_nothing(telemetry: Telemetry, workspace: Workspace) -> None:
    for _ in range(19):
        telemetry(call(duration_ms=90_000.0, outcome="timeout", error_code="deadline_exceeded"))
    telemetry.flush()
    assert (measured(workspace, "slow"), measured(workspace, "failing")) == ([], [])


def test_slow_failing_and_throttled_calls_are_measured(telemetry: Telemetry, workspace: Workspace) -> None:
    failures = ("internal", "deadline_exceeded", "busy", "throttled", "sign_in_failed")
    for index in range(40):
        slow, failed = index >= 30, index < len(failures)
        telemetry(
            call(
                duration_ms=9_000.0 if slow else 100.0,
                outcome="tool_error" if failed else "ok",
                error_code=failures[index] if failed else None,
                throttles=int(index < 5),
            )
        )
    telemetry(call(method="tools/list", duration_ms=90_000.0))  # no tool's time
    telemetry.flush()
    assert measured(workspace, "slow") == [9_000]
    assert measured(workspace, "failing") == [12.5]
    assert measured(workspace, "throttled") == [5]


def test_mistakes_of_the_caller_wake_nobody(telemetry: Telemetry, workspace: Workspace) -> None:
    for _ in range(20):
        telemetry(call(outcome="tool_error", error_code="unknown_name", callers_mistake=True))
    telemetry(call(outcome="protocol_error", callers_mistake=True))
    telemetry(call(outcome="protocol_error", error_code="unavailable"))
    telemetry(call(outcome="tool_error", error_code="unknown_name"))  # of a version that did not say it
    telemetry(call())
    telemetry.flush()
    assert measured(workspace, "failing") == [pytest.approx(200 / 24)]


def test_an_app_that_does_not_answer_is_seen_by_what_the_host_says(simulator: Simulator, workspace: Workspace) -> None:
    for status in ("200", "202", "401", "500", "503"):
        request(simulator, "mcp", status)
    assert measured(workspace, "unavailable") == [40]


def test_who_is_turned_away_in_words_counts_as_not_served(
    simulator: Simulator, telemetry: Telemetry, workspace: Workspace
) -> None:
    """Their answers have status 200: what they say is known from our own events alone."""
    for _ in range(20):
        request(simulator, "mcp", "200")
    telemetry(call(outcome="refused", error_code="busy"))
    telemetry(call(outcome="protocol_error", error_code="unavailable"))
    for _ in range(3):
        telemetry(Refusal("unavailable", call().trace))  # Entra's keys could not be had
    telemetry(Refusal("expired", call().trace))
    telemetry(call(outcome="refused", error_code="not_allowed"))
    telemetry(call(outcome="tool_error", error_code="unavailable"))  # F&O's
    telemetry(call())
    telemetry.flush()
    assert measured(workspace, "unavailable") == [25]


def test_only_builds_that_failed_are_counted(telemetry: Telemetry, workspace: Workspace) -> None:
    for outcome in ("built", "unchanged", "failed"):
        telemetry(CatalogRefreshed("contoso", outcome, 100.0))  # type: ignore[arg-type]
    telemetry.flush()
    assert measured(workspace, "catalog") == [1]
