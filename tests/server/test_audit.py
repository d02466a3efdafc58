"""The audit as it is stored: every write and every refused call, by whom, on what, how it ended; nothing of a record."""

import asyncio
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from d365mcp.app import Application
from d365mcp.errors import StorageError
from d365mcp.server.messages import Reply
from d365mcp.settings import read_settings
from d365mcp.simulator.insights import KEY as COMPONENT
from d365mcp.simulator.log_analytics import WORKSPACE
from d365mcp.storage import FolderStorage
from d365mcp.telemetry import key_hash
from d365mcp.telemetry.exporter import Pace
from tests.azurite import Azurite
from tests.signing import API, TENANT, USER, publish, token
from tests.simulated import Simulator
from tests.telemetry.conftest import Workspace

HEADERS = {
    "host": "localhost",
    "content-type": "application/json",
    "accept": "application/json",
    "mcp-protocol-version": "2025-11-25",
}
SETTINGS = {
    "D365FO_AUTH": "managed_identity",
    "D365FO_ALLOWED_ACTIONS": "*",
    "D365FO_ALLOWED_SERVICES": "UserSessionService/*",
    "MCP_AUTH": "jwt",
    "MCP_CLIENT_ID": API,
    "MCP_ALLOWED_TENANTS": TENANT,
    "MCP_PUBLIC_URL": "https://mcp.contoso.com",
    "MCP_READ_ONLY": "false",
    "MCP_TOOLSETS": "all",
}
# Never to be seen in an audit: in every value of a record, and of a filter.
CANARY = "canary"
GROUPS = {"entity_name": "CustomerGroups"}

pytestmark = pytest.mark.once


@dataclass
class Trail:
    """A server on a loop of its own, and the audit it leaves behind."""

    application: Application
    simulator: Simulator
    runner: asyncio.Runner

    def post(self, message: Any, authorization: str | None, **headers: str) -> Reply:
        told = {"authorization": authorization} if authorization else {}
        body = json.dumps(message).encode()
        return self.runner.run(self.application.endpoint.handle("POST", {**HEADERS, **told, **headers}, body))

    def call(self, tool: str, /, role: str = "D365.Admin", **arguments: Any) -> dict[str, Any]:
        """Call a tool, and return its result or its error."""
        params = {"name": f"d365fo_{tool}", "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        body = json.loads(self.post(message, f"Bearer {token(self.simulator.base_url, scp=role)}").body)
        return dict(body.get("result") or body["error"])

    def rows(self, query: str = "AppEvents | where Name == 'mcp.audit'") -> list[dict[str, Any]]:
        """Return what is stored, the oldest first."""
        assert self.application.telemetry.flush()
        found = Workspace(self.simulator).rows(f"{query} | order by TimeGenerated asc")
        assert CANARY not in json.dumps(found)
        return [json.loads(row["Properties"]) for row in found]

    def told(self) -> list[tuple[str, str | None, str]]:
        """Return tool, entity and outcome of each row."""
        return [(row["tool"].removeprefix("d365fo_"), row.get("entity"), row["outcome"]) for row in self.rows()]


@pytest.fixture
def start(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start a server with some settings changed."""
    publish(simulator, "one")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)
    own = {
        "D365FO_BASE_URL": simulator.base_url,
        "AZURE_AUTHORITY_HOST": simulator.base_url,
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={COMPONENT};IngestionEndpoint={simulator.base_url}/",
        "MCP_LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE,
    }
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def begin(**changes: str) -> Trail:
            settings = read_settings({**SETTINGS, **own, **changes})
            assert settings.problems == ()
            application = Application(settings)
            stack.callback(application.telemetry.close)
            stack.callback(lambda: runner.run(let_go(application)))
            return Trail(application, simulator, runner)

        yield begin


@pytest.fixture
def another_machine(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Start what comes next on a machine that has nothing yet."""
    return lambda: monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("machine")))


@pytest.fixture(scope="module")
def azurite() -> Iterator[str]:
    running = Azurite()
    yield running.connection
    running.stop()


async def let_go(application: Application) -> None:
    await application.environment.client.aclose()
    await application.endpoint.callers.aclose()


@pytest.fixture
def trail(start: Any) -> Trail:
    return start()  # type: ignore[no-any-return]


def group(number: str) -> dict[str, Any]:
    return {"CustomerGroupId": number, "Description": f"{CANARY} {number}"}


def test_writes_are_told_with_who_what_and_the_same_hash_for_the_same_record(trail: Trail) -> None:
    key = {"CustomerGroupId": "AUD", "dataAreaId": "usmf"}
    trail.call("create_entity_record", **GROUPS, data=group("AUD"))
    trail.call("update_entity_record", **GROUPS, key=key, data={"Description": CANARY})
    trail.call("delete_entity_record", **GROUPS, key=key, confirm=True)
    rows = trail.rows()
    assert [(row["caller"], row["entity"], row["outcome"]) for row in rows] == [(USER, "CustomerGroups", "done")] * 3
    assert [row["tool"].split("_")[1] for row in rows] == ["create", "update", "delete"]
    assert len({row["key_hash"] for row in rows}) == 1
    assert "AUD" not in json.dumps(rows)


def test_a_write_carries_the_activity_id_of_its_own_exchange(trail: Trail) -> None:
    trail.call("create_entity_record", **GROUPS, data=group("ACT"), return_record=True)
    [row] = trail.rows()
    [exchange] = trail.rows("AppDependencies | where DependencyType == 'HTTP' and Name startswith 'POST /data'")
    assert row["ms-dyn-aid"] == exchange["ms-dyn-aid"] != ""


def test_each_part_of_a_batch_is_told(trail: Trail) -> None:
    operations = [
        {"operation": "create", "entity_name": "CustomerGroups", "data": group("BA1")},
        {
            "operation": "update",
            "entity_name": "CustomerGroups",
            "key": {"CustomerGroupId": "none", "dataAreaId": "usmf"},
            "data": {"Description": "x"},
        },
    ]
    trail.call("batch", operations=operations, atomic=False)
    first, second = sorted(trail.rows(), key=lambda row: row["outcome"])
    assert (first["tool"], first["outcome"], second["outcome"]) == ("d365fo_batch", "done", "not_found")
    assert first["key_hash"] != second["key_hash"]
    assert first["ms-dyn-aid"] == second["ms-dyn-aid"] != ""


def test_actions_services_and_what_concerns_all_instances_are_told(trail: Trail) -> None:
    trail.call("call_action", action="GetApplicationVersion", entity_name="DataManagementEntities")
    service = {"service_group": "UserSessionService", "service_name": "AifUserSessionService"}
    trail.call("call_json_service", **service, operation_name="GetUserSessionInfo")
    trail.call("sync_metadata")
    trail.call("reset_performance_stats")
    assert trail.told() == [
        ("call_action", "DataManagementEntities.GetApplicationVersion", "done"),
        ("call_json_service", "UserSessionService/AifUserSessionService/GetUserSessionInfo", "done"),
        ("sync_metadata", None, "done"),
        ("reset_performance_stats", None, "done"),
    ]


@pytest.mark.parametrize(
    ("trouble", "outcome"),
    [
        ({"status": 400, "body": "no"}, "bad_request"),
        ({"status": 403}, "forbidden"),
        ({"status": 412}, "conflict"),
        ({"status": 429}, "throttled"),
        ({"status": 503}, "outcome_unknown"),
        ({"kind": "drop"}, "outcome_unknown"),
        ({"kind": "malformed"}, "outcome_unknown"),
    ],
)
def test_a_write_that_fails_is_told_with_how(trail: Trail, trouble: dict[str, Any], outcome: str) -> None:
    trail.simulator.fault("/data/CustomerGroups", method="POST", times=0, **trouble)
    trail.call("create_entity_record", **GROUPS, data=group("BAD"))
    assert trail.told() == [("create_entity_record", "CustomerGroups", outcome)]


def test_a_write_that_fits_into_no_url_is_told_as_one_that_was_not_sent(trail: Trail) -> None:
    key = {"CustomerGroupId": "x" * 70_000, "dataAreaId": "usmf"}
    trail.call("update_entity_record", **GROUPS, key=key, data={"Description": "x"})
    trail.call("batch", operations=[{"operation": "delete", **GROUPS, "key": key}], confirm=True)
    assert trail.told() == [
        ("update_entity_record", "CustomerGroups", "invalid_argument"),
        ("batch", "CustomerGroups", "invalid_argument"),
    ]
    assert [entry for entry in trail.simulator.log("/data") if entry["method"] != "GET"] == []


def test_a_batch_whose_set_was_taken_back_tells_which_operation_failed(trail: Trail) -> None:
    trail.call("create_entity_record", **GROUPS, data=group("B1"))
    operations = [{"operation": "create", **GROUPS, "data": group(number)} for number in ("B2", "B1", "B3")]
    trail.call("batch", operations=operations)
    trail.simulator.control(heed_prefer=0)
    trail.call("batch", operations=operations, atomic=False)
    outcomes = sorted(outcome for tool, _, outcome in trail.told() if tool == "batch")
    assert outcomes == ["bad_request", "bad_request", "done", "not_done", "not_done", "not_run"]


def test_a_batch_that_fails_as_a_whole_is_told_part_by_part(trail: Trail) -> None:
    trail.simulator.fault(r"/data/\$batch", times=0, status=429)
    trail.call("batch", operations=[{"operation": "create", "entity_name": "CustomerGroups", "data": group("B")}] * 2)
    assert trail.told() == [("batch", "CustomerGroups", "throttled")] * 2


def test_a_write_cut_short_by_its_caller_is_told(trail: Trail) -> None:
    trail.call("get_entity_schema", entity_name="CustomerGroups")
    trail.simulator.fault("/data/CustomerGroups", method="POST", kind="slow", seconds=30)

    async def hang_up() -> None:
        params = {"name": "d365fo_create_entity_record", "arguments": {**GROUPS, "data": group("CUT")}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        headers = {**HEADERS, "authorization": f"Bearer {token(trail.simulator.base_url, scp='D365.Write')}"}
        call = asyncio.create_task(trail.application.endpoint.handle("POST", headers, body))
        while not await asyncio.to_thread(trail.simulator.log, "/data/customergroups"):
            pass
        call.cancel()
        await asyncio.wait([call])

    trail.runner.run(hang_up())
    assert trail.told() == [("create_entity_record", "CustomerGroups", "outcome_unknown")]


def test_what_reads_or_only_rehearses_leaves_no_trace(trail: Trail) -> None:
    trail.call("create_entity_record", **GROUPS, data=group("DRY"), dry_run=True)
    trail.call("query_entities", **GROUPS, filter=f"Description eq '{CANARY}'")
    trail.call("call_json_service", service_group="UserSessionService")
    trail.call("query_entities", entity_name="NoSuchThing")
    assert trail.rows() == []


# Refused calls

RECORD = {"key": {"CustomerGroupId": CANARY, "dataAreaId": "usmf"}, "data": {"Description": CANARY}}
REFUSED: dict[str, tuple[dict[str, str], str, dict[str, Any], str | None]] = {
    "only reading is allowed": (
        {"MCP_READ_ONLY": "true"},
        "update_entity_record",
        {**GROUPS, **RECORD},
        "CustomerGroups",
    ),
    "the toolset is not on offer": ({"MCP_TOOLSETS": "data"}, "sync_metadata", {}, None),
    "the entity may not be written": (
        {"D365FO_WRITABLE_ENTITIES": "VendorsV2"},
        "update_entity_record",
        {**GROUPS, **RECORD},
        "CustomerGroups",
    ),
    "the company may not be touched": (
        {"D365FO_COMPANIES": "ussi"},
        "update_entity_record",
        {**GROUPS, **RECORD},
        "CustomerGroups",
    ),
    "the company may not be read": (
        {"D365FO_COMPANIES": "ussi"},
        "query_entities",
        {**GROUPS, "company": "usmf", "filter": f"Description eq '{CANARY}'"},
        "CustomerGroups",
    ),
    "the action may not be invoked": (
        {"D365FO_ALLOWED_ACTIONS": ""},
        "call_action",
        {"action": "GetApplicationVersion", "entity_name": "DataManagementEntities"},
        "DataManagementEntities",
    ),
    "the service may not be called": (
        {"D365FO_ALLOWED_SERVICES": ""},
        "call_json_service",
        {"service_group": "A", "service_name": "B", "operation_name": "C", "parameters": {"x": CANARY}},
        None,
    ),
}


@pytest.mark.parametrize(("settings", "tool", "arguments", "entity"), REFUSED.values(), ids=REFUSED)
def test_a_call_the_operator_forbids_is_told(
    start: Any, settings: dict[str, str], tool: str, arguments: dict[str, Any], entity: str | None
) -> None:
    trail = start(**settings)
    assert json.loads(trail.call(tool, **arguments)["content"][0]["text"])["code"] == "not_allowed"
    [row] = trail.rows()
    assert (row["caller"], row["tool"], row["outcome"]) == (USER, f"d365fo_{tool}", "not_allowed")
    assert (row.get("entity"), "key_hash" in row) == (entity, "key" in arguments)


def test_a_call_beyond_the_callers_role_is_told(trail: Trail) -> None:
    trail.call("delete_entity_record", "D365.Read", **GROUPS, key=RECORD["key"], confirm=True)
    [row] = trail.rows()
    assert (row["caller"], row["outcome"], row["entity"]) == (USER, "insufficient_scope", "CustomerGroups")
    assert len(row["key_hash"]) == 16


def test_a_key_as_text_has_the_hash_of_the_key(trail: Trail) -> None:
    for key in (RECORD["key"], json.dumps(RECORD["key"])):
        trail.call("delete_entity_record", "D365.Read", **GROUPS, key=key, confirm=True)
    first, second = trail.rows()
    assert first["key_hash"] == second["key_hash"] != ""


def test_an_entity_that_is_no_name_is_not_told(trail: Trail) -> None:
    trail.call("delete_entity_record", "D365.Read", entity_name=f"{CANARY}; drop table", key="odd")
    [row] = trail.rows()
    assert "entity" not in row
    assert "key_hash" not in row


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"exp": 1}, "expired"),
        ({"aud": "api://somebody-else"}, "wrong_audience"),
        ({"tid": "aaaaaaaa-0000-4000-8000-0000000000ff"}, "wrong_tenant"),
        ({"key": "two"}, "unknown_key"),
    ],
)
def test_a_token_that_does_not_do_is_told_by_nobodys_name(trail: Trail, changes: dict[str, Any], outcome: str) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    refused = f"Bearer {token(trail.simulator.base_url, **changes)}"
    assert trail.post(message, refused, **{"mcp-name": CANARY}).status == 401
    [row] = trail.rows()
    assert (row["caller"], row["outcome"], "tool" in row) == ("unknown", outcome, False)


def test_a_flood_of_nobodies_is_counted_and_costs_nobody_else_their_place(start: Any) -> None:
    trail = start()
    trail.application.telemetry.pace = Pace(most_waiting=20)
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    expired = f"Bearer {token(trail.simulator.base_url, exp=1)}"
    for number in range(500):
        trail.post(message, expired if number % 2 else f"Bearer {number}", **{"mcp-name": f"{CANARY} {number}"})
    trail.call("create_entity_record", **GROUPS, data=group("FLD"))
    assert trail.application.telemetry.backlog().dropped == 0
    rows = trail.rows()
    assert ("d365fo_create_entity_record", "done") in [(row.get("tool"), row["outcome"]) for row in rows]
    counted = Counter[str]()
    for row in Workspace(trail.simulator).rows("AppEvents | where Name == 'mcp.audit'"):
        told = json.loads(row["Properties"])
        counted[f"{told['caller']} {told['outcome']}"] += json.loads(row["Measurements"])["calls"]
    assert counted == {"unknown expired": 250, "unknown malformed": 250, f"{USER} done": 1}
    assert len(rows) < 20


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": CANARY, "arguments": {}}, "tools/call"),
        ("tools/call", {"name": f"d365fo_{CANARY}"}, "tools/call"),
        ("tools/call", {"name": [CANARY]}, "tools/call"),
        (CANARY, {}, "unknown"),
        (f"tools/{CANARY}", {"name": CANARY}, "unknown"),
        ("prompts/get", {"name": CANARY}, "prompts/get"),
        ("resources/read", {"uri": f"d365fo://entities/{CANARY}"}, "resources/read"),
        ("tools/call", {"name": "d365fo_get_server_config", "arguments": {CANARY: 1}}, "d365fo_get_server_config"),
    ],
)
def test_a_name_the_caller_chose_is_never_the_tools(
    trail: Trail, method: str, params: dict[str, Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="d365mcp.request")
    bearer = f"Bearer {token(trail.simulator.base_url)}"
    trail.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, bearer)
    [row] = trail.rows("AppDependencies | where DependencyType == 'MCP'")  # which shows no canary
    [stored] = Workspace(trail.simulator).rows("AppDependencies | where DependencyType == 'MCP'")
    assert (stored["Name"], row.get("tool")) == (name, name if name.startswith("d365fo_") else None)
    assert not [line for line in caplog.messages if CANARY in line]


# The hash of a record's key

KEY = {"CustomerGroupId": "HSH", "dataAreaId": "usmf"}


def hash_of(trail: Trail, key: dict[str, str] = KEY) -> str | None:
    """Return what the audit calls a record."""
    trail.call("delete_entity_record", "D365.Read", **GROUPS, key=key, confirm=True)
    found = trail.rows()[-1].get("key_hash")
    return str(found) if found else None


def test_a_likely_key_cannot_be_tried_out_on_its_hash(trail: Trail) -> None:
    told = hash_of(trail)
    assert told is not None
    text = json.dumps({name.casefold(): value.casefold() for name, value in KEY.items()}, sort_keys=True)
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()
        for plain in (digest, digest[:16], digest[-16:]):
            assert told != plain != hashlib.sha256(plain.encode()).hexdigest()[:16] != told


def test_a_record_keeps_its_hash_through_restarts(start: Any) -> None:
    assert hash_of(start()) == hash_of(start())


def test_instances_that_share_storage_share_the_hash(
    start: Any, azurite: str, another_machine: Callable[[], None]
) -> None:
    first = hash_of(start(AzureWebJobsStorage=azurite))
    another_machine()
    assert hash_of(start(AzureWebJobsStorage=azurite, MCP_CURSOR_KEY="n" * 32)) == first


def test_instances_that_share_the_cursors_key_alone_share_the_hash(
    start: Any, another_machine: Callable[[], None]
) -> None:
    own = hash_of(start())
    first = hash_of(start(MCP_CURSOR_KEY="k" * 32))
    another_machine()
    assert hash_of(start(MCP_CURSOR_KEY=f"{'k' * 32},{'o' * 32}")) == first
    assert len({own, first, hash_of(start()), hash_of(start(MCP_CURSOR_KEY="n" * 32))}) == 4


@pytest.mark.parametrize("problem", [StorageError("HTTP 403"), OSError("read-only"), ImportError("azure")])
def test_while_the_storage_fails_the_hash_is_left_out_and_the_rest_is_told(
    start: Any, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def refusing(*_: Any, **__: Any) -> None:
        raise problem

    trail = start()
    monkeypatch.setattr(key_hash, "PAUSE_SECONDS", 0.0)
    with monkeypatch.context() as broken:
        broken.setattr(FolderStorage, "get", refusing)
        assert hash_of(trail) is None
        assert trail.rows()[-1]["outcome"] == "insufficient_scope"
    assert hash_of(trail) == hash_of(start())


def test_a_caller_without_a_role_is_told_by_name(trail: Trail) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert trail.post(message, f"Bearer {token(trail.simulator.base_url, scp='other')}").status == 403
    [row] = trail.rows()
    assert (row["caller"], row["outcome"]) == (USER, "insufficient_scope")


def test_who_has_not_signed_in_yet_is_not_told(trail: Trail) -> None:
    assert trail.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, None).status == 401
    assert trail.rows() == []
