"""The operator's command: checks, lists and calls tools, builds the catalog and says which one serves."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from d365mcp.__main__ import main
from d365mcp.commands.calling import call_command
from d365mcp.server.execution import by_name
from d365mcp.tools import ALL_TOOLS
from tests.dev_host import ROOT
from tests.secret_markers import refuse_secrets
from tests.signing import API, TENANT, publish
from tests.simulated import Simulator

pytestmark = pytest.mark.once


def command(
    simulator: Simulator | None, folder: Path, *arguments: str, given_input: str | None = None
) -> subprocess.CompletedProcess[str]:
    given = {"D365FO_BASE_URL": simulator.base_url, **simulator.identity_environment()} if simulator else {}
    environ = {**{name: value for name, value in os.environ.items() if not name.startswith("D365FO_")}, **given}
    done = subprocess.run(
        [sys.executable, "-m", "d365mcp", *arguments],
        cwd=ROOT,
        env={**environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        input=given_input,
    )
    refuse_secrets(done.stdout + done.stderr, "The operator's command")
    return done


def test_a_catalog_is_built_and_its_status_printed(simulator: Simulator, tmp_path: Path) -> None:
    before = command(simulator, tmp_path, "catalog", "status")
    assert "none yet" in before.stdout
    built = command(simulator, tmp_path, "catalog", "build")
    assert built.returncode == 0, built.stderr
    assert "labels" in built.stderr
    printed = json.loads(command(simulator, tmp_path, "catalog", "status", "--json").stdout)
    with simulator.client() as client:
        known = client.get("/metadata/DataEntities?$select=Name").json()["value"]
    assert printed["snapshot"]["entities"] == len(known) > 0
    assert printed["last_build"]["state"] == "done"


def test_a_failing_build_says_why(simulator: Simulator, tmp_path: Path) -> None:
    simulator.fault("/metadata/", status=403, times=9)
    failed = command(simulator, tmp_path, "catalog", "build")
    assert failed.returncode == 1
    assert "security roles" in failed.stderr


def test_missing_settings_are_all_named(tmp_path: Path) -> None:
    done = command(None, tmp_path, "catalog", "status")
    assert done.returncode == 2
    assert "D365FO_BASE_URL is not set." in done.stderr


def test_help_has_examples(tmp_path: Path) -> None:
    assert "python -m d365mcp catalog build" in command(None, tmp_path, "catalog", "--help").stdout


def test_the_calls_in_help_are_ones_that_the_tools_take() -> None:
    printed = "\n".join(filter(None, (main.help, call_command.help)))
    calls = re.findall(r"call (d365fo_\w+)(?: '(.*)')?", printed)
    assert len(calls) == 3
    for name, arguments in calls:
        by_name(ALL_TOOLS)[name].check(json.loads(arguments or "{}"))


def test_a_check_names_who_we_are_and_passes(simulator: Simulator, tmp_path: Path) -> None:
    done = command(simulator, tmp_path, "check")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert lines["F&O"].startswith("pass") and "signed in as" in lines["F&O"]
    assert lines["storage"].startswith("warn") and "AzureWebJobsStorage__blobServiceUri" in lines["storage"]


def test_a_check_without_access_fails_with_the_hint(simulator: Simulator, tmp_path: Path) -> None:
    simulator.fault("/api/services", status=401, times=9)
    done = command(simulator, tmp_path, "check", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)["F&O"]
    assert found["status"] == "fail"
    assert "Microsoft Entra applications" in found["output"]


def test_a_check_says_whether_callers_tokens_can_be_checked(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking = {
        "MCP_AUTH": "jwt",
        "MCP_CLIENT_ID": API,
        "MCP_ALLOWED_TENANTS": TENANT,
        "MCP_PUBLIC_URL": "https://mcp.contoso.com",
        "AZURE_AUTHORITY_HOST": simulator.base_url,
    }
    for name, value in checking.items():
        monkeypatch.setenv(name, value)
    failed = command(simulator, tmp_path, "check", "--json")  # the tenant has no keys
    assert failed.returncode == 1
    assert TENANT in json.loads(failed.stdout)["callers"]["output"]
    publish(simulator, "one")
    assert json.loads(command(simulator, tmp_path, "check", "--json").stdout)["callers"]["status"] == "pass"


def test_a_check_without_settings_names_them(tmp_path: Path) -> None:
    done = command(None, tmp_path, "check")
    assert done.returncode == 1
    assert (done.stdout.count("D365FO_BASE_URL is not set."), done.stderr) == (1, "")


def test_a_tool_is_called_as_the_server_calls_it(simulator: Simulator, tmp_path: Path) -> None:
    asked = json.dumps({"entity_name": "CustomersV3", "top": 2, "select": ["CustomerAccount"]})
    done = command(simulator, tmp_path, "call", "d365fo_query_entities", "-", given_input=asked)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["records"]) == 2


def test_a_call_that_writes_is_refused_as_on_the_server(simulator: Simulator, tmp_path: Path) -> None:
    done = command(simulator, tmp_path, "call", "d365fo_delete_entity_record", "{}")
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "not_allowed"


def test_an_unknown_tool_and_broken_arguments_are_described_in_the_same_shape(tmp_path: Path) -> None:
    unknown = command(None, tmp_path, "call", "d365fo_query_entity")
    assert unknown.returncode == 1
    assert "d365fo_query_entities" in json.loads(unknown.stdout)["message"]
    broken = command(None, tmp_path, "call", "d365fo_query_entities", "{oops")
    assert json.loads(broken.stdout)["code"] == "invalid_argument"


def test_tools_are_listed_with_what_is_offered(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in json.loads(command(None, tmp_path, "tools", "--json").stdout)}
    assert rows["d365fo_query_entities"]["offered"] and rows["d365fo_query_entities"]["tokens"] > 50
    assert not rows["d365fo_delete_entity_record"]["offered"]
