"""The server, its command and its starter where all that Unix alone has is gone, as on Windows: see `sitecustomize`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client

from tests.dev_host import ROOT
from tests.simulated import IDENTITY_HEADER

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
LAST_LINE = "Ctrl-C stops it."


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a process that is as bare as on Windows."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("D365FO_", "IDENTITY_", "MCP_"))}
    return {
        **own,
        "PATH": os.pathsep.join([str(HERE / "programs"), os.environ["PATH"]]),
        "PYTHONPATH": str(HERE),
        "PYTHONIOENCODING": "cp1252",  # what Windows takes for a pipe
        "PYTHONWARNDEFAULTENCODING": "1",
        "TMPDIR": str(folder),
        **settings,
    }


@dataclass
class Started:
    """`python infra/local/start.py` at work."""

    process: subprocess.Popen[str]
    output: str
    folder: Path

    @property
    def url(self) -> str:
        return re.findall(r"MCP endpoint: (\S+)", self.output)[0]

    def command(self, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run the operator's command over the same simulator and files."""
        simulator = re.findall(r"simulated \((\S+)\)", self.output)[0]
        identity = {"IDENTITY_ENDPOINT": f"{simulator}/msi/token", "IDENTITY_HEADER": IDENTITY_HEADER}
        return subprocess.run(
            [sys.executable, "-m", "d365mcp", *arguments],
            cwd=ROOT,
            env=environment(self.folder, D365FO_BASE_URL=simulator, **identity),
            input=given,
            capture_output=True,
            timeout=60,
        )

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        async def once() -> dict[str, Any]:
            async with Client(self.url) as client:
                result = await client.call_tool(f"d365fo_{tool}", arguments)
            assert not result.is_error, result
            return dict(result.structured_content or {})

        return asyncio.run(once())


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    command = [sys.executable, str(ROOT / "infra" / "local" / "start.py"), "--port", "0", "--devhost"]
    folder = tmp_path_factory.mktemp("windows")
    environ = environment(folder, MCP_TOOLSETS="all", MCP_CATALOG_REVALIDATE_SECONDS="1")
    with subprocess.Popen(
        command, cwd="/", env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        watchdog = threading.Timer(120, process.kill)
        watchdog.start()
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if LAST_LINE in line:
                break
        assert LAST_LINE in output, output
        said: list[str] = []
        reader = threading.Thread(target=said.extend, args=[process.stdout])
        reader.start()
        yield Started(process, output, folder)
        programs = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
            _, alive = psutil.wait_procs(programs, timeout=60)
            assert alive == []
        finally:
            for program in programs:  # one that is left would keep the pipe open
                with suppress(psutil.NoSuchProcess):
                    program.kill()
            watchdog.cancel()
            process.kill()
        reader.join()
        assert len(programs) >= 2, programs  # the simulator and the host, which may have a process for statements
        assert said[-1] == "Stopped.\n"
        assert [line for line in said if " WARNING " in line or " ERROR " in line] == []


def bare_python(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment(folder), capture_output=True, text=True, timeout=60
    )


def test_what_unix_alone_has_is_gone_here(tmp_path: Path) -> None:
    script = """
import os, pathlib, signal
found = []
def refuses(work, kind):
    try: work()
    except kind: found.append("refused")
    else: found.append("done")
folder = pathlib.Path(os.environ["TMPDIR"])
(folder / "there").write_text("x", encoding="utf-8")
with open(folder / "there", encoding="utf-8"):
    refuses(lambda: exec("import fcntl"), ImportError)
    refuses(lambda: os.geteuid, AttributeError)
    refuses(lambda: signal.SIGKILL, AttributeError)
    refuses((folder / "there").unlink, PermissionError)
    refuses(lambda: (folder / "there").replace(folder / "new"), PermissionError)
refuses(lambda: (folder / "a:b").write_text("x", encoding="utf-8"), OSError)
refuses(lambda: (folder / "there").read_text(), EncodingWarning)
refuses((folder / "there").unlink, PermissionError)
print(*found)
"""
    done = bare_python(tmp_path, script)
    assert done.stdout.split() == ["refused"] * 7 + ["done"], done.stderr


def test_the_types_know_everything_we_use_on_windows_too() -> None:
    """mypy has the standard library as it is on each system."""
    command = [sys.executable, "-m", "mypy", "--platform", "win32", "--cache-dir", ".mypy_cache/windows"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def built(started: Started) -> subprocess.CompletedProcess[bytes]:
    """Build the catalog, after the build that the starter began."""
    end = time.monotonic() + 60
    while b"Another build is under way" in (done := started.command("catalog", "build")).stderr:
        assert time.monotonic() < end, "the starter's build does not end"
    return done


def test_the_server_answers_and_takes_over_a_catalog_that_is_built_while_another_serves(started: Started) -> None:
    assert len(started.call("query_entities", entity_name="CustomersV3", top=2)["records"]) == 2
    counted = started.call("query_sql", sql="SELECT count(*) AS n FROM CustomersV3")["records"]
    assert counted[0]["n"] > 2
    served = set[str]()
    for _ in range(2):
        done = built(started)
        assert done.returncode == 0, done.stderr.decode()
        [pointer] = started.folder.glob("d365mcp/storage/catalog/*/pointer.json")
        file = json.loads(pointer.read_text())["file"]
        end = time.monotonic() + 60
        while not (started.folder / "d365mcp" / "catalog" / pointer.parent.name / file).exists():
            assert time.monotonic() < end, "the server does not take over the new catalog"
            assert started.call("search_entities", query="customers")["entities"]
        served.add(file)
    assert len(served) == 2, "there was nothing to take over"
    kept = {path.name for path in started.folder.glob("d365mcp/catalog/*/*.sqlite")}
    assert file in kept and len(kept) <= 2, "the one that serves, and one that is still read"
    assert [each for each in started.folder.glob("d365mcp/build/*/*") if each.is_dir()] == []


def test_the_command_checks_and_lists(started: Started) -> None:
    assert b"entities" in started.command("catalog", "status").stdout
    checked = started.command("check", "--json")
    assert {name: each["status"] for name, each in json.loads(checked.stdout).items()}["F&O"] == "pass", checked


def test_a_call_takes_and_gives_text_that_the_console_cannot_spell(started: Started) -> None:
    given = json.dumps({"query": "客户 customers"}, ensure_ascii=False).encode()
    done = started.command("call", "d365fo_search_entities", "-", given=b"\xef\xbb\xbf" + given)
    assert done.returncode == 0, done.stderr
    unknown = started.command("call", "d365fo_get_entity_schema", '{"entity_name": "Sälj→客户"}')
    assert "Sälj→客户" in json.loads(unknown.stdout.decode("cp1252"))["message"]


STORAGE = """
import pathlib, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from d365mcp.errors import StorageError
from d365mcp.storage import ChangedError, FolderStorage, private_folder
import d365mcp.storage
storage = FolderStorage(private_folder("storage"))
storage.put("c", "count", b"0")
path = storage.root / "c" / "count"
reading = threading.Event()
def read():
    while not reading.is_set():
        with path.open("rb"):
            time.sleep(0.002)
        time.sleep(0.002)
reader = threading.Thread(target=read); reader.start()
def add(_):
    while True:
        blob = storage.get("c", "count")
        try:
            storage.put("c", "count", str(int(blob.data) + 1).encode(), etag=blob.etag)
        except ChangedError:
            continue
        return
with ThreadPoolExecutor(4) as threads:
    list(threads.map(add, range(20)))
reading.set(); reader.join()
print(storage.get("c", "count").data.decode())
d365mcp.storage.IN_USE_SECONDS = 0.1
with path.open("rb"):
    for work in (lambda: storage.put("c", "count", b"1"), lambda: storage.delete("c", "count")):
        try: work()
        except StorageError as problem: print(problem.message)
storage.delete("c", "count")
print(storage.names("c", ""), [each.name for each in storage.root.rglob("*") if each.suffix != ".lock" and each.is_file()])
"""


SNAPSHOTS = """
from d365mcp.metadata.snapshot_cache import delete_others
from d365mcp.storage import private_folder
folder = private_folder("catalog")
old, new = folder / f"{'a' * 20}.sqlite", folder / f"{'b' * 20}.sqlite"
for path in (old, new):
    path.write_bytes(b"")
with old.open("rb"):
    delete_others(folder, new)
    print(old.exists())
delete_others(folder, new)
print(old.exists(), new.exists())
"""


def test_a_snapshot_that_is_still_read_is_deleted_later(tmp_path: Path) -> None:
    done = bare_python(tmp_path, SNAPSHOTS)
    assert done.stdout.split() == ["True", "False", "True"], done.stderr


def test_files_that_others_read_are_replaced_once_they_let_go(tmp_path: Path) -> None:
    done = bare_python(tmp_path, STORAGE)
    assert done.returncode == 0, done.stderr
    count, first, second, left = done.stdout.splitlines()
    assert count == "20"
    assert "another program" in first and first == second
    assert left == "[] []"
