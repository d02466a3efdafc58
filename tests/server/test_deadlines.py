"""The end of a request's time: what was under way then is told as what it is, whichever timer ends it first."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d365mcp.app import Application
from d365mcp.settings import read_settings
from tests.simulated import Simulator

HEADERS = {
    "host": "localhost",
    "content-type": "application/json",
    "accept": "application/json",
    "mcp-protocol-version": "2025-11-25",
}
SECONDS = 1.7  # what the host's two leave
pytestmark = pytest.mark.once

KEY = {"dataAreaId": "usmf", "CustomerGroupId": "20"}
GROUPS = {"entity_name": "CustomerGroups"}
NEW = {**KEY, "CustomerGroupId": "91"}
SERVICE = {"service_group": "ContosoServices", "service_name": "ContosoPriceService", "operation_name": "GetPrice"}
WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "create_entity_record": ("POST", {**GROUPS, "data": NEW}),
    "update_entity_record": ("PATCH", {**GROUPS, "key": KEY, "data": {"Description": "new"}}),
    "delete_entity_record": ("DELETE", {**GROUPS, "key": KEY, "confirm": True}),
    "batch": ("POST", {"operations": [{"operation": "create", **GROUPS, "data": NEW}]}),
    "call_action": ("POST", {"action": "GetApplicationVersion", "entity_name": "DataManagementEntities"}),
    "call_json_service": ("POST", {**SERVICE, "parameters": {"_contract": {}}}),
}
PLACES = r"CustomerGroups|batch|GetApplicationVersion|/api/services"


class Hosted:
    """A server on a loop of its own."""

    def __init__(self, simulator: Simulator, runner: asyncio.Runner, **own: str) -> None:
        settings = {
            "D365FO_BASE_URL": simulator.base_url,
            "D365FO_AUTH": "managed_identity",
            "D365FO_ALLOWED_ACTIONS": "*",
            "D365FO_ALLOWED_SERVICES": "*",
            "MCP_AUTH": "none",
            "MCP_READ_ONLY": "false",
            "MCP_TOOLSETS": "all",
            **(own or {"AzureFunctionsJobHost__functionTimeout": "00:00:02"}),
        }
        self.simulator, self.runner = simulator, runner
        self.application = Application(read_settings(settings))

    def call(
        self, tool: str, arguments: dict[str, Any], *, busy: float = 0.0, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Call a tool, and return its result or error; `busy`: the loop stands still from then until the time is up."""
        params = {"name": f"d365fo_{tool}", "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}

        async def one() -> Any:
            if busy:
                asyncio.get_running_loop().call_later(busy, time.sleep, SECONDS - busy + 0.3)
            return await self.application.endpoint.handle(
                "POST", {**HEADERS, **(headers or {})}, json.dumps(message).encode()
            )

        reply = self.runner.run(one())
        return dict(json.loads(json.loads(reply.body)["result"]["content"][0]["text"]))


@pytest.fixture
def hosted(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    yield from hosting(simulator, tmp_path, monkeypatch)


@pytest.fixture
def unhurried(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    """A server whose host leaves it time for a first exchange on a busy machine."""
    yield from hosting(simulator, tmp_path, monkeypatch, AzureFunctionsJobHost__functionTimeout="00:00:20")


@pytest.fixture
def patient(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    """A server whose requests have a second, and whose host has minutes."""
    yield from hosting(simulator, tmp_path, monkeypatch, MCP_REQUEST_TIMEOUT="1")


def hosting(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **own: str) -> Iterator[Hosted]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)
    with asyncio.Runner() as runner:
        server = Hosted(simulator, runner, **own)
        server.call("get_entity_schema", GROUPS)  # a token, a connection and what is imported late are there
        yield server
        runner.run(server.application.environment.client.aclose())


@pytest.mark.parametrize("tool", WRITES)
@pytest.mark.parametrize("busy", [0.0, SECONDS * 0.8], ids=["one timer", "both in one turn"])
def test_a_write_whose_answer_does_not_come_in_time_is_of_unknown_outcome(
    hosted: Hosted, tool: str, busy: float
) -> None:
    method, arguments = WRITES[tool]
    hosted.simulator.fault(PLACES, method=method, kind="slow", seconds=5)
    error = hosted.call(tool, arguments, busy=busy)
    assert (error["code"], error["retryable"]) == ("outcome_unknown", False)


@pytest.mark.parametrize("busy", [0.0, SECONDS * 0.8])
def test_a_read_whose_answer_does_not_come_in_time_may_be_tried_again(hosted: Hosted, busy: float) -> None:
    hosted.simulator.fault("CustomerGroups", method="GET", kind="slow", seconds=5)
    error = hosted.call("get_entity_record", {**GROUPS, "key": KEY}, busy=busy)
    assert (error["code"], error["retryable"]) == ("deadline_exceeded", True)


def test_a_write_whose_token_does_not_come_in_time_was_not_sent(unhurried: Hosted) -> None:
    unhurried.simulator.control(revoke_tokens=True)
    unhurried.simulator.fault("/msi/token", kind="slow", seconds=60)
    error = unhurried.call("update_entity_record", WRITES["update_entity_record"][1])
    assert (error["code"], error["retryable"]) == ("deadline_exceeded", True)
    assert [entry["done"] for entry in unhurried.simulator.log("/data")] == [False]


@pytest.mark.parametrize("busy", [0.0, SECONDS * 0.8])
def test_a_write_that_was_refused_in_time_may_be_tried_again(hosted: Hosted, busy: float) -> None:
    """The throttle came before the work, and the wait does not fit: nothing was done, whoever ends it."""
    hosted.simulator.fault("CustomerGroups", method="PATCH", status=429, headers={"Retry-After": "1"}, times=9)
    error = hosted.call("update_entity_record", WRITES["update_entity_record"][1], busy=busy)
    assert error["retryable"]
    assert not any(entry["done"] for entry in hosted.simulator.log("/data") if entry["method"] == "PATCH")


def test_a_write_that_was_done_stays_done_when_reading_back_takes_too_long(unhurried: Hosted) -> None:
    unhurried.simulator.fault("CustomerGroups", method="GET", kind="slow", seconds=60)
    result = unhurried.call("update_entity_record", {**WRITES["update_entity_record"][1], "return_record": True})
    assert result.get("outcome") == "updated", result
    assert "could not be read back" in result["notes"][0]


@pytest.mark.parametrize("tool", WRITES)
def test_a_write_that_was_sent_has_the_host_s_time(patient: Hosted, tool: str) -> None:
    method, arguments = WRITES[tool]
    patient.simulator.fault(PLACES, method=method, kind="slow", seconds=2)
    assert patient.call(tool, arguments).get("code") in (None, "bad_request")  # the group to delete has customers


def test_what_a_write_reads_first_has_the_request_s_time(patient: Hosted) -> None:
    patient.simulator.fault("CustomerGroups", method="GET", kind="slow", seconds=30)
    began = time.monotonic()
    patient.call("update_entity_record", {**WRITES["update_entity_record"][1], "dry_run": True})
    assert time.monotonic() - began < 15


def test_a_write_that_was_refused_has_the_request_s_time_again(patient: Hosted) -> None:
    patient.simulator.fault("CustomerGroups", method="PATCH", status=429, headers={"Retry-After": "30"}, times=9)
    began = time.monotonic()
    assert patient.call("update_entity_record", WRITES["update_entity_record"][1])["retryable"]
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("asked", "done"), [("", False), ("20", True), ("9.5", True), ("99999", True), ("0", False), ("1", False)]
)
def test_a_request_says_how_long_a_read_may_take(patient: Hosted, asked: str, done: bool) -> None:
    patient.simulator.fault("CustomerGroups", method="GET", kind="slow", seconds=2)
    found = patient.call("get_entity_record", {**GROUPS, "key": KEY}, headers={"x-mcp-timeout": asked})
    assert ("record" in found) == done
    assert done or ("X-MCP-Timeout" in found["hint"] and found["code"] == "deadline_exceeded")


def test_the_host_s_time_is_the_most(hosted: Hosted) -> None:
    hosted.simulator.fault("CustomerGroups", method="GET", kind="slow", seconds=30)
    began = time.monotonic()
    found = hosted.call("get_entity_record", {**GROUPS, "key": KEY}, headers={"x-mcp-timeout": "60"})
    assert (found["code"], time.monotonic() - began < 15) == ("deadline_exceeded", True)


def test_a_fault_of_ours_after_a_write_leaves_it_open(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("d365mcp.tools.changes._stored_otherwise", broken)
    error = hosted.call("create_entity_record", {**GROUPS, "data": {**NEW, "Description": "x"}})
    assert (error["code"], error["retryable"]) == ("outcome_unknown", False)
    assert [entry["done"] for entry in hosted.simulator.log("/data") if entry["method"] == "POST"] == [True]
