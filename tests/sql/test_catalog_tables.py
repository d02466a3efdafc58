"""The catalog is a table too: what exists is asked with a statement, and F&O is asked nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulated import Simulator
from tests.sql.in_process import InProcess, in_process


@pytest.fixture(scope="module")
def server(simulator_process: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    simulator_process.reset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("catalog")))
        patch.setattr("tempfile.tempdir", None)
        with in_process(simulator_process, D365FO_LANGUAGES="en-us") as server:
            yield server


def test_without_a_catalog_the_way_out_is_named(server: InProcess) -> None:
    error = server.run_sql("SELECT count(*) FROM metadata.entities")
    assert error["code"] == "unavailable"
    assert "no catalog yet" in error["message"]
    assert "The search tools" in error["hint"]


@pytest.fixture(scope="module")
def built(server: InProcess) -> InProcess:
    async def build() -> None:
        assert await server.app.environment.builder.run(fresh=False, forced=True) == "built"
        await server.app.environment.snapshots.check()

    server.loop.run(build())
    server.simulator.reset()
    return server


def test_what_entities_have_a_property_and_may_be_written(built: InProcess) -> None:
    result = built.run_sql(
        "SELECT DISTINCT e.entity_set FROM metadata.properties p JOIN metadata.entities e ON e.entity_set = p.entity_set "
        "WHERE p.property LIKE '%Bank%' AND NOT e.is_read_only ORDER BY 1"
    )
    assert not result["is_error"], result
    assert result["row_count"] > 0
    assert set(result["rows_scanned"]) == {"metadata.properties", "metadata.entities"}
    assert not built.simulator.log("/")


def test_every_table_answers_as_the_tools_do(built: InProcess) -> None:
    schema = built.loop.run(built.ask("get_entity_schema", entity_name="CustomersV3"))
    found = built.run_sql(
        "SELECT property FROM metadata.properties WHERE entity_set = 'CustomersV3' AND is_key ORDER BY 1"
    )
    assert {each["property"] for each in found["records"]} == {"dataAreaId", "CustomerAccount"}
    assert schema
    for sql, least in (
        ("SELECT * FROM metadata.entities", 1),
        ("SELECT * FROM metadata.properties WHERE entity_set = 'CustomersV3'", 10),
        ("SELECT * FROM metadata.enumerations WHERE enumeration = 'NoYes' ORDER BY value", 2),
        ("SELECT * FROM metadata.actions", 1),
        ("SELECT * FROM metadata.labels WHERE language = 'en-us'", 1),
        ("SELECT m.member FROM metadata.enumerations AS m LIMIT 2", 2),
        ("SELECT metadata.entities.label FROM metadata.entities WHERE label IS NOT NULL", 1),
    ):
        result = built.run_sql(sql)
        assert not result["is_error"] and result["row_count"] >= least, (sql, result)
        assert "requests" in result and not result["requests"]


def test_the_catalog_is_joined_with_records(built: InProcess) -> None:
    result = built.run_sql(
        "SELECT e.label, count(*) AS n FROM CustomersV3 c JOIN metadata.entities e ON e.entity_set = 'CustomersV3' GROUP BY 1"
    )
    assert result["records"][0]["n"] == 34
    assert result["rows_scanned"]["CustomersV3"] == 34


def test_another_table_of_the_catalog_is_refused_with_those_there_are(built: InProcess) -> None:
    error = built.run_sql("SELECT 1 FROM metadata.entites")
    assert error["code"] == "unknown_name" and "metadata.entities" in error["message"]
    assert "without a schema" in built.run_sql("SELECT 1 FROM dbo.CustomersV3")["message"]
    for sql in ("SELECT name FROM metadata.entities", "SELECT e.name FROM metadata.entities e, CustomersV3 c"):
        error = built.run_sql(sql)
        assert "aot_name" in error["message"]
        assert "metadata.entities has entity_set, public_name, aot_name, " in error["hint"]
        assert "get_entity_schema" not in error["hint"]
