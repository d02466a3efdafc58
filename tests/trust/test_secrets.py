"""Every setting that can hold a secret holds a canary, and none of them leaves the process, whatever goes right or wrong.

That nothing else in the suite shows one is looked after in `tests/conftest.py`.
"""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from d365mcp.settings import declared, read_settings
from d365mcp.simulator.insights import KEY
from d365mcp.simulator.log_analytics import TABLES, WORKSPACE
from tests.dev_host import ROOT, DevHost
from tests.secret_markers import canary, leaks, refuse_secrets
from tests.simulated import Simulator
from tests.telemetry.conftest import Workspace

pytestmark = pytest.mark.once

FUNCTION_KEY = canary("function-key")
PEM = f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(canary('certificate').encode()).decode()}\n-----END PRIVATE KEY-----"
CERTIFICATE = f"-----BEGIN CERTIFICATE-----\nMAoG\n-----END CERTIFICATE-----\n{PEM}"
STORAGE_KEY = base64.b64encode(canary("storage").encode()).decode()
CUSTOMER = {"entity_name": "CustomersV3", "key": {"dataAreaId": "usmf", "CustomerAccount": "US-001"}}
CALLS: dict[str, Mapping[str, Any]] = {
    "search_entities": {"query": "customers"},
    "get_entity_schema": {"entity_name": "CustomersV3"},
    "search_enumerations": {"query": "no yes"},
    "search_actions": {"query": "version"},
    "get_enumeration_fields": {"enumeration_name": "NoYes"},
    "get_labels": {"label_ids": ["@SYS1", "@SYS0"]},
    "query_entities": {"entity_name": "CustomersV3", "count": True},
    "get_entity_record": CUSTOMER,
    "query_sql": {"sql": "SELECT count(*) FROM CustomersV3"},
    "create_entity_record": {"entity_name": "CustomerGroups", "data": {"dataAreaId": "usmf", "CustomerGroupId": "77"}},
    "update_entity_record": {**CUSTOMER, "data": {"CreditLimit": 1}},
    "delete_entity_record": {**CUSTOMER, "confirm": True},
    "batch": {"operations": [{"operation": "update", **CUSTOMER, "data": {"CreditLimit": 2}}]},
    "call_action": {"entity_name": "DataManagementEntities", "action": "GetApplicationVersion"},
    "get_environment_info": {},
    "get_server_config": {},
    "get_server_performance": {},
    "reset_performance_stats": {},
    "call_json_service": {},
    "download_document": {"document": "customer_invoice", "number": "CIV-000708", "company": "usmf"},
    "sync_metadata": {},
    "get_sync_progress": {},
}
FAULTS: list[dict[str, Any]] = [
    {"status": 401},
    {"status": 403},
    {"status": 429, "headers": {"retry-after": "600"}},
    {"status": 500, "kind": "html"},
    {"status": 302, "headers": {"location": "https://evil.example"}},
    {"kind": "drop"},
    {"kind": "malformed"},
    {"kind": "cut"},
]
TOKEN = {"expires_on": "4102444800", "token_type": "Bearer", "resource": "x"}


def settings(simulator: Simulator, folder: Path) -> dict[str, str]:
    """Return settings with a canary in each that can hold a secret."""
    account = f"AccountName=canary;AccountKey={STORAGE_KEY};BlobEndpoint={simulator.base_url}/canary"
    return {
        **simulator.identity_environment(),
        "D365FO_BASE_URL": simulator.base_url,
        "D365FO_CLIENT_SECRET": canary("client-secret"),
        "D365FO_CLIENT_CERTIFICATE": CERTIFICATE,
        "D365FO_ALLOWED_ACTIONS": "*",
        "D365FO_ALLOWED_SERVICES": "*",
        "MCP_AUTH": "function_key",
        "FUNCTIONS_DEV_KEY": FUNCTION_KEY,
        "MCP_CURSOR_KEY": f"{canary('cursor-key')}-{canary('cursor-key')}",
        "MCP_READ_ONLY": "false",
        "MCP_TOOLSETS": "all",
        "MCP_LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE,
        "MCP_LOG_ANALYTICS_URL": simulator.base_url,
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={simulator.base_url}",
        "AzureWebJobsStorage": f"DefaultEndpointsProtocol=http;{account}",
        "TMPDIR": str(folder),
    }


@pytest.fixture
def given(simulator: Simulator, tmp_path: Path) -> dict[str, str]:
    return settings(simulator, tmp_path)


def test_every_setting_that_can_hold_a_secret_holds_a_canary(given: dict[str, str]) -> None:
    secret = {each.metadata["name"] for each in declared() if each.metadata["secret"]}
    assert secret <= given.keys()
    read = read_settings(given)
    assert not read.problems
    refuse_secrets(read, "The settings")
    assert KEY not in repr(read)


class Caller:
    """Calls a host with its function key, and keeps all that comes back."""

    def __init__(self, host: DevHost) -> None:
        headers = {"accept": "application/json", "cookie": canary("cookie"), "mcp-protocol-version": "2025-11-25"}
        keys = {"x-functions-key": FUNCTION_KEY, "authorization": f"Bearer {canary('caller')}"}
        self.http = httpx.Client(base_url=host.base_url, headers={**headers, **keys}, trust_env=False, timeout=60)
        self.answers: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, method: str, path: str, **options: Any) -> None:
        reply = self.http.request(method, path, **options)
        self.answers.append(f"{reply.headers} {reply.text}")

    def rpc(self, method: str, **params: Any) -> None:
        self.ask("POST", "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    def call(self, tool: str) -> None:
        self.rpc("tools/call", name=f"d365fo_{tool}", arguments=CALLS[tool])


@pytest.fixture
def caller(host: DevHost) -> Iterator[Caller]:
    with Caller(host) as calling:
        yield calling


@pytest.fixture
def host(given: dict[str, str]) -> Iterator[DevHost]:
    with DevHost(ROOT, "--log-level", "debug", environ=given) as running:
        yield running


def telemetry(simulator: Simulator) -> list[str]:
    """Return the telemetry that has come so far; resetting the simulator forgets it."""
    workspace = Workspace(simulator)
    return [json.dumps(row, default=str) for table in TABLES for row in workspace.rows(table)]


def without_secrets(*told: str) -> None:
    """Fail where a canary, the instrumentation key or a key of the storage was told."""
    text = "\n".join(told)
    refuse_secrets(text, "What left the process")
    assert STORAGE_KEY not in text
    assert KEY not in text


def test_no_secret_leaves_the_server_whatever_is_called_and_fails(
    host: DevHost, caller: Caller, simulator: Simulator, tmp_path: Path
) -> None:
    for tool in CALLS:
        caller.call(tool)
    assert any('"isError":false' in answer for answer in caller.answers)
    stored: list[str] = []
    for fault in FAULTS:
        stored += telemetry(simulator)
        simulator.control(reset=True)
        simulator.fault("/(data|api|metadata)/", **fault, times=0)
        for tool in ("query_entities", "create_entity_record", "get_environment_info", "batch"):
            caller.call(tool)
        caller.ask("GET", "/health/deep")
    stored += telemetry(simulator)
    simulator.control(reset=True)
    said = {"error": {"message": f"Refused: Bearer {simulator.token()} of {canary('nobody')[:6]}"}}
    simulator.fault("/data/", status=400, body=said)
    caller.call("query_entities")
    assert "(token)" in caller.answers[-1]
    for method in (
        "initialize",
        "tools/list",
        "prompts/list",
        "resources/templates/list",
        "nonsense",
        "resources/read",
    ):
        caller.rpc(method, uri=f"d365fo://entities/{canary('uri')[:9]}")
    caller.ask("GET", "/health")
    caller.ask("GET", "/mcp")
    caller.ask("GET", "/.well-known/oauth-protected-resource")
    caller.ask("POST", "/mcp", content=b"{", headers={"content-type": "application/json"})
    caller.ask("POST", "/mcp", content=b"{}", headers={"x-functions-key": "wrong"})
    host.stop()
    stored += telemetry(simulator)
    assert len(stored) > 40
    kept = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    without_secrets(*caller.answers, host.log)
    assert not leaks("\n".join([*stored, *kept]))


def test_a_token_that_no_header_can_carry_is_not_shown(host: DevHost, caller: Caller, simulator: Simulator) -> None:
    for odd in ("\n", "é", " x"):
        simulator.control(reset=True)
        simulator.fault("/msi/token", status=200, body={**TOKEN, "access_token": canary("odd") + odd}, times=0)
        caller.call("query_entities")
        assert "sign_in_failed" in caller.answers[-1]
        caller.call("get_server_performance")
        caller.ask("GET", "/health/deep")
    host.stop()
    without_secrets(*caller.answers, host.log)


def test_what_a_token_endpoint_says_is_not_passed_on(host: DevHost, caller: Caller, simulator: Simulator) -> None:
    told = {"statusCode": 400, "message": canary("echo"), "error": canary("echo"), "error_description": canary("echo")}
    simulator.fault("/msi/token", status=400, body=told, times=0)
    for tool in ("query_entities", "get_server_performance"):
        caller.call(tool)
    caller.ask("GET", "/health/deep")
    host.stop()
    without_secrets(*caller.answers, host.log)


# Wrong in a way that the settings tell, and in one that shows when they are used.
TOLD = {
    "D365FO_BASE_URL": f"https://user:{canary('password')}@contoso.operations.dynamics.com",
    "D365FO_CLIENT_CERTIFICATE": canary("certificate"),
    "AZURE_AUTHORITY_HOST": f"https://{canary('password')}@login.microsoftonline.com",
    "MCP_CURSOR_KEY": canary("c")[:20],
    "MCP_LOG_ANALYTICS_URL": f"https://api.loganalytics.azure.com/?key={canary('query')}",
}
MET = {
    "AzureWebJobsStorage": canary("not-a-connection-string"),
    "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={canary('no-guid')}",
}


@pytest.mark.parametrize(("wrong", "problems"), [(TOLD, len(TOLD)), (MET, 0)])
def test_a_secret_in_a_wrong_setting_is_not_shown(given: dict[str, str], wrong: dict[str, str], problems: int) -> None:
    environ = {**given, **wrong}
    with DevHost(ROOT, environ=environ) as host, Caller(host) as caller:
        for tool in ("query_entities", "get_server_config", "get_sync_progress"):
            caller.call(tool)
        caller.ask("GET", "/health")
        caller.ask("GET", "/health/deep")
        host.stop()
        without_secrets(*caller.answers, host.log)
    told = read_settings(environ).problems
    assert len(told) >= problems
    assert "canary" not in json.dumps(told)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--json"),
        ("call", "d365fo_get_server_config"),
        ("call", "d365fo_query_entities", '{"entity_name":"CustomersV3"}'),
        ("catalog", "status", "--json"),
    ],
)
def test_the_operators_command_shows_no_secret(given: dict[str, str], arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "d365mcp", *arguments],
        cwd=ROOT,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout or "The storage refused" in done.stderr
    assert "Traceback" not in done.stderr
    without_secrets(done.stdout, done.stderr)


def test_the_search_finds_what_it_looks_for(simulator: Simulator) -> None:
    began = time.monotonic()
    shown = [
        simulator.token(),
        canary("any"),
        PEM,
        f"AccountKey={STORAGE_KEY}",
        *simulator.identity_environment().values(),
    ]
    assert [bool(leaks(text)) for text in shown] == [True, True, True, True, False, True]
    assert not leaks("nothing " * 100_000)
    assert time.monotonic() - began < 5
