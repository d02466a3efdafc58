"""Events on their way to Application Insights: what is stored, and what happens when it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opencensus.ext.azure import trace_exporter

from d365mcp.events import Audit, CatalogRefreshed, D365Exchange, StatisticsReset
from d365mcp.settings import Settings
from d365mcp.simulator.insights import KEY, KEYLESS
from d365mcp.telemetry.exporter import Telemetry, start
from tests.simulated import ROOT, Simulator
from tests.telemetry.conftest import QUICK, Workspace, call

Start = Callable[[Settings], Telemetry]


def stored(workspace: Workspace, telemetry: Telemetry, table: str = "AppDependencies") -> list[dict[str, Any]]:
    """Send what waits, and return the rows of a table with their dimensions opened up."""
    telemetry.flush()
    rows = workspace.rows(f"{table} | order by TimeGenerated asc")
    return [{**row, **json.loads(row["Properties"]), **json.loads(row["Measurements"])} for row in rows]


def sent_at_last(telemetry: Telemetry, seconds: float = 60.0) -> bool:
    """Wait until nothing is left in memory or on disk."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        telemetry.flush(seconds)
        backlog = telemetry.backlog()
        if backlog.waiting == backlog.on_disk == 0:
            return True
        time.sleep(3 * QUICK.interval)  # what is on disk is tried again by the clock; nothing tells
    return False


def test_a_tool_call_is_a_dependency_below_the_hosts_request(telemetry: Telemetry, workspace: Workspace) -> None:
    event = call(duration_ms=1234.567, d365_ms=1000.5, d365_calls=2, retries=1, throttles=1, queue_ms=3.25, rows=50)
    telemetry(event)

    [row] = stored(workspace, telemetry)

    assert (row["DependencyType"], row["Name"], row["ResultCode"]) == ("MCP", "d365fo_query_entities", "ok")
    assert (row["OperationId"], row["ParentId"]) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert row["Id"] == event.trace.span_id
    assert row["Success"] is True
    assert row["DurationMs"] == pytest.approx(1234.567)
    dimensions = ("tool", "toolset", "outcome", "cold_start", "protocol_version", "client_name", "environment")
    assert [row[name] for name in dimensions] == [
        "d365fo_query_entities",
        "data",
        "ok",
        "false",
        "2025-11-25",
        "claude-ai",
        "contoso.operations.dynamics.com",
    ]
    numbers = ("total_ms", "d365_ms", "d365_calls", "retries", "throttles", "queue_ms", "rows", "bytes")
    assert [row[name] for name in numbers] == [1234.567, 1000.5, 2, 1, 1, 3.25, 50, 0]


def test_an_item_says_which_app_and_which_instance_it_comes_from(telemetry: Telemetry, workspace: Workspace) -> None:
    telemetry(call())
    [row] = stored(workspace, telemetry)
    assert (row["AppRoleName"], row["AppRoleInstance"], row["instance"]) == ("func-contoso", "instance-a", "instance-a")


def test_half_a_character_does_not_cost_the_batch(telemetry: Telemetry, workspace: Workspace) -> None:
    telemetry(call())
    telemetry(CatalogRefreshed("contoso", "failed", 4.2, error="F&O said \ud83d."))
    assert telemetry.flush()
    assert [row["Name"] for row in workspace.rows("AppDependencies")] == ["d365fo_query_entities"]
    assert [row["Name"] for row in workspace.rows("AppEvents")] == ["mcp.catalog.refreshed"]


def test_an_exchange_with_fo_is_a_child_of_its_call(telemetry: Telemetry, workspace: Workspace) -> None:
    event = call()
    host, path = "contoso.operations.dynamics.com", "/data/CustomersV3"
    trace = event.trace.child()
    telemetry(D365Exchange("GET", host, path, trace, time.time(), 80.0, 429, attempt=2, activity_id="a1", bytes=7))

    [row] = stored(workspace, telemetry)

    assert (row["DependencyType"], row["Name"], row["Target"]) == ("HTTP", "GET /data/CustomersV3", host)
    assert row["Data"] == f"https://{host}{path}"
    assert (row["ResultCode"], row["Success"]) == ("429", False)
    assert (row["ParentId"], row["OperationId"]) == (event.trace.span_id, event.trace.trace_id)
    assert (row["ms-dyn-aid"], row["attempt"]) == ("a1", "2")


def test_an_exchange_without_an_answer_failed(telemetry: Telemetry, workspace: Workspace) -> None:
    telemetry(D365Exchange("GET", "h", "/data/X", call().trace, time.time(), 5.0, None, error="ConnectTimeout"))
    [row] = stored(workspace, telemetry)
    assert (row["ResultCode"], row["Success"], row["error"]) == ("0", False, "ConnectTimeout")


def test_a_call_that_failed_names_its_error(telemetry: Telemetry, workspace: Workspace) -> None:
    telemetry(call(outcome="tool_error", error_code="throttled"))
    [row] = stored(workspace, telemetry)
    assert (row["Success"], row["ResultCode"], row["error_code"]) == (False, "throttled", "throttled")


def test_a_request_that_calls_no_tool_goes_by_its_method(telemetry: Telemetry, workspace: Workspace) -> None:
    telemetry(call("tools/list", method="tools/list", toolset=None))
    [row] = stored(workspace, telemetry)
    assert (row["Name"], row["method"]) == ("tools/list", "tools/list")
    assert "tool" not in row


def test_texts_from_callers_are_cut_to_what_application_insights_takes(
    telemetry: Telemetry, workspace: Workspace
) -> None:
    telemetry(call("x" * 5000, client_name="y" * 50_000))
    [row] = stored(workspace, telemetry)
    assert (len(row["Name"]), len(row["client_name"])) == (1024, 2048)


def test_what_is_no_call_is_a_custom_event(telemetry: Telemetry, workspace: Workspace) -> None:
    trace = call().trace
    telemetry(call(cold_start=True))
    telemetry(Audit("alice", "d365fo_update_record", "CustomersV3", "9f86d0", "ok", trace))
    telemetry(CatalogRefreshed("contoso", "built", 9000.0, entities=4052))
    telemetry(StatisticsReset("alice", time.time(), trace))

    rows = {row["Name"]: row for row in stored(workspace, telemetry, "AppEvents")}

    assert set(rows) == {"mcp.cold_start", "mcp.audit", "mcp.catalog.refreshed", "mcp.stats.reset"}
    assert rows["mcp.cold_start"]["total_ms"] == 100
    assert (rows["mcp.audit"]["caller"], len(rows["mcp.audit"]["key_hash"])) == ("alice", 16)
    assert rows["mcp.audit"]["OperationId"] == trace.trace_id
    assert rows["mcp.catalog.refreshed"]["entities"] == 4052


OUTAGES: dict[str, dict[str, Any]] = {
    "throttled": {"status": 429, "headers": {"Retry-After": "1"}},
    "not yet allowed": {"status": 403},
    "failing": {"status": 500},
    "cut off": {"kind": "drop"},
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=list(OUTAGES))
def test_nothing_is_lost_in_an_outage(
    outage: dict[str, Any], simulator: Simulator, telemetry: Telemetry, workspace: Workspace
) -> None:
    simulator.fault("/v2.1/track", times=2, **outage)
    for _ in range(600):
        telemetry(call())
    telemetry.flush()
    assert telemetry.backlog().state == "failing"
    assert telemetry.backlog().on_disk > 0

    assert sent_at_last(telemetry)

    [found] = workspace.rows("AppDependencies | summarize items = count(), distinct = dcount(Id)")
    assert found == {"items": 600, "distinct": 600}
    assert telemetry.backlog().state == "sending"


def test_an_endpoint_that_hangs_delays_no_request_and_loses_nothing(
    simulator: Simulator, workspace: Workspace, telemetry: Telemetry
) -> None:
    telemetry.pace = QUICK._replace(timeout=3.0)
    telemetry.load()
    simulator.fault("/v2.1/track", kind="slow", seconds=30, times=1)
    telemetry(call())
    while not simulator.log("/v2.1/track"):  # from here on the sender waits
        time.sleep(QUICK.interval)
    slowest = 0.0
    for _ in range(599):
        before = time.perf_counter()
        telemetry(call())
        slowest = max(slowest, time.perf_counter() - before)

    assert slowest < 2
    assert sent_at_last(telemetry)
    # The simulator may store the item it was slow with as well, hence distinct ones.
    assert workspace.rows("AppDependencies | summarize distinct = dcount(Id)") == [{"distinct": 600}]


def test_an_endpoint_that_is_down_is_asked_once_in_a_while(
    simulator: Simulator, settings: Settings, started: Start
) -> None:
    telemetry = start(settings, QUICK._replace(first_pause=60.0, longest_pause=60.0))
    simulator.fault("/v2.1/track", status=503, times=0)
    for _ in range(5):
        telemetry(call())
        telemetry.flush()

    assert len(simulator.log("/v2.1/track")) == 1
    assert telemetry.backlog().on_disk == 5
    telemetry.close()


def test_the_outage_is_logged_once_with_its_reason(
    simulator: Simulator, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.fault("/v2.1/track", status=500, times=2)
    telemetry(call())
    assert sent_at_last(telemetry)

    lines = [record.message for record in caplog.records if record.name.startswith("d365mcp.telemetry")]
    assert len([line for line in lines if "HTTP 500" in line]) == 1


def test_items_refused_for_now_are_sent_again(simulator: Simulator, telemetry: Telemetry, workspace: Workspace) -> None:
    refused = [
        {"index": 0, "statusCode": 503, "message": "later"},
        {"index": 1, "statusCode": 400, "message": "malformed"},
    ]
    simulator.fault(
        "/v2.1/track", status=206, body={"itemsReceived": 3, "itemsAccepted": 1, "errors": refused}, times=1
    )
    events = [call(), call(), call()]
    for event in events:
        telemetry(event)

    assert sent_at_last(telemetry)

    assert [row["Id"] for row in stored(workspace, telemetry)] == [events[0].trace.span_id]


def test_a_component_that_has_moved_is_followed(
    simulator: Simulator, telemetry: Telemetry, workspace: Workspace
) -> None:
    moved = {"Location": f"{simulator.base_url}/v2.1/track?moved"}
    simulator.fault("/v2.1/track", status=308, headers=moved, body="", times=1)
    telemetry(call())
    telemetry.flush()
    telemetry(call())

    assert len(stored(workspace, telemetry)) == 2
    assert [entry["query"] for entry in simulator.log("/v2.1/track")] == ["", "moved", "moved"]


def test_what_waits_at_the_start_is_sent_however_slowly_the_library_starts(
    settings: Settings, workspace: Workspace, started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its constructor starts the thread that sends before it has finished itself."""
    opened = trace_exporter.LocalFileStorage

    def slowly(**options: Any) -> Any:
        time.sleep(5 * QUICK.interval)
        return opened(**options)

    monkeypatch.setattr(trace_exporter, "LocalFileStorage", slowly)
    telemetry = started(settings)
    telemetry(call())
    assert len(stored(workspace, telemetry)) == 1


@pytest.mark.parametrize("there", ["https://evil.example/v2.1/track", "http://127.0.0.1:9/v2.1/track"])
def test_telemetry_and_its_token_go_to_no_other_service(
    simulator: Simulator, telemetry: Telemetry, workspace: Workspace, there: str
) -> None:
    simulator.fault("/v2.1/track", status=308, headers={"Location": there}, body="", times=1)
    telemetry(call())
    telemetry.flush()
    assert "another service" in str(telemetry.backlog().problem)
    assert sent_at_last(telemetry)
    assert len(stored(workspace, telemetry)) == 1


def test_a_component_without_keys_takes_telemetry_sent_with_an_identity(
    simulator: Simulator, settings: Settings, workspace: Workspace, started: Start, identity: None
) -> None:
    keyless = settings.application_insights.replace(KEY, KEYLESS)
    telemetry = started(
        replace(settings, application_insights=keyless, application_insights_auth="ClientId=ab;Authorization=AAD")
    )
    telemetry(call())

    assert len(stored(workspace, telemetry)) == 1
    [token_request] = simulator.log("/msi/token")[:1]
    assert "client_id=ab" in token_request["query"]


def test_an_identity_that_is_not_there_keeps_telemetry_until_it_is(
    simulator: Simulator, settings: Settings, workspace: Workspace, started: Start, identity: None
) -> None:
    simulator.fault("/msi/token", status=400, times=1)
    telemetry = started(replace(settings, application_insights_auth="Authorization=AAD"))
    telemetry(call())
    telemetry.flush()
    assert telemetry.backlog().state == "failing"

    assert sent_at_last(telemetry)
    assert len(stored(workspace, telemetry)) == 1


@pytest.mark.parametrize("wrong", ["nonsense", "InstrumentationKey=not-a-key", "IngestionEndpoint=http://localhost"])
def test_a_wrong_connection_string_is_named_and_harms_nothing(wrong: str, settings: Settings, started: Start) -> None:
    before = set(threading.enumerate())
    telemetry = started(replace(settings, application_insights=wrong))
    telemetry(call())
    telemetry.load()
    telemetry(call())

    backlog = telemetry.backlog()
    assert backlog.state == "broken"
    assert backlog.problem and "APPLICATIONINSIGHTS_CONNECTION_STRING" in backlog.problem
    assert not [each for each in set(threading.enumerate()) - before if each.name.startswith("AzureExporter")]


def test_more_events_than_may_wait_are_counted_not_kept(settings: Settings) -> None:
    telemetry = start(settings, QUICK._replace(most_waiting=10))
    for _ in range(15):
        telemetry(call())
    backlog = telemetry.backlog()
    assert (backlog.state, backlog.waiting, backlog.dropped) == ("loading", 10, 5)
    telemetry.close()


def test_the_sender_is_one_thread_and_one_for_the_folder(telemetry: Telemetry) -> None:
    before = set(threading.enumerate())
    telemetry.load()
    assert len(set(threading.enumerate()) - before) == 2


def run(program: str, settings: Settings, **environment: str) -> list[str]:
    """Run a program in a process of its own, with `settings` from the environment."""
    prelude = """
import sys, time
from d365mcp.settings import read_settings
from d365mcp.telemetry.exporter import start
from tests.telemetry.conftest import call
loaded = lambda: sorted({"opencensus", "azure.identity", "requests", "httpx"} & set(sys.modules))
for each in loaded(): del sys.modules[each]  # the helpers of this test bring httpx in
telemetry = start(read_settings())
"""
    given = {"PATH": "", "APPLICATIONINSIGHTS_CONNECTION_STRING": settings.application_insights, **environment}
    done = subprocess.run(
        [sys.executable, "-c", prelude + program], cwd=ROOT, env=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "off", [{"MCP_PERFORMANCE_MONITORING": "false"}, {"APPLICATIONINSIGHTS_CONNECTION_STRING": ""}]
)
def test_monitoring_turned_off_imports_nothing(off: dict[str, str], settings: Settings) -> None:
    program = "telemetry(call()); telemetry.load(); print(telemetry.backlog().state, *loaded())"
    assert run(program, settings, **off) == ["off"]


def test_an_event_imports_nothing_yet(settings: Settings) -> None:
    program = "telemetry(call()); print(telemetry.backlog().state, *loaded())"
    assert run(program, settings) == ["loading"]


def test_what_waits_is_sent_when_the_process_ends(settings: Settings, workspace: Workspace, tmp_path: Path) -> None:
    run("telemetry(call()); telemetry.load(); telemetry(call())", settings, TMPDIR=str(tmp_path))
    assert workspace.rows("AppDependencies | summarize items = count()") == [{"items": 2}]
