"""The performance tools as a model uses them: a running server, its telemetry, and what it says of itself afterwards."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from d365mcp.settings import Settings
from d365mcp.simulator.insights import KEY
from d365mcp.simulator.log_analytics import WORKSPACE
from d365mcp.telemetry.statistics import Numbers, StatisticsReport
from d365mcp.tools.performance import fleet
from tests.served import Result, Served, serving
from tests.simulated import Simulator
from tests.telemetry.conftest import Workspace

pytestmark = pytest.mark.alike

UPSTREAM_MS = 100


@pytest.fixture(scope="module")
def served_process(simulator_process: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    url = simulator_process.base_url
    with serving(
        simulator_process,
        APPLICATIONINSIGHTS_CONNECTION_STRING=f"InstrumentationKey={KEY};IngestionEndpoint={url}",
        MCP_LOG_ANALYTICS_WORKSPACE_ID=WORKSPACE,
        MCP_LOG_ANALYTICS_URL=url,
        TMPDIR=str(tmp_path_factory.mktemp("telemetry")),
    ) as served:
        yield served


@pytest.fixture
def served(served_process: Served, simulator: Simulator) -> Served:
    return served_process


def performance(served: Served, calls: int, **arguments: Any) -> Result:
    """Ask until as many calls have reached Log Analytics: it is late by nature, and nothing tells."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = served.call("get_server_performance", **arguments)
        if sum(row["calls"] for row in found["tools"] if row["tool"] == "d365fo_query_entities") >= calls:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{calls} calls never arrived: {found}")


def query(served: Served, times: int) -> float:
    """Query so often, and return the longest time that one took, as the client saw it."""
    longest = 0.0
    for _ in range(times):
        began = time.perf_counter()
        served.call("query_entities", entity_name="CustomersV3", top=1)
        longest = max(longest, (time.perf_counter() - began) * 1000)
    return longest


def test_a_model_gets_the_true_numbers_of_the_server(served: Served, simulator: Simulator) -> None:
    simulator.control(latency_ms=UPSTREAM_MS)
    longest = query(served, 6)
    served.refuse("query_entities", entity_name="NoSuchEntity")
    simulator.control(latency_ms=0)

    found = performance(served, 7, tool="d365fo_query_entities", series=True)

    stats = found["request_stats"]
    assert (stats["total_requests"], stats["total_errors"], stats["callers_mistakes"]) == (7, 1, 1)
    assert stats["instances"] == 1
    assert found["verdict"] != "failing"  # on a busy machine it may be slow
    assert stats["error_rate"] == 0
    percentiles = found["response_time_percentiles_ms"]
    assert UPSTREAM_MS <= percentiles["p50"] <= percentiles["p90"] <= percentiles["p99"] <= longest
    assert stats["max_response_time_ms"] <= longest
    assert stats["d365_calls"] >= 6
    spent_in_d365 = stats["d365_share"] * stats["avg_response_time_ms"] * stats["total_requests"]
    assert spent_in_d365 >= 6 * UPSTREAM_MS * 0.99  # the share is rounded
    assert sum(point["calls"] for point in found["series"]) == 7
    assert found["slowest_tools"]
    assert found["since"] < found["data_through"]


def test_what_callers_get_wrong_is_counted_as_theirs_whoever_finds_it(served: Served, simulator: Simulator) -> None:
    query(served, 1)
    before = performance(served, 1)["request_stats"]
    served.refuse("query_entities", entity_name="NoSuchEntity")  # the tool
    served.refuse("delete_entity_record", entity_name="CustomerGroups", key={"CustomerGroupId": "10"})  # read-only
    unknown = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "d365fo_nothing", "arguments": {}}}
    assert (
        "error" in httpx.post(served.url, json=unknown, headers={"accept": "application/json"}).json()
    )  # the protocol
    simulator.fault("/data/CustomersV3", status=403)
    served.refuse("query_entities", entity_name="CustomersV3", top=1)  # the operator's
    query(served, 1)
    after = performance(served, 4)["request_stats"]
    grown = {name: after[name] - before[name] for name in ("total_errors", "callers_mistakes")}
    assert grown == {"total_errors": 4, "callers_mistakes": 3}


def test_the_time_of_exchanges_side_by_side_counts_once(served: Served, simulator: Simulator) -> None:
    simulator.control(latency_ms=UPSTREAM_MS)
    served.call("get_entity_schema", entity_name="CustomersV3")  # asks for its enumerations all at once
    simulator.control(latency_ms=0)
    query(served, 1)  # arrives after it
    rows = {row["tool"]: row for row in performance(served, 1)["tools"]}
    schema = rows["d365fo_get_entity_schema"]
    assert schema["d365_calls"] > 10
    assert 0 < schema["d365_share"] <= 1


def test_an_exchange_says_how_long_throttling_held_it_back(
    served: Served, simulator: Simulator, workspace: Workspace
) -> None:
    simulator.fault("/data/CustomersV3", status=429, headers={"Retry-After": "1"})
    query(served, 1)
    performance(served, 1)
    rows = workspace.rows(
        "AppDependencies | where Name == 'GET /data/CustomersV3' | top 2 by TimeGenerated asc"
        "| project ResultCode, held = todouble(Measurements.held_ms), DurationMs"
    )
    refused, sent = rows
    assert (refused["ResultCode"], sent["ResultCode"]) == ("429", "200")
    assert refused["held"] < 100
    assert sent["held"] >= 1000 > sent["DurationMs"]


def test_exchanges_with_fo_stand_below_their_call(served: Served, workspace: Workspace) -> None:
    query(served, 1)
    performance(served, 1)
    rows = workspace.rows(
        "AppDependencies | where DependencyType == 'HTTP' and Name == 'GET /data/CustomersV3'"
        "| join kind=inner (AppDependencies | where DependencyType == 'MCP') on $left.ParentId == $right.Id"
        "| project Name1, Target, AppRoleName"
    )
    target = served.simulator.base_url.removeprefix("http://")
    assert rows == [{"Name1": "d365fo_query_entities", "Target": target, "AppRoleName": "d365mcp"}]


def test_a_call_is_stored_with_what_it_was_and_what_it_took(
    served: Served, simulator: Simulator, workspace: Workspace
) -> None:
    simulator.fault("/data/CustomersV3", status=429, headers={"Retry-After": "0"})
    served.call("query_entities", entity_name="CustomersV3", top=3)
    performance(served, 1)

    [row] = workspace.rows("AppDependencies | where Name == 'd365fo_query_entities'")
    exchanges = workspace.rows(f"AppDependencies | where ParentId == '{row['Id']}' and Name == 'GET /data/CustomersV3'")

    said, took = json.loads(row["Properties"]), json.loads(row["Measurements"])
    assert (said["tool"], said["toolset"], said["outcome"], said["companies"]) == (row["Name"], "data", "ok", "1")
    assert {"protocol_version", "client_name", "invocation_id", "instance", "environment", "cold_start"} <= said.keys()
    assert (took["rows"], took["retries"], took["throttles"]) == (3, 1, 1)
    assert took["d365_calls"] >= 2
    assert 0 < took["d365_ms"] <= took["total_ms"]
    assert took["bytes"] > 100
    assert sorted(each["ResultCode"] for each in exchanges) == ["200", "429"]
    # What F&O was sent names the same trace, and each exchange as its parent.
    sent = [entry["headers"] for entry in served.requests("/data/customersv3")]
    assert {each["traceparent"].split("-")[1] for each in sent} == {row["OperationId"]}
    assert {each["traceparent"].split("-")[2] for each in sent} == {each["Id"] for each in exchanges}
    kept = [json.loads(each["Properties"]) for each in exchanges]
    assert {each["x-ms-client-request-id"] for each in sent} == {each["x-ms-client-request-id"] for each in kept}
    assert all(each["ms-dyn-aid"] for each in kept)


@pytest.mark.once
def test_a_reset_lets_the_numbers_count_anew_and_changes_nothing_in_fo(served: Served) -> None:
    query(served, 3)
    performance(served, 3)

    reset = served.call("reset_performance_stats")  # this server is read-only

    query(served, 1)
    found = performance(served, 1)
    assert found["last_reset"] == found["since"] == reset["reset_timestamp"]
    assert [row["calls"] for row in found["tools"] if row["tool"] == "d365fo_query_entities"] == [1]
    assert all(entry["method"] == "GET" for entry in served.requests())


def test_this_instance_tells_about_itself(served: Served) -> None:
    query(served, 1)
    own = served.call("get_server_performance")["this_instance"]
    assert own["in_flight"] >= 1
    assert own["tool_permits"] == 75
    assert own["memory_mb"] > 10
    assert own["uptime_seconds"] > 0
    assert own["connection_pool"]["acquired"] >= 1
    assert own["ages"]["token"] >= 0
    assert own["telemetry"]["state"] in ("loading", "sending")


def test_a_tool_that_was_not_called_is_listed_with_those_that_were(served: Served) -> None:
    query(served, 1)
    performance(served, 1)
    note = served.call("get_server_performance", tool="d365fo_query_sql")["note"]
    assert "d365fo_query_sql" in note
    assert "d365fo_query_entities" in note


def test_a_window_that_makes_no_sense_is_refused(served: Served) -> None:
    assert served.refuse("get_server_performance", window="1y")["code"] == "invalid_argument"


def test_a_missing_role_leaves_the_numbers_of_this_instance(served: Served, simulator: Simulator) -> None:
    simulator.fault("/v1/workspaces", status=403, body={"error": {"code": "InsufficientAccessError", "message": "no"}})
    found = served.call("get_server_performance")
    assert found["verdict"] == "unknown"
    assert "Log Analytics Data Reader" in found["statistics_failure"]["hint"]
    assert found["this_instance"]["in_flight"] >= 1


def test_a_server_without_workspace_says_which_setting_gives_it(simulator: Simulator, tmp_path: Path) -> None:
    with serving(simulator, TMPDIR=str(tmp_path)) as served:
        found = served.call("get_server_performance")
    assert "MCP_LOG_ANALYTICS_WORKSPACE_ID is not set" in found["statistics_failure"]["message"]
    assert found["this_instance"]["telemetry"]["state"] == "off"


@pytest.mark.once
def test_a_wrong_connection_string_is_reported_and_calls_go_on(simulator: Simulator, tmp_path: Path) -> None:
    wrong = {"APPLICATIONINSIGHTS_CONNECTION_STRING": "nonsense", "MCP_LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE}
    with serving(simulator, **wrong, MCP_LOG_ANALYTICS_URL="http://127.0.0.1:9", TMPDIR=str(tmp_path)) as served:
        end = time.monotonic() + 60
        while (found := served.call("get_server_performance"))["this_instance"]["telemetry"]["state"] == "loading":
            assert time.monotonic() < end
            time.sleep(0.1)  # the sender is loaded in the background, by the clock
        query(served, 1)
    said = found["this_instance"]["telemetry"]
    assert said["state"] == "broken"
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in said["problem"]
    assert "MCP_LOG_ANALYTICS_URL" in found["statistics_failure"]["hint"]
    assert found["verdict"] == "unknown"


def deep(served: Served) -> tuple[int, dict[str, Any]]:
    reply = httpx.get(f"{served.base_url}/health/deep", timeout=60, trust_env=False)
    return reply.status_code, reply.json()["checks"]["tools:last_hour"][0]


@pytest.mark.once
def test_deep_health_warns_past_the_thresholds_and_goes_on(served: Served) -> None:
    query(served, 1)
    performance(served, 1)
    status, said = deep(served)
    assert (status, said["status"]) == (200, "pass")
    assert said["observedValue"] > 0
    served.simulator.fault("/data/CustomersV3", status=403)
    served.refuse("query_entities", entity_name="CustomersV3")
    performance(served, 2)
    status, said = deep(served)
    assert (status, said["status"]) == (200, "warn")
    assert "failing" in said["output"]
    assert "MCP_ERROR_RATE_THRESHOLD 5.0%" in said["output"]


def test_deep_health_says_why_it_does_not_know_the_last_hour(served: Served, simulator: Simulator) -> None:
    simulator.fault("/v1/workspaces", status=403, body={"error": {"code": "InsufficientAccessError", "message": "no"}})
    status, said = deep(served)
    assert (status, said["status"]) == (200, "warn")
    assert "Log Analytics Data Reader" in said["output"]


def lines(served: Served) -> list[dict[str, Any]]:
    """Return the request lines of the host's log."""
    marked = [line.partition(" d365mcp.request: ")[2] for line in served.host.log.splitlines()]
    return [json.loads(line) for line in marked if line]


def test_each_request_is_one_line_of_json_without_arguments_or_secrets(served: Served) -> None:
    before = len(lines(served))
    served.refuse("query_entities", entity_name="CustomersV3", filter="CustomerAccount eq 'very-private")
    served.tools()
    listed, called = (
        [line for line in lines(served)[before:] if line["method"] == method] for method in ("tools/list", "tools/call")
    )
    [line] = called
    assert (line["event"], line["tool"], line["outcome"]) == ("mcp.request", "d365fo_query_entities", "tool_error")
    assert len(line["invocation_id"]) >= 32
    assert len(line["trace_id"]) == 32
    assert listed
    assert len({line["invocation_id"] for line in lines(served)}) == len(lines(served))
    log = served.host.log
    assert "very-private" not in log
    assert "Bearer" not in log
    assert KEY not in log
    assert not re.search(r" (httpx|azure\S*): ", log)


def report_of(total: Numbers | None) -> StatisticsReport:
    return StatisticsReport(datetime.now(UTC), None, None, 1, 0, total, tools={}, series=[])


FAST = Numbers(100, 0, 0, 1, 1, 1, 1, 1, 100, 50, 100, 0, 0)


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (None, "idle"),
        (FAST, "healthy"),
        (replace(FAST, p95_ms=5001), "slow"),
        (replace(FAST, errors=6), "failing"),
        (replace(FAST, errors=5), "healthy"),
        (replace(FAST, errors=90, mistakes=85), "healthy"),
        (replace(FAST, errors=6, p95_ms=5001), "failing"),
    ],
)
def test_the_verdict_follows_the_thresholds(total: Numbers | None, expected: str) -> None:
    assert report_of(total).verdict(Settings()) == expected


def test_without_calls_there_is_nothing_to_divide_by() -> None:
    stats = fleet(report_of(None))["request_stats"]
    assert stats == {"total_requests": 0, "total_errors": 0, "instances": 1, "cold_starts": 0}
