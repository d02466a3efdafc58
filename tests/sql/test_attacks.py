"""Nothing that is written into a statement takes the server's memory, its event loop, or other callers' time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.simulated import Simulator
from tests.sql.in_process import (
    MB,
    InProcess,
    busy_child,
    forget_peak,
    in_process,
    measured_delays,
    memory,
    wait_until_gone,
)

LINES = "SalesOrderLinesV3"
LOOP_SECONDS = 0.05
FLAT_BYTES = 20 * MB

# What is not run here, each with a word that its refusal has to say.
REFUSED = {
    # rows, lists and texts made of nothing
    "SELECT len(range(60000000)) FROM CustomersV3": "generate_series",
    "SELECT range(5000000) FROM CustomersV3": "generate_series",
    "SELECT CustomerAccount FROM CustomersV3 WHERE CreditLimit > len(range(60000000))": "generate_series",
    "SELECT len(generate_series(1, 60000000)) FROM CustomersV3": "generate_series",
    "SELECT len(list_sort(list_transform(range(30000000), lambda x: -x))) FROM CustomersV3": "not run",
    "SELECT list_transform([1, 2], x -> x + 1) FROM CustomersV3": "not run",
    "SELECT list_reduce([1, 2], lambda a, b: a + b) FROM CustomersV3": "not run",
    "SELECT list_filter([1, 2], lambda a: a > 1) FROM CustomersV3": "not run",
    "SELECT list_resize([1], 90000000) FROM CustomersV3": "list_resize",
    "SELECT list_aggregate([1], 'sum') FROM CustomersV3": "list_aggregate",
    "SELECT unnest(range(5)) FROM CustomersV3": "not run",
    "SELECT unnest([1, 2, 3]) FROM CustomersV3": "not run",
    "SELECT * FROM CustomersV3, unnest([1, 2, 3])": "not run",
    "SELECT * FROM CustomersV3, generate_series(1, 100000000)": "not",
    "SELECT * FROM CustomersV3, range(100000000)": "not",
    "SELECT * FROM CustomersV3, repeat_row(1, num_rows = 100000000)": "not",
    "SELECT repeat('x', 900000000) FROM CustomersV3": "repeat",
    "SELECT len('x'.repeat(900000000)) FROM CustomersV3": "repeat",
    "SELECT lpad('x', 900000000, 'y') FROM CustomersV3": "not run",
    "SELECT rpad('x', 900000000, 'y') FROM CustomersV3": "not run",
    "SELECT format('{:900000000d}', 1) FROM CustomersV3": "format",
    "SELECT printf('%900000000d', 1) FROM CustomersV3": "printf",
    "SELECT bar(1, 0, 1, 900000000) FROM CustomersV3": "bar",
    "SELECT [x for x in range(900000000)] FROM CustomersV3": "not run",
    "SELECT map([1], [2]) FROM CustomersV3": "map",
    "SELECT {'a': 1} FROM CustomersV3": "not run",
    "SELECT [1, 2][1] FROM CustomersV3": "not run",
    "SELECT [1, 2, 3][1:2] FROM CustomersV3": "not run",
    "SELECT histogram(CreditLimit) FROM CustomersV3": "histogram",
    "SELECT array_value(1, 2) FROM CustomersV3": "array_value",
    # side doors
    "SELECT * FROM CustomersV3, LATERAL query('SELECT 42 AS x')": "LATERAL",
    "SELECT * FROM query('SELECT 42')": "not an entity set",
    "SELECT * FROM query_table('CustomersV3')": "not an entity set",
    "SELECT * FROM CustomersV3, LATERAL duckdb_settings()": "LATERAL",
    "SELECT * FROM duckdb_settings()": "not an entity set",
    "SELECT * FROM duckdb_secrets()": "not an entity set",
    "SELECT * FROM duckdb_tables()": "not an entity set",
    "SELECT * FROM checkpoint()": "not an entity set",
    "SELECT * FROM force_checkpoint()": "not an entity set",
    "SELECT * FROM pragma_version()": "not an entity set",
    "SELECT * FROM information_schema.tables": "schema",
    "SELECT * FROM sniff_csv('/etc/passwd')": "not an entity set",
    "SELECT * FROM read_text('/etc/passwd')": "not an entity set",
    "SELECT * FROM read_blob('/proc/self/environ')": "not an entity set",
    "SELECT * FROM parquet_scan('x')": "not an entity set",
    "SELECT * FROM '/etc/passwd'": "passwd",
    "SELECT current_setting('memory_limit') FROM CustomersV3": "current_setting",
    "SELECT getenv('HOME') FROM CustomersV3": "getenv",
    "SELECT version() FROM CustomersV3": "version",
    "SELECT current_user FROM CustomersV3": "current_user",
    "SELECT current_database() FROM CustomersV3": "current_database",
    "SELECT nextval('x') FROM CustomersV3": "nextval",
    "SELECT txid_current() FROM CustomersV3": "txid_current",
    "SELECT error(OrganizationName) FROM CustomersV3": "error",
    "SELECT write_log('x') FROM CustomersV3": "write_log",
    "SELECT sleep_ms(60000) FROM CustomersV3": "sleep_ms",
    "SELECT getvariable('x') FROM CustomersV3": "getvariable",
    "SELECT json_serialize_sql('SELECT 1') FROM CustomersV3": "json_serialize_sql",
    "SELECT OrganizationName -> '$.a' FROM CustomersV3": "not run",
    "SELECT OrganizationName::JSON FROM CustomersV3": "type JSON",
    "SELECT CAST(OrganizationName AS STRUCT(a INT)) FROM CustomersV3": "type STRUCT",
    "SELECT CAST(OrganizationName AS INT[]) FROM CustomersV3": "type INT[]",
    "SELECT uuid() FROM CustomersV3": "uuid",
    # statement parts
    "SELECT * FROM CustomersV3 USING SAMPLE 10": "not run",
    "SELECT * FROM CustomersV3 TABLESAMPLE 10%": "not run",
    "PIVOT CustomersV3 ON CustomerGroupId USING count(*)": "SELECT",
    "SELECT * FROM (PIVOT CustomersV3 ON CustomerGroupId USING count(*))": "not run",
    "SELECT * FROM CustomersV3 UNPIVOT (v FOR n IN (CreditLimit))": "",
    "SELECT * FROM CustomersV3 POSITIONAL JOIN CustomerGroups": "POSITIONAL",
    "SELECT COLUMNS('.*') FROM CustomersV3": "COLUMNS",
    "SELECT * FROM CustomersV3 FOR UPDATE": "not run",
    "SELECT date() FROM CustomersV3": "too few",
    "SELECT 1 FROM " + ", ".join(f"CustomersV3 c{number}" for number in range(17)): "too large",
    "SELECT " + "+".join(["1"] * 6000) + " FROM CustomersV3": "",
    f"SELECT '{'x' * 5000}' FROM CustomersV3": "longer than",
    "SELECT " + "(" * 900 + "1" + ")" * 900 + " FROM CustomersV3": "",
}  # fmt: skip

# What its names allow, and a database of its own has to bear.
THREE = f"{LINES} a, {LINES} b, {LINES} c"
TWO = f"{LINES} a, {LINES} b"
ENDLESS = [
    f"SELECT count(*) FROM {THREE} WHERE a.LineAmount + b.LineAmount > c.LineAmount",
    f"SELECT sum(a.LineAmount * b.LineAmount + c.LineAmount) FROM {THREE}",
    f"SELECT max(levenshtein(a.ItemNumber || b.ItemNumber, c.ItemNumber)) FROM {THREE}",
    f"SELECT count(*) FROM {TWO} WHERE regexp_matches(a.ItemNumber || b.ItemNumber, '(a|b|ab)*c$')",
    f"SELECT count(*) FROM {THREE} WHERE strpos(a.ItemNumber || b.ItemNumber, c.ItemNumber) > 50",
]
GREEDY = [
    f"SELECT a.ItemNumber FROM {TWO} ORDER BY a.ItemNumber || b.ItemNumber",
    f"SELECT string_agg(a.ItemNumber, ',') FROM {TWO}",
    f"SELECT list(a.ItemNumber || b.ItemNumber) FROM {TWO}",
    f"SELECT DISTINCT a.InventoryLotId || b.InventoryLotId FROM {TWO}",
    f"SELECT median(a.LineAmount * b.LineAmount) FROM {TWO}",
]
DOUBLED = "SELECT s || s || s || s || s || s || s || s || s || s AS s FROM "
GROWING = (
    f"SELECT len(s) FROM ({DOUBLED * 7}(SELECT ItemNumber || 'xxxxxxxxxx' AS s FROM {LINES}){')' if False else ''}"
)


@pytest.fixture(scope="module")
def server(simulator_process: Simulator) -> Iterator[InProcess]:
    simulator_process.reset()
    with in_process(simulator_process) as server:
        server.run_sql("SELECT count(*) FROM CustomersV3")
        server.loop.run(server.app.endpoint.engine.get())  # what a server loads after its first answer
        yield server


def test_what_is_not_on_the_list_is_refused_by_name_before_anything_is_fetched(server: InProcess) -> None:
    async def refused() -> list[str]:
        wrong = []
        with measured_delays() as delays:
            for sql, word in REFUSED.items():
                error = await server.sql(sql)
                if not error["is_error"] or error["code"] not in ("invalid_argument", "unknown_name"):
                    wrong.append(f"{sql[:90]}: {error}")
                elif word.lower() not in error["message"].lower():
                    wrong.append(f"{sql[:90]}: {error['message']}")
        assert delays.most < LOOP_SECONDS
        return wrong

    server.simulator.reset()
    assert not server.loop.run(refused())
    assert not server.simulator.log("/data")


@pytest.mark.parametrize("sql", GREEDY)
def test_a_statement_that_wants_too_much_memory_is_refused(server: InProcess, sql: str) -> None:
    forget_peak()
    before = memory()
    error = server.run_sql(sql, 60)
    assert error["is_error"] and "MB it may use" in error["message"], error
    assert memory() - before < FLAT_BYTES


def test_ten_endless_statements_at_once_end_in_time_and_others_are_answered(server: InProcess) -> None:
    async def ordinary() -> list[float]:
        took = []
        for _ in range(15):
            began = time.perf_counter()
            found = await server.ask("query_entities", entity_name="CustomersV3", top=20)
            assert not found["is_error"]
            took.append(time.perf_counter() - began)
        return sorted(took)

    async def attacked() -> tuple[list[dict[str, Any]], float, float]:
        await ordinary()
        began = time.perf_counter()
        with measured_delays() as delays:
            *errors, took = await asyncio.gather(*(server.sql(sql, 5) for sql in ENDLESS * 2), ordinary())
            ended = time.perf_counter() - began
        assert took[-1] < 3, took
        return errors, ended, delays.most

    forget_peak()
    before = memory()
    errors, ended, delay = server.loop.run(attacked())
    assert {error["code"] for error in errors} == {"deadline_exceeded", "busy"}
    assert all("at once" in error["message"] for error in errors if error["code"] == "busy")
    assert ended < 6.5
    assert delay < LOOP_SECONDS
    assert memory() - before < FLAT_BYTES
    assert server.run_sql("SELECT count(*) AS n FROM CustomersV3")["records"] == [{"n": 34}]


def test_a_caller_who_goes_away_takes_the_statement_along(server: InProcess) -> None:
    async def left() -> None:
        asking = asyncio.ensure_future(server.sql(ENDLESS[0], 30))
        process = await asyncio.to_thread(busy_child)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.to_thread(wait_until_gone, process)

    server.run_sql("SELECT count(*) FROM CustomersV3")
    server.loop.run(left())
    assert server.run_sql("SELECT count(*) AS n FROM CustomersV3")["records"] == [{"n": 34}]
