"""The alerts' queries: each is true KQL, and measures what the Bicep compares with its threshold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from d365mcp.events import CatalogRefreshed
from d365mcp.telemetry.exporter import Telemetry
from tests.kusto.language import problems
from tests.simulated import ROOT
from tests.telemetry.conftest import Workspace, call

FOLDER = Path(ROOT, "infra", "app", "alerts")
RULES = (FOLDER.parent / "alerts.bicep").read_text(encoding="utf-8")
MEASURES = dict(re.findall(r"loadTextContent\('alerts/(\w+)\.kql'\)\n\s+column: '(\w+)'", RULES))

pytestmark = pytest.mark.once


def query(name: str) -> str:
    return (FOLDER / f"{name}.kql").read_text(encoding="utf-8")


def measured(workspace: Workspace, name: str) -> list[Any]:
    """Return what a rule compares with its threshold: one number, or none where there is nothing to judge."""
    return [row[MEASURES[name]] for row in workspace.rows(query(name))]


def test_every_query_belongs_to_a_rule() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(MEASURES) and len(MEASURES) == RULES.count("loadTextContent")


def test_microsofts_language_service_finds_nothing_wrong_with_the_queries() -> None:
    found = problems({name: query(name) for name in MEASURES})
    assert [problem for each in found.values() for problem in each] == []


def test_a_handful_of_calls_says_nothing(telemetry: Telemetry, workspace: Workspace) -> None:
    for _ in range(19):
        telemetry(call(duration_ms=90_000.0, outcome="timeout"))
    telemetry.flush()
    assert (measured(workspace, "slow"), measured(workspace, "failing")) == ([], [])


def test_slow_failing_and_throttled_calls_are_measured(telemetry: Telemetry, workspace: Workspace) -> None:
    for index in range(40):
        slow, failed = index >= 30, index % 4 == 0
        telemetry(
            call(
                duration_ms=9_000.0 if slow else 100.0,
                outcome="tool_error" if failed else "ok",
                throttles=int(index < 5),
            )
        )
    telemetry(call(method="tools/list", duration_ms=90_000.0))  # no tool's time
    telemetry.flush()
    assert measured(workspace, "slow") == [9_000]
    assert measured(workspace, "failing") == [25]
    assert measured(workspace, "throttled") == [5]


def test_only_builds_that_failed_are_counted(telemetry: Telemetry, workspace: Workspace) -> None:
    for outcome in ("built", "unchanged", "failed"):
        telemetry(CatalogRefreshed("contoso", outcome, 100.0))  # type: ignore[arg-type]
    telemetry.flush()
    assert measured(workspace, "catalog") == [1]
