"""Dates mean in a statement what they mean to d365fo_query_entities: none is 1900-01-01 where it is compared, else nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator
from tests.sql.conftest import asked
from tests.sql.things import world

pytestmark = pytest.mark.alike

DAY = "2021-07-01"


@pytest.fixture(scope="module")
def things() -> Iterator[Served]:
    running = Simulator.start(world())
    with serving(running) as served:
        yield asked(served)
    running.stop()


def count(things: Served, condition: str, **arguments: Any) -> int:
    sql = f"SELECT count(*) AS n FROM Rows WHERE {condition}"
    return int(things.call("query_sql", sql=sql, cross_company=True, **arguments)["records"][0]["n"])


@pytest.mark.parametrize(
    ("condition", "filter"),
    [
        *((f"Closed {sql} '{day}'", f"Closed {odata} {day}") for day in ("1900-01-01", DAY)
          for sql, odata in (("=", "eq"), ("<>", "ne"), ("<", "lt"), ("<=", "le"), (">", "gt"), (">=", "ge"))),
        *((f"Created {sql} TIMESTAMP '{time}'", f"Created {odata} {time.replace(' ', 'T')}Z") for time in ("1900-01-01 00:00:00", f"{DAY} 12:00:00")
          for sql, odata in (("=", "eq"), ("<>", "ne"), ("<", "lt"), ("<=", "le"), (">", "gt"), (">=", "ge"))),
        (f"'{DAY}' >= Closed", f"Closed le {DAY}"),
        (f"NOT (Closed > '{DAY}')", f"not (Closed gt {DAY})"),
        (f"Closed BETWEEN '1900-01-01' AND '{DAY}'", f"Closed ge 1900-01-01 and Closed le {DAY}"),
        (f"Closed IN ('1900-01-01', '{DAY}')", f"Closed in (1900-01-01, {DAY})"),
        (f"Closed NOT IN ('{DAY}')", f"Closed ne {DAY}"),
        ("Closed IS NULL", "Closed eq null"),
        ("Closed IS NOT NULL", "Closed ne null"),
        ("Created IS NULL", "Created eq null"),
        ("year(Closed) < 2021", "year(Closed) lt 2021"),
        ("year(Closed) = 1900", "year(Closed) eq 1900"),
        ("Closed < Due", "Closed lt Due"),
        (f"Closed <= '{DAY}' AND Closed IS NOT NULL", f"Closed le {DAY} and Closed ne null"),
        *((f"Closed IS NOT DISTINCT FROM '{day}'", f"Closed eq {day}") for day in ("1900-01-01", DAY)),
        *((f"Closed IS DISTINCT FROM DATE '{day}'", f"Closed ne {day}") for day in ("1900-01-01", DAY)),
        ("Closed IS NOT DISTINCT FROM NULL", "Closed eq null"),
        (f"Closed BETWEEN SYMMETRIC '{DAY}' AND '1900-01-01'", f"Closed ge 1900-01-01 and Closed le {DAY}"),
        ("(Closed, LineNumber) = ('1900-01-01', 1)", "Closed eq 1900-01-01 and LineNumber eq 1"),
        ("(Closed, LineNumber) IN (('1900-01-01', 1), ('1900-01-01', 2))", "Closed eq 1900-01-01 and LineNumber le 2"),
        ("year(Closed) IS NOT DISTINCT FROM 1900", "year(Closed) eq 1900"),
        ("(Closed = '1900-01-01') IS TRUE", "Closed eq 1900-01-01"),
        ("coalesce(Closed, '1900-01-01') = '1900-01-01'", "Closed eq null"),
        ("CASE Closed WHEN '1900-01-01' THEN true END", "Closed eq null"),
        ("Closed IN (SELECT DATE '1900-01-01')", "Closed eq null"),
    ],
)  # fmt: skip
def test_a_statement_finds_what_the_filter_finds(things: Served, condition: str, filter: str) -> None:
    listed = things.call(
        "query_entities", entity_name="Rows", select=["HeadId"], filter=filter, top=1000, cross_company=True
    )
    assert count(things, condition) == len(listed["records"])
    sql = f"SELECT count(*) FILTER (WHERE {condition}) AS n FROM Rows"
    assert things.call("query_sql", sql=sql, cross_company=True)["records"] == [{"n": len(listed["records"])}]


def test_the_note_is_the_same_for_both(things: Served) -> None:
    listed = things.call(
        "query_entities", entity_name="Rows", select=["HeadId"], filter=f"Closed le {DAY}", company="usmf"
    )
    [note] = [note for note in listed["notes"] if "1900-01-01" in note]
    [other] = things.call("query_sql", sql=f"SELECT count(*) FROM Rows WHERE Closed <= '{DAY}'", company="usmf")[
        "notes"
    ]
    assert other == note.replace("Closed ne null", "Closed IS NOT NULL")
    for condition in (
        f"Closed > '{DAY}'",
        f"Closed <= '{DAY}' AND Closed IS NOT NULL",
        f"Closed BETWEEN '2020-01-01' AND '{DAY}'",
        f"Due <= '{DAY}'",
    ):
        sql = f"SELECT count(*) FROM Rows WHERE {condition}"
        assert "notes" not in things.call("query_sql", sql=sql, company="usmf")


@pytest.mark.parametrize(
    ("sql", "undated"),
    [
        ("SELECT 1 FROM Heads h JOIN Rows r ON r.HeadId = h.HeadId WHERE h.Due < '{0}' AND r.Due < '{0}'", []),
        ("SELECT 1 FROM Heads h JOIN Rows r ON r.HeadId = h.HeadId WHERE h.Due < '{0}' AND r.Closed < '{0}'", ["Closed"]),
        ("SELECT 1 FROM Heads WHERE Closed < '{0}' UNION SELECT 1 FROM Rows WHERE Closed > '{0}'", ["Closed"]),
        ("WITH w AS (SELECT Created AS c, Closed AS d FROM Rows) SELECT 1 FROM w WHERE c < '{0}' OR d < '{0}'", ["Closed", "Created"]),
        ("SELECT count(*) FILTER (WHERE Closed < '{0}') FROM Rows", ["Closed"]),
        ("SELECT count(*) FILTER (WHERE Closed < '{0}') FROM Rows WHERE Closed > '2000-01-01'", []),
        ("SELECT 1 FROM Rows WHERE Closed < '{0}' AND HeadId = 'none'", []),
    ],
)  # fmt: skip
def test_the_note_names_the_dates_that_some_record_has_not(things: Served, sql: str, undated: list[str]) -> None:
    result = things.call("query_sql", sql=sql.format(DAY), cross_company=True)
    names = [note.split(":")[0] for note in result.get("notes", ()) if "1900-01-01" in note]
    assert names == undated


def test_an_empty_date_is_nothing_where_it_is_not_compared(things: Served) -> None:
    empty, every = count(things, "Closed IS NULL"), count(things, "true")
    assert 0 < empty < every
    sql = """
        SELECT count(*) AS rows, count(Closed) AS closed, min(Closed) AS first, count(DISTINCT Closed) AS days,
               count(*) FILTER (WHERE date_diff('day', Closed, Due) > 20000) AS ages,
               count(*) FILTER (WHERE coalesce(Closed, DATE '2999-01-01') = '2999-01-01') AS never,
               count(*) FILTER (WHERE month(Closed) = 1 AND strftime(Closed, '%Y') = '1900') AS januaries
        FROM Rows
    """
    [row] = things.call("query_sql", sql=sql, cross_company=True)["records"]
    assert row == {
        "rows": every,
        "closed": every - empty,
        "first": "2020-02-29",
        "days": 6,
        "ages": 0,
        "never": empty,
        "januaries": 0,
    }
    found = things.call(
        "query_sql", sql="SELECT Closed, count(*) AS n FROM Rows GROUP BY Closed ORDER BY Closed", cross_company=True
    )
    assert {"Closed": None, "n": empty} in found["records"]
    assert [row["Closed"] for row in found["records"]][-1] is None


DAYS = (
    "date_trunc('month', Due)",
    "date_trunc('week', Due + 1)",
    "Due + INTERVAL 30 DAY",
    "Due - INTERVAL '3 months'",
    "INTERVAL 1 YEAR + Due",
    "Due + INTERVAL (Quantity) DAY",
    "Due + to_days(3)",
    "Due - to_months(Quantity)",
    "date_add(Due, INTERVAL 1 MONTH)",
    "date_trunc('year', CAST(Created AS DATE))",
    "date_trunc('quarter', coalesce(Closed, Due)) + INTERVAL 1 WEEK",
    "max(date_trunc('month', Due)) OVER ()",
    "CASE WHEN Quantity > 0 THEN Due + INTERVAL 1 DAY END",
    "(SELECT max(Due) FROM Heads) + INTERVAL 1 DAY",
    "last_day(Due) + INTERVAL 1 DAY",
)
TIMES = (
    "date_trunc('month', Created)",
    "Created + INTERVAL 1 DAY",
    "Due + INTERVAL 12 HOUR",
    "Due + to_hours(12)",
    "Due + INTERVAL '1 day 2 hours'",
    "least(Due, Created) + INTERVAL 1 DAY",
    "CASE WHEN Quantity > 0 THEN Due ELSE Created END",
)


@pytest.mark.parametrize(("written", "chars"), [*((each, 10) for each in DAYS), *((each, 20) for each in TIMES)])
def test_what_is_made_of_a_day_alone_is_a_day(things: Served, written: str, chars: int) -> None:
    for sql in (
        f"SELECT {written} AS d, Name FROM Rows",
        f"WITH w AS (SELECT {written} AS x FROM Rows) SELECT x AS d FROM w ORDER BY 1",
        f"SELECT DISTINCT {written} AS d FROM Rows UNION SELECT {written} FROM Rows",
    ):
        records = things.call("query_sql", sql=sql, company="usmf")["records"]
        assert {len(row["d"]) for row in records if row["d"]} == {chars}


def test_a_time_among_the_days_of_a_union_stays_one(things: Served) -> None:
    sql = "SELECT Due + INTERVAL 1 DAY AS d FROM Rows UNION ALL SELECT Created FROM Rows"
    records = things.call("query_sql", sql=sql, company="usmf")["records"]
    assert {len(row["d"]) for row in records if row["d"]} == {20}


@pytest.mark.parametrize(
    "sql",
    [
        "WITH w AS (SELECT Closed AS c FROM Rows) SELECT count(*) AS n FROM w WHERE c <= '2021-01-01'",
        "SELECT count(*) AS n FROM (SELECT DISTINCT HeadId, LineNumber, dataAreaId, Closed FROM Rows) WHERE Closed <= '2021-01-01'",
        "SELECT count(*) AS n FROM (SELECT Closed FROM Rows UNION ALL SELECT Closed FROM Rows WHERE false) WHERE Closed <= '2021-01-01'",
        "SELECT sum(n) AS n FROM (SELECT Closed, count(*) AS n FROM Rows GROUP BY ROLLUP (Closed)) WHERE Closed <= '2021-01-01'",
        "SELECT sum(n) AS n FROM (SELECT Closed, count(*) AS n FROM Rows GROUP BY ALL HAVING Closed <= '2021-01-01')",
        "SELECT count(*) AS n FROM Rows r WHERE EXISTS (SELECT 1 FROM Partners WHERE r.Closed <= '2021-01-01')",
        "SELECT sum(CASE WHEN Closed <= '2021-01-01' THEN 1 ELSE 0 END) AS n FROM Rows",
        "SELECT count(*) AS n FROM Rows r JOIN Rows s USING (dataAreaId, HeadId, LineNumber, Closed) WHERE Closed <= '2021-01-01'",
        "SELECT count(*) AS n FROM Rows r LEFT JOIN Rows s USING (dataAreaId, HeadId, LineNumber, Closed) WHERE Closed <= '2021-01-01'",
        "SELECT count(*) AS n FROM Rows r FULL JOIN Rows s USING (dataAreaId, HeadId, LineNumber, Closed) WHERE Closed <= '2021-01-01'",
        "SELECT count(*) AS n FROM Rows r NATURAL JOIN (SELECT dataAreaId, HeadId, LineNumber, Closed FROM Rows) s WHERE Closed <= '2021-01-01'",
        "SELECT count(*) AS n FROM Rows r, LATERAL (SELECT s.Closed FROM Rows s WHERE (s.dataAreaId, s.HeadId, s.LineNumber) = (r.dataAreaId, r.HeadId, r.LineNumber)) AS x WHERE x.Closed <= '2021-01-01'",
    ],
)
def test_an_empty_date_stays_one_through_ctes_and_subqueries(things: Served, sql: str) -> None:
    assert things.call("query_sql", sql=sql, cross_company=True)["records"] == [
        {"n": count(things, "Closed <= '2021-01-01'")}
    ]


def test_a_row_that_is_not_there_has_no_date(things: Served) -> None:
    """What an outer join makes up is before no day, unlike a record without a date."""
    sql = "SELECT count(*) AS n FROM Heads h LEFT JOIN Rows r ON r.HeadId = h.HeadId AND r.dataAreaId = h.dataAreaId AND r.Quantity = 99999 WHERE r.Closed {}"
    assert things.call("query_sql", sql=sql.format("<= '2021-01-01'"), cross_company=True)["records"] == [{"n": 0}]
    heads = things.call("query_sql", sql="SELECT count(*) AS n FROM Heads", cross_company=True)["records"]
    assert things.call("query_sql", sql=sql.format("IS NULL"), cross_company=True)["records"] == heads


@pytest.mark.parametrize(
    ("condition", "same"),
    [
        ("Created = '2021-07-01T14:00:00+02:00'", "Created = TIMESTAMP '2021-07-01 12:00:00'"),
        ("Created <= '2021-07-01 12:00:00.5'", "Created <= TIMESTAMP '2021-07-01 12:00:00'"),
        ("Due = '2021-07-01T12:00:00Z'", "Due = DATE '2021-07-01'"),
        ("Due = '2021/07/01'", "Due = DATE '2021-07-01'"),
        ("Due < '2021-07-01 23:59:59'", "Due <= DATE '2021-07-01'"),
        ("Due >= now() - INTERVAL 99 YEAR", "Due IS NOT NULL"),
        ("Due > current_date", "false"),
    ],
)
def test_text_and_the_clock_beside_a_date_are_read_as_dates(things: Served, condition: str, same: str) -> None:
    assert count(things, condition) == count(things, same)
