"""No answer of F&O's, however large, deep or packed, takes the server's memory or its clear words; none leads it elsewhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.dev_host import ROOT
from tests.endless import KINDS, endless
from tests.served import Served, serving
from tests.simulated import Simulator

MOST_BYTES = 200_000_000
EVERYTHING = {"MCP_READ_ONLY": "false", "MCP_TOOLSETS": "all", "D365FO_ALLOWED_ACTIONS": "*"}

# Runs the operator's command, and at the end prints the kilobytes it took at its most.
MEASURED = """
import atexit, pathlib, re, runpy
status = pathlib.Path("/proc/self/status")
atexit.register(lambda: print(*re.findall(r"VmHWM:\\s+(\\d+)", status.read_text())))
runpy.run_module("d365mcp", run_name="__main__")
"""

TOLD = {
    "Announced": "larger than 32 MiB",
    "Unannounced": "larger than 32 MiB",
    "EndlessSpaces": "larger than 32 MiB",
    "EndlessRows": "larger than 32 MiB",
    "EndlessText": "larger than 32 MiB",
    "Deep": "nested more than 100 levels",
    "DeepBehindText": "nested more than 100 levels",
    "DeepUnclosed": "nested more than 100 levels",
    "RatherDeep": "nested more than 100 levels",
    "Objects": "more values than can be held",
    "Numbers": "more values than can be held",
    "Bomb": "larger than 32 MiB",
    "BombWithinBomb": "compressed in another way than gzip",
    "Deflated": "compressed in another way than gzip",
    "BehindTheEnd": "larger than 32 MiB",
    "NoGzip": "no gzip although it says so",
    "HalfGzip": "gzip that breaks off",
    "NotANumber": "not JSON",
    "OddLink": "a link or a count that is none",
    "LinkElsewhere": "leads to another place",
    "LinkToItself": "leads to the same page",
    "EndlessHeaders": "broke off before an answer came",
    "Redirect": "HTTP 302",
}


@pytest.fixture(scope="module")
def boundless() -> Iterator[str]:
    with endless() as address:
        yield address


@pytest.fixture(scope="module")
def served(boundless: str, simulator_process: Simulator) -> Iterator[Served]:
    workspace = "00000000-0000-4000-8000-000000000001"
    elsewhere = {"MCP_LOG_ANALYTICS_WORKSPACE_ID": workspace, "MCP_LOG_ANALYTICS_URL": f"{boundless}/EndlessText"}
    with serving(simulator_process, **EVERYTHING, **elsewhere, D365FO_BASE_URL=boundless) as served:
        served.refuse("query_entities", entity_name="NotANumber")  # what is imported late is there
        yield served


class Memory:
    """What a process takes above now, at its most."""

    def __init__(self, pid: int) -> None:
        self.folder = Path(f"/proc/{pid}")
        self.idle = psutil.Process(pid).memory_info().rss
        (self.folder / "clear_refs").write_text("5")  # the peak begins anew

    def peak(self) -> int:
        status = (self.folder / "status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 - self.idle


def test_every_kind_of_answer_is_told_of() -> None:
    assert TOLD.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_out_of_bounds_ends_in_a_clear_error_with_little_memory(served: Served, kind: str) -> None:
    memory = Memory(served.host.pid)
    error = served.refuse("query_entities", entity_name=kind, top=10_000)
    assert TOLD[kind] in error["message"]
    assert "activity_id" not in error
    assert memory.peak() < MOST_BYTES
    assert error.get("hint") or kind in ("NotANumber", "OddLink", "LinkElsewhere")


def test_no_tool_takes_an_address_or_a_file(served: Served) -> None:
    arguments = {name for tool in served.tools() for name in tool.input_schema["properties"]}
    assert len(arguments) > 40
    assert not arguments & {"url", "uri", "host", "address", "endpoint", "base_url", "path", "file", "folder"}


@pytest.mark.parametrize("kind", ["EndlessText", "Deep", "Bomb"])
def test_a_write_whose_answer_is_out_of_bounds_may_have_been_done(served: Served, kind: str) -> None:
    memory = Memory(served.host.pid)
    error = served.refuse("create_entity_record", entity_name=kind, data={"Name": "x"})
    assert error["code"] == "outcome_unknown"
    assert "Query" in error["hint"]
    error = served.refuse("batch", operations=[{"operation": "create", "entity_name": kind, "data": {"Name": "x"}}])
    assert error["code"] == "outcome_unknown"
    assert memory.peak() < MOST_BYTES


def test_labels_and_schemas_have_bounds_of_their_own(served: Served) -> None:
    memory = Memory(served.host.pid)
    failures = served.call("get_labels", label_ids=[f"@SYS{number}" for number in range(40)])["failures"]
    assert set(failures.values()) == {"F&O's answer is larger than 64 KiB."}
    assert "larger than 8 MiB" in served.refuse("get_enumeration_fields", enumeration_name="NoYes")["message"]
    assert memory.peak() < MOST_BYTES


def test_statistics_have_their_bounds_too(served: Served) -> None:
    memory = Memory(served.host.pid)
    failure = served.call("get_server_performance")["statistics_failure"]
    assert failure["code"] == "telemetry"
    assert "MCP_LOG_ANALYTICS_URL" in failure["hint"]
    assert memory.peak() < MOST_BYTES


@pytest.mark.once
@pytest.mark.parametrize("kind", ["EndlessRows", "EndlessText", "Deep"])
def test_a_catalog_is_not_built_from_metadata_out_of_bounds(
    boundless: str, simulator: Simulator, tmp_path: Path, kind: str
) -> None:
    given = {"D365FO_BASE_URL": f"{boundless}/{kind}", "TMPDIR": str(tmp_path)}
    build = subprocess.run(
        [sys.executable, "-c", MEASURED, "catalog", "build"],
        cwd=ROOT,
        env={**os.environ, **simulator.identity_environment(), **given},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert build.returncode == 1, build.stderr
    assert "F&O's" in build.stderr
    assert "Traceback" not in build.stderr
    assert int(build.stdout.split()[-1]) * 1024 < MOST_BYTES  # all of the process
