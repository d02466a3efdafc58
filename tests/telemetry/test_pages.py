"""The queries an operator pastes: each is true KQL, and finds what it is said to find."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from d365mcp.events import Audit, D365Exchange
from d365mcp.telemetry.exporter import Telemetry
from tests.kusto.language import problems
from tests.simulated import ROOT
from tests.telemetry.conftest import Workspace, call

PAGE = Path(ROOT, "infra", "README.md")
TOOL = "d365fo_query_entities"


def queries() -> dict[str, str]:
    """Return the page's queries by the sentence before each."""
    found = re.findall(r"(?ms)^([A-Z][^\n]*):\n\n```kusto\n(.*?)```", PAGE.read_text(encoding="utf-8"))
    return {sentence.rpartition(". ")[2]: query for sentence, query in found}


def starting(words: str) -> str:
    return next(query for sentence, query in queries().items() if sentence.startswith(words))


@pytest.mark.once
def test_microsofts_language_service_finds_nothing_wrong_with_the_queries() -> None:
    found = problems(queries())
    assert len(found) == PAGE.read_text(encoding="utf-8").count("```kusto")
    assert [problem for each in found.values() for problem in each] == []


@pytest.mark.once
def test_each_query_finds_what_it_says(telemetry: Telemetry, workspace: Workspace) -> None:
    first = call(duration_ms=200.0, d365_ms=150.0, throttles=1, retries=2, cold_start=True)
    telemetry(first)
    exchange = first.trace.child()
    telemetry(
        D365Exchange("GET", "contoso", "/data/CustomersV3", exchange, first.started_at, 150.0, 200, activity_id="a1")
    )
    telemetry(call(duration_ms=100.0, outcome="tool_error", error_code="throttled"))
    telemetry(Audit("alice", "d365fo_update_record", "CustomersV3", "9f86d0", "ok", first.trace))
    telemetry.flush()

    def row(words: str) -> dict[str, Any]:
        return workspace.rows(starting(words))[0]

    tools = row("Which tools")
    assert (tools["tool"], tools["calls"], tools["errors"], tools["max_ms"]) == (TOOL, 2, 1, 200)
    part = row("Which part")
    assert (part["d365_share"], part["throttles"], part["retries"]) == (0.5, 1, 2)
    failed = row("What fails")
    assert (failed["tool"], failed["error_code"], failed["failures"]) == (TOOL, "throttled", 1)
    slow = row("The slowest")
    assert (slow["Name"], slow["activity"], slow["DurationMs"]) == ("GET /data/CustomersV3", "a1", 150)
    together = workspace.rows(starting("One request"))
    assert {each["DependencyType"] for each in together} == {"MCP", "HTTP"}
    instances = row("How many")
    assert (instances["instances"], instances["cold_starts"]) == (1, 1)
    changed = row("Who changed")
    assert (changed["caller"], changed["entity"], changed["outcome"]) == ("alice", "CustomersV3", "ok")
    assert changed["calls"] == 1
