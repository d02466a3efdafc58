"""The database process: its limits, its ways to end, and what a statement says that it did."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import d365mcp.sql
from d365mcp.settings import read_settings
from d365mcp.sql.processes import DatabaseProcess, DatabaseProcesses, ProcessLimits
from tests.simulated import Simulator
from tests.sql.in_process import InProcess, busy_child, children, in_process

COUNT = "SELECT count(*) AS n FROM CustomersV3"
LINES = "SalesOrderLinesV3"


@pytest.fixture(scope="module")
def server(simulator_process: Simulator) -> Iterator[InProcess]:
    simulator_process.reset()
    with in_process(simulator_process, MCP_SQL_CONCURRENCY="1") as server:
        yield server


def test_a_process_serves_one_statement_after_the_other(server: InProcess) -> None:
    assert server.run_sql(COUNT)["records"] == [{"n": 34}]
    first = children()
    assert server.run_sql(COUNT)["records"] == [{"n": 34}]
    assert children() == first and len(first) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_another_takes_the_place_of_one_that_ended(server: InProcess, number: signal.Signals) -> None:
    server.run_sql(COUNT)
    [process] = children()
    os.kill(process, number)
    assert server.run_sql(COUNT)["records"] == [{"n": 34}]
    assert children() != {process}


def test_one_that_ends_while_it_answers_is_named_and_the_next_statement_answered(server: InProcess) -> None:
    async def ended() -> dict[str, Any]:
        asking = asyncio.ensure_future(
            server.sql(
                f"SELECT count(*) FROM {LINES} a, {LINES} b, {LINES} c WHERE a.LineAmount + b.LineAmount > c.LineAmount"
            )
        )
        process = await asyncio.to_thread(busy_child)
        os.kill(process, signal.SIGKILL)
        return await asking

    error = server.loop.run(ended())
    assert error["code"] == "unavailable" and error["retryable"]
    assert "ended before it answered" in error["message"]
    assert server.run_sql(COUNT)["records"] == [{"n": 34}]


def test_who_waits_too_long_learns_that_all_places_are_taken(server: InProcess) -> None:
    async def waited() -> dict[str, Any]:
        endless = (
            f"SELECT count(*) FROM {LINES} a, {LINES} b, {LINES} c WHERE a.LineAmount + b.LineAmount > c.LineAmount"
        )
        taking = asyncio.ensure_future(server.sql(endless))
        await asyncio.to_thread(busy_child, 0.3)
        error = await server.sql(COUNT, 2.5)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        return error

    error = server.loop.run(waited())
    assert error["code"] == "busy" and "1 statement is being answered" in error["message"]


def test_a_process_sees_no_secret_and_no_code_but_its_own(server: InProcess) -> None:
    server.run_sql(COUNT)
    [process] = children()
    names = {each.split(b"=")[0] for each in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")}
    assert names <= {b"", b"LD_LIBRARY_PATH", b"MALLOC_MMAP_THRESHOLD_", b"MALLOC_TRIM_THRESHOLD_"}
    assert Path(f"/proc/{process}/cwd").readlink() == Path("/")
    opened = {each.readlink() for each in Path(f"/proc/{process}/fd").iterdir()}
    assert all(str(path).startswith(("pipe:", "/dev/null", "/proc/")) for path in opened), opened


def test_a_process_ends_with_its_server() -> None:
    code = (
        "import asyncio\nfrom d365mcp.sql.processes import DatabaseProcess, ProcessLimits\n"
        "process = DatabaseProcess(ProcessLimits())\n"
        "async def begin():\n    await process.call('reset')\n"
        "    print(process._process.pid, flush=True)\n"
        "    await process.call('query', sql='SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) c WHERE a.range + b.range + c.range < 0', max_rows=1, max_chars=9)\n"
        "asyncio.run(begin())"
    )

    async def begin_and_end() -> int:
        server = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        assert server.stdout
        process = int(await server.stdout.readline())
        await asyncio.sleep(0.5)
        server.kill()
        await server.wait()
        await asyncio.sleep(1)
        return process

    stat = Path(f"/proc/{asyncio.run(begin_and_end())}/stat")
    assert not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"  # where nobody reaps orphans


def test_where_no_process_can_be_started_the_tool_says_so(server: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    server.loop.run(asyncio.sleep(0.2))  # until the last one is put back
    server.app.databases.close()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    error = server.run_sql(COUNT)
    assert error["code"] == "unavailable" and "could not be started here" in error["message"]
    monkeypatch.undo()
    assert server.run_sql(COUNT)["records"] == [{"n": 34}]


def test_duckdb_is_in_the_database_process_alone() -> None:
    room = Path(d365mcp.sql.__file__).parent
    for path in Path(d365mcp.__file__).parent.rglob("*.py"):
        found = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [each.name for each in node.names]
                if isinstance(node, ast.Import)
                else [getattr(node, "module", None) or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        in_child = path.is_relative_to(room / "child")
        assert in_child or "simulator" in path.parts or not {"duckdb", "_duckdb"} & found, path
        if in_child:
            others = {name for name in found if name and name.split(".")[0] not in sys.stdlib_module_names}
            assert all(name.startswith("d365mcp.sql.child") or name == "_duckdb" for name in others), path


def test_a_process_starts_while_its_statement_is_planned() -> None:
    async def begun() -> list[int]:
        processes = DatabaseProcesses(ProcessLimits(concurrency=1))
        started = [len(children())]
        processes.begin()
        processes.begin()
        async with processes.process() as process:
            await process.call("reset")
            processes.begin()  # the only place is taken
            started.append(len(children()))
            process.end()
        await asyncio.sleep(0)
        processes.close()
        return started

    before, after = asyncio.run(begun())
    assert after == before + 1


def test_memory_is_shared_among_workers_and_statements() -> None:
    def limits(**settings: str) -> ProcessLimits:
        return ProcessLimits.of(
            read_settings({"D365FO_BASE_URL": "https://contoso.operations.dynamics.com", **settings})
        )

    assert limits() == ProcessLimits(2, 448)
    assert limits(FUNCTIONS_WORKER_PROCESS_COUNT="2") == ProcessLimits(2, 224)
    assert limits(MCP_SQL_CONCURRENCY="4", MCP_SQL_MEMORY_MB="4000") == ProcessLimits(4, 1000)
    assert limits(FUNCTIONS_WORKER_PROCESS_COUNT="10") == ProcessLimits(2, 160)


def test_pages_without_a_place_for_all_their_rows_are_cut() -> None:
    async def loaded() -> list[Any]:
        from d365mcp.sql.arrivals import ArrivedPage
        from d365mcp.sql.database import Database

        process = DatabaseProcess(ProcessLimits())
        table = Database(process).table("t1", [("A", "BIGINT")], 5)
        page = ArrivedPage(b'{"value":[{"A":1},{"A":2},{"A":3}]}')
        try:
            await table.clear()
            found: list[Any] = [await table.load(page), await table.load(page, skip_first=True), table.more]
            found += [await table.load(page), table.more, table.rows]
            await table.clear()
            return [*found, table.rows, await table.load(page)]
        finally:
            process.end()

    assert asyncio.run(loaded()) == [3, 2, False, 0, True, 5, 0, 3]


def test_a_statement_says_how_long_it_waited_and_what_would_have_saved_most(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d365mcp.sql.run._COSTLY_SECONDS", 0.0)
    result = server.run_sql(
        f"SELECT count(*) AS n FROM {LINES} l JOIN CustomersV3 c ON c.CustomerAccount = l.ItemNumber"
    )
    assert set(result["seconds"]) == {"d365", "database"} and min(result["seconds"].values()) > 0
    [note] = [note for note in result["notes"] if "would save most" in note]
    assert note.startswith(f"{LINES}: 12,165 rows took") and "a filter on" in note
