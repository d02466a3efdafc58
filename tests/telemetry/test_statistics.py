"""The whole loop: events with known durations, sent, stored, asked for in KQL that is executed, counted right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from d365mcp.errors import InvalidArgument, TelemetryError
from d365mcp.events import McpRequest, Trace
from d365mcp.settings import Settings
from d365mcp.simulator.log_analytics import WORKSPACE
from d365mcp.storage import STATE, open_storage
from d365mcp.telemetry.exporter import Telemetry
from d365mcp.telemetry.log_analytics import LogAnalytics, identity_token
from d365mcp.telemetry.queries import statistics_query
from d365mcp.telemetry.statistics import MARKER, Statistics, StatisticsReport, parse_window
from tests.kusto.language import problems
from tests.simulated import Simulator
from tests.telemetry.conftest import Workspace, call

pytestmark = pytest.mark.alike

Start = Callable[[Settings], Telemetry]
TOOL, OTHER = "d365fo_query_entities", "d365fo_query_sql"


@pytest.fixture(autouse=True)
def signed_in(identity: None) -> None:
    """Log Analytics is asked with a managed identity."""


def ask(settings: Settings, window: str = "1h", tool: str | None = None, *, series: bool = False) -> StatisticsReport:
    """Ask as one instance does that has just started."""

    async def once() -> StatisticsReport:
        workspace = LogAnalytics(settings, identity_token(settings))
        try:
            statistics = Statistics(settings, workspace, lambda: open_storage(settings), print)
            return await statistics.read(window, tool, series=series)
        finally:
            await workspace.close()

    return asyncio.run(once())


def emit(telemetry: Telemetry, *events: McpRequest) -> None:
    for event in events:
        telemetry(event)
    assert telemetry.flush()


def test_the_numbers_are_the_true_ones(settings: Settings, telemetry: Telemetry) -> None:
    emit(
        telemetry,
        *(call(TOOL, duration_ms=float(n), d365_ms=n / 2, d365_calls=2) for n in range(1, 101)),
        *(call(TOOL, duration_ms=5000.0, outcome="tool_error", error_code="throttled", throttles=3, retries=2),) * 3,
    )

    total = ask(settings).total

    assert total is not None
    assert (total.calls, total.errors, total.error_rate) == (103, 3, 3 / 103)
    assert (total.p50_ms, total.p90_ms, total.p95_ms, total.p99_ms) == (52, 93, 98, 5000)
    assert (total.max_ms, total.avg_ms) == (5000, (5050 + 15000) / 103)
    assert (total.d365_calls, total.retries, total.throttles) == (200, 6, 9)
    assert total.d365_share == pytest.approx(2525 / 20050)


def test_each_tool_has_its_own_row_the_busiest_first(settings: Settings, telemetry: Telemetry) -> None:
    emit(telemetry, call(OTHER, duration_ms=900.0), *(call(TOOL, duration_ms=10.0),) * 2)
    report = ask(settings)
    assert [(name, each.calls, each.p95_ms) for name, each in report.tools.items()] == [(TOOL, 2, 10), (OTHER, 1, 900)]


def test_all_instances_count_and_so_do_their_cold_starts(settings: Settings, started: Start) -> None:
    first, second = started(settings), started(replace(settings, instance_id="instance-b"))
    emit(first, call("initialize", method="initialize", cold_start=True), call())
    emit(second, call(cold_start=True))

    report = ask(settings)

    assert (report.instances, report.cold_starts) == (2, 2)
    assert report.total and report.total.calls == 2  # initialize calls no tool


def test_another_app_in_the_same_workspace_is_left_out(settings: Settings, started: Start) -> None:
    emit(started(replace(settings, site_name="func-fabrikam")), call())
    report = ask(settings)
    assert (report.total, report.instances, report.data_through) == (None, 0, None)


def test_one_tool_alone_can_be_asked_for(settings: Settings, telemetry: Telemetry) -> None:
    emit(telemetry, call(TOOL), call(OTHER, duration_ms=900.0))
    report = ask(settings, tool=OTHER, series=True)
    assert report.total and (report.total.calls, report.total.max_ms) == (1, 900)
    assert [each.calls for _, each in report.series] == [1]
    assert set(report.tools) == {TOOL, OTHER}


@pytest.mark.parametrize("tool", ['"; AppEvents //', "\\", "x\n| take 1", "ü"])
def test_a_strange_tool_name_stays_a_name(tool: str, settings: Settings, telemetry: Telemetry) -> None:
    emit(telemetry, call(), call(tool))
    report = ask(settings, tool=tool)
    assert report.total and report.total.calls == 1


def test_the_window_holds_the_calls_that_ended_in_it(settings: Settings, telemetry: Telemetry) -> None:
    now = time.time()
    emit(
        telemetry,
        call("too early", started_at=now - 3720, duration_ms=60_000.0),
        call("across", started_at=now - 3660, duration_ms=120_000.0),
        call("within", started_at=now - 60),
    )
    assert set(ask(settings, "1h").tools) == {"across", "within"}
    assert set(ask(settings, "2h").tools) == {"too early", "across", "within"}


def test_data_reaches_to_the_end_of_the_newest_request(settings: Settings, telemetry: Telemetry) -> None:
    started_at = time.time() - 30
    emit(telemetry, call(started_at=started_at, duration_ms=1500.0), call(started_at=started_at - 60))
    data_through = ask(settings).data_through
    assert data_through and data_through.timestamp() == pytest.approx(started_at + 1.5, abs=0.001)


def test_a_chart_has_points_that_add_up(settings: Settings, telemetry: Telemetry) -> None:
    now = time.time()
    emit(telemetry, *(call(started_at=now - minutes * 60, duration_ms=float(minutes)) for minutes in range(1, 50)))

    series = ask(settings, "1h", series=True).series

    assert sum(each.calls for _, each in series) == 49
    assert [at for at, _ in series] == sorted(at for at, _ in series)
    assert all(at.minute % 5 == 0 and at.second == 0 for at, _ in series)
    assert 10 <= len(series) <= 12


def test_a_reset_counts_for_every_instance_at_once(
    settings: Settings, telemetry: Telemetry, workspace: Workspace
) -> None:
    long_ago, now = time.time() - 60, time.time()
    emit(telemetry, call("before", started_at=long_ago), call("across", started_at=now - 1, duration_ms=60_000.0))

    workspace_asked = LogAnalytics(settings, identity_token(settings))
    statistics = Statistics(settings, workspace_asked, lambda: open_storage(settings), telemetry)
    assert set(ask(settings).tools) == {"before", "across"}
    reset_at = asyncio.run(statistics.reset("alice", Trace.continued(None)))
    emit(telemetry, call("after", started_at=time.time()))

    report = ask(settings)
    assert set(report.tools) == {"across", "after"}
    assert report.reset_at == report.since == reset_at
    assert len(workspace.rows("AppDependencies")) == 3  # nothing is deleted
    [event] = workspace.rows("AppEvents | where Name == 'mcp.stats.reset'")
    assert "alice" in event["Properties"]


def test_a_damaged_marker_says_how_to_repair_it(settings: Settings) -> None:
    open_storage(settings).put(STATE, MARKER, b"{}")
    assert "Reset the statistics once more" in failure(settings)


def test_a_window_reads_as_people_write_it() -> None:
    assert parse_window("30m") == timedelta(minutes=30)
    assert parse_window("1h") == timedelta(hours=1)
    assert parse_window("30d") == timedelta(days=30)


@pytest.mark.parametrize("window", ["", "h", "0h", "1y", "-1h", "1h; drop", "31d", "99999h", "1.5h", "١h"])
def test_another_window_is_refused(window: str) -> None:
    with pytest.raises(InvalidArgument, match="30m, 1h or 7d"):
        parse_window(window)


def failure(settings: Settings) -> str:
    """Ask where it must fail, and return all that is said about it."""
    with pytest.raises(TelemetryError) as problem:
        ask(settings)
    return f"{problem.value.message} {problem.value.hint}"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"workspace_id": ""}, "MCP_LOG_ANALYTICS_WORKSPACE_ID is not set"),
        ({"workspace_id": "my-workspace"}, "MCP_LOG_ANALYTICS_WORKSPACE_ID"),
        ({"workspace_id": WORKSPACE.replace("d1", "d2")}, "MCP_LOG_ANALYTICS_WORKSPACE_ID"),
        ({"log_analytics_url": "http://127.0.0.1:9"}, "MCP_LOG_ANALYTICS_URL"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, Any], named: str, settings: Settings) -> None:
    assert named in failure(replace(settings, **wrong))


FORBIDDEN = {"error": {"code": "InsufficientAccessError", "message": "The provided credentials have no access."}}
NO_TABLE = {"code": "SemanticError", "message": "'where' operator: Failed to resolve table 'AppDependencies'"}


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"status": 403, "body": FORBIDDEN}, "Log Analytics Data Reader"),
        ({"status": 401, "body": FORBIDDEN}, "Log Analytics Data Reader"),
        ({"status": 400, "body": {"error": {"code": "BadArgumentError", "innererror": NO_TABLE}}}, "store in this"),
        ({"status": 504, "body": {"error": {"code": "GatewayTimeout", "message": "busy"}}}, "shorter window"),
        ({"status": 200, "body": {"tables": [], "error": {"code": "PartialError"}}}, "PartialError"),
        ({"kind": "html"}, "MCP_LOG_ANALYTICS_URL"),
        ({"kind": "drop"}, "MCP_LOG_ANALYTICS_URL"),
    ],
)
def test_a_refusal_says_what_helps(fault: dict[str, Any], named: str, settings: Settings, simulator: Simulator) -> None:
    simulator.fault("/v1/workspaces", **fault)
    assert named in failure(settings)


def test_throttling_says_when_to_come_back(settings: Settings, simulator: Simulator) -> None:
    simulator.fault("/v1/workspaces", status=429, headers={"Retry-After": "17"})
    with pytest.raises(TelemetryError) as problem:
        ask(settings)
    assert problem.value.retry_after == 17


def test_no_identity_says_where_one_belongs(settings: Settings, simulator: Simulator) -> None:
    simulator.fault("/msi/token", status=400, times=0)
    assert "AZURE_CLIENT_ID" in failure(settings)


@pytest.mark.once
def test_microsofts_language_service_finds_nothing_wrong_with_the_query() -> None:
    now, length = datetime.now(UTC), timedelta(hours=1)
    queries = {
        "short": statistics_query("func-contoso", now, length, None, series=False),
        "full": statistics_query('quoted "name"\\', now, length, TOOL, series=True),
    }
    assert problems(queries) == {"short": [], "full": []}


def test_those_who_ask_first_share_one_client_and_one_sign_in(settings: Settings, workspace: Workspace) -> None:
    async def many() -> None:
        token = identity_token(settings)
        asked = LogAnalytics(settings, token)
        try:
            clients = await asyncio.gather(*(asked.client() for _ in range(8)))
            assert len({id(client) for client in clients}) == 1
            assert len({await each for each in [asyncio.create_task(token()) for _ in range(8)]}) == 1
        finally:
            await asked.close()

    asyncio.run(many())
