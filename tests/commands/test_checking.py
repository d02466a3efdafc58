"""`python -m d365mcp check` tells the truth: what does not work fails, and the setting or role to look at is named."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from d365mcp.commands.checking import wrong_authentication
from d365mcp.settings import read_settings
from d365mcp.simulator.insights import KEY
from d365mcp.simulator.log_analytics import WORKSPACE
from tests.dev_host import ROOT
from tests.secret_markers import refuse_secrets
from tests.simulated import Simulator

pytestmark = pytest.mark.once

OTHER_KEY = "99999999-4444-5555-6666-777777777777"
BLOB = "must be the blob service's address, like https://stcontoso.blob.core.windows.net"
EMULATOR = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;BlobEndpoint=http://127.0.0.1:9/devstoreaccount1"


def check(simulator: Simulator, folder: Path, **settings: str) -> dict[str, Any]:
    """Return what it says of each part; a part that fails, and nothing else, makes the command fail."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("D365FO_", "MCP_"))}
    done = subprocess.run(
        [sys.executable, "-m", "d365mcp", "check", "--json"],
        cwd=ROOT,
        env={
            **kept,
            "TMPDIR": str(folder),
            "D365FO_BASE_URL": simulator.base_url,
            **simulator.identity_environment(),
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    refuse_secrets(done.stdout + done.stderr, "The check")
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == int(any(each["status"] == "fail" for each in found.values()))
    return found


def sending(simulator: Simulator, key: str = KEY, endpoint: str = "") -> str:
    return f"InstrumentationKey={key};IngestionEndpoint={endpoint or simulator.base_url}/"


def test_telemetry_that_is_taken_passes(simulator: Simulator, tmp_path: Path) -> None:
    found = check(simulator, tmp_path, APPLICATIONINSIGHTS_CONNECTION_STRING=sending(simulator))
    assert found["telemetry"]["status"] == "pass" and simulator.log("/v2.1/track")


def test_an_identity_is_used_where_it_is_named(simulator: Simulator, tmp_path: Path) -> None:
    with_identity = {"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"ClientId={KEY};Authorization=AAD"}
    found = check(simulator, tmp_path, APPLICATIONINSIGHTS_CONNECTION_STRING=sending(simulator), **with_identity)
    assert found["telemetry"]["status"] == "pass"


@pytest.mark.parametrize(
    "malformed",
    ["garbage", "IngestionEndpoint=https://x.example/", f"InstrumentationKey={KEY[:8]}"],
)
def test_a_malformed_connection_string_fails(malformed: str, simulator: Simulator, tmp_path: Path) -> None:
    found = check(simulator, tmp_path, APPLICATIONINSIGHTS_CONNECTION_STRING=malformed)["telemetry"]
    assert found["status"] == "fail"
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in found["output"] and "overview page" in found["output"]


def test_a_connection_string_that_is_given_up_meanwhile_fails_as_well(simulator: Simulator, tmp_path: Path) -> None:
    """The server loads what sends two seconds after the first event, whether anybody checks or not."""
    simulator.fault("/v1/workspaces", kind="slow", seconds=4)
    slow = {"MCP_LOG_ANALYTICS_WORKSPACE_ID": WORKSPACE, "MCP_LOG_ANALYTICS_URL": simulator.base_url}
    found = check(simulator, tmp_path, APPLICATIONINSIGHTS_CONNECTION_STRING="garbage", **slow)["telemetry"]
    assert found["status"] == "fail" and "APPLICATIONINSIGHTS_CONNECTION_STRING" in found["output"]


@pytest.mark.parametrize(
    ("misspelt", "said"),
    [
        ("Authorisation=AAD", "has no 'Authorisation'"),
        ("Authorization=AAD;ClientID:abc", "has no 'ClientID:abc'"),
        ("Authorization:AAD", "has no 'Authorization:AAD'"),
        ("Authorization=AD", "does not say Authorization=AAD"),
        (f"ClientId={KEY}", "does not say Authorization=AAD"),
        ("Authorization=AAD;ClientId=id-d365mcp", "is no id"),
    ],
)
def test_a_misspelt_authentication_string_is_named(misspelt: str, said: str) -> None:
    settings = read_settings({"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": misspelt})
    problem = wrong_authentication(settings)
    assert said in problem and "write Authorization=AAD" in problem


def test_a_misspelt_authentication_string_fails(simulator: Simulator, tmp_path: Path) -> None:
    """Telemetry would go without an identity, and be refused where one is needed."""
    given = {"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorisation=AAD"}
    found = check(simulator, tmp_path, APPLICATIONINSIGHTS_CONNECTION_STRING=sending(simulator), **given)["telemetry"]
    assert found["status"] == "fail" and "has no 'Authorisation'" in found["output"]


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "Monitoring Metrics Publisher"), (503, "HTTP 503")],
)
def test_telemetry_that_is_refused_is_waited_for(status: int, said: str, simulator: Simulator, tmp_path: Path) -> None:
    simulator.fault("/v2.1/track", status=status, times=9)
    found = check(simulator, tmp_path, APPLICATIONINSIGHTS_CONNECTION_STRING=sending(simulator))["telemetry"]
    assert found["status"] == "fail" and said in found["output"]


@pytest.mark.parametrize(("key", "endpoint"), [(OTHER_KEY, ""), (KEY, "http://127.0.0.1:9"), (KEY, "westeurope-5.in")])
def test_telemetry_that_goes_to_the_wrong_place_fails(
    key: str, endpoint: str, simulator: Simulator, tmp_path: Path
) -> None:
    given = {"APPLICATIONINSIGHTS_CONNECTION_STRING": sending(simulator, key, endpoint)}
    found = check(simulator, tmp_path, **given)["telemetry"]
    assert found["status"] == "fail"
    assert "Compare APPLICATIONINSIGHTS_CONNECTION_STRING" in found["output"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("AzureWebJobsStorage__blobServiceUri", "https://stcontoso.blob.core.windows.invalid"),
        ("AzureWebJobsStorage", f"{EMULATOR};AccountKey=a2V5"),
        ("AzureWebJobsStorage", f"{EMULATOR};AccountKey=abc"),
        ("AzureWebJobsStorage", "garbage"),
    ],
)
def test_storage_that_is_not_reached_names_what_to_compare(
    setting: str, value: str, simulator: Simulator, tmp_path: Path
) -> None:
    began = time.monotonic()
    found = check(simulator, tmp_path, **{setting: value})
    assert found["storage"]["status"] == "fail" and found["F&O"]["status"] == "pass"
    assert f"Compare {setting} with the account's" in found["storage"]["output"]
    assert time.monotonic() - began < 15, "the storage is not asked again and again"


def test_storage_that_does_not_answer_is_waited_for_a_few_seconds(simulator: Simulator, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/devstoreaccount1"
        given = EMULATOR.replace("http://127.0.0.1:9/devstoreaccount1", address)
        found = check(simulator, tmp_path, AzureWebJobsStorage=f"{given};AccountKey=a2V5")["storage"]
    assert found["status"] == "fail" and "did not answer within 4 s" in found["output"]
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    "address",
    [
        "stcontoso",
        "http://stcontoso.blob.core.windows.net",
        "https://stcontoso.queue.core.windows.net",
        "https://stcontoso.blob.core.windows.net/package",
        "https://stcontoso.blob.core.windows.net:blob",
        "https://[::1",
    ],
)
def test_a_bad_blob_address_is_answered_with_a_good_one(address: str) -> None:
    given = {"D365FO_BASE_URL": "https://x.example", "AzureWebJobsStorage__blobServiceUri": address}
    assert read_settings(given).problems == (f"AzureWebJobsStorage__blobServiceUri {BLOB}.",)


def test_settings_that_are_wrong_fail(simulator: Simulator, tmp_path: Path) -> None:
    found = check(simulator, tmp_path, AzureWebJobsStorage__blobServiceUri="stcontoso")
    assert found.keys() == {"settings"} and BLOB in found["settings"]["output"]
