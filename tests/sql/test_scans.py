"""Scans of several pages are read side by side: as fast as F&O bears, never more at once, and as if read one by one."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest
import sqlglot

from d365mcp.errors import InvalidArgument
from d365mcp.sql import allowed
from d365mcp.sql.plan import is_plain
from d365mcp.sql.processes import DatabaseProcess, ProcessLimits
from d365mcp.sql.reading import Places
from d365mcp.sql.scans import Range, ReadingPace, edges, ranges, records_in
from tests.sql.asking import QUICK, asking
from tests.sql.standin import Standin

IDS = "SELECT ItemId FROM Items"
COUNTS = "SELECT count(*) AS n, count(DISTINCT ItemId) AS ids, sum(Amount) AS total FROM Items"


@pytest.fixture(scope="module")
def process() -> Iterator[DatabaseProcess]:
    running = DatabaseProcess(ProcessLimits())
    yield running
    running.end()


def options(request: str) -> dict[str, str]:
    return {name: value[0] for name, value in parse_qs(urlsplit(request).query).items()}


def quick(rows: int, **behaviour: Any) -> Standin:
    return Standin(**{"rows": rows, "page_rows": 100, "seconds": 0.03, **behaviour})


# Ranges, apart from I/O


@pytest.mark.parametrize(
    ("total", "wanted", "expected"),
    [
        (0, 1000, []),
        (100, 1000, []),
        (101, 1000, [Range(99, None)]),
        (199, 1000, [Range(99, None)]),
        (200, 1000, [Range(99, 100), Range(198, None)]),
        (1000, 250, [Range(99, 100), Range(198, 52)]),
        (250, 250, [Range(99, 100), Range(198, None)]),
        (1000, 100, []),
    ],
)
def test_ranges_are_together_what_is_wanted(total: int, wanted: int, expected: list[Range]) -> None:
    assert [*ranges(total, wanted, 100)] == expected


def test_each_range_begins_with_the_last_record_of_the_one_before() -> None:
    dice = random.Random(5)  # noqa: S311 - not for secrets
    for _ in range(200):
        total, wanted, rows = dice.randint(0, 5000), dice.randint(1, 6000), dice.randint(2, 700)
        end = min(rows, total)
        for part in ranges(total, wanted, rows):
            assert part.skip == end - 1
            end = min(part.skip + (part.top or total), total)
        assert end == min(total, max(wanted, rows))


def test_edges_are_read_from_the_bytes() -> None:
    text = r'"Name":"a \"@odata.etag\":\"no\" \\"'
    body = f'{{"value":[{{"@odata.etag":"W/\\"1\\"",{text}}},{{"@odata.etag":"W/\\"2\\"",{text}}}]}}'.encode()
    found = edges(body)
    assert found is not None
    assert (found.first, found.last) == (rb'"W/\"1\""', rb'"W/\"2\""')
    assert records_in(body) == 2
    assert edges(b'{"value":[]}') is None


def test_only_what_is_slow_and_much_slower_is_dear() -> None:
    pace = ReadingPace()
    assert pace.is_dear(1.0, 3.1)
    assert not pace.is_dear(1.0, 2.9)
    assert not pace.is_dear(0.01, 0.7)


# Against a stand-in


def test_pages_are_read_side_by_side_and_never_more_than_four_at_once(process: DatabaseProcess) -> None:
    with asking(quick(1_500), process) as asked:
        (answer,) = asked.ask(IDS)
    assert [row[0] for row in answer.rows.rows] == asked.standin.keys
    assert answer.notes == []
    assert 2 <= asked.standin.peak <= 4


def test_all_statements_together_have_no_more_than_four_at_once(process: DatabaseProcess) -> None:
    joined = "SELECT count(*) FROM Items a JOIN Items b ON a.ItemId = b.ItemId AND b.Status = 'Open' AND a.Amount > 0"
    with asking(quick(1_000), process) as asked:
        asked.ask(joined, COUNTS)
    assert 2 <= asked.standin.peak <= 4


@pytest.mark.parametrize("most", [1, 2, 8])
def test_the_operator_says_how_many_are_asked_at_once(process: DatabaseProcess, most: int) -> None:
    with asking(quick(1_200), process, places=Places(most)) as asked:
        (answer,) = asked.ask(COUNTS)
    assert answer.rows.rows[0][:2] == (1_200, 1_200)
    assert asked.standin.peak <= most


def test_few_records_cost_one_request(process: DatabaseProcess) -> None:
    with asking(quick(50, seconds=0.0), process, pace=ReadingPace(page_rows=100)) as asked:
        asked.ask(IDS)
        asked.ask(f"{IDS} LIMIT 5")
        asked.ask(f"{IDS} WHERE ItemId = 'K00000001'")
    assert len(asked.standin.requests) == 3


def test_a_slow_first_page_is_counted_meanwhile(process: DatabaseProcess) -> None:
    with asking(quick(50, seconds=0.3), process) as asked:
        asked.ask(IDS)
        assert len(asked.standin.requests) == 2
        asked.ask(f"{IDS} LIMIT 5")
    assert len(asked.standin.requests) == 3


def test_a_set_that_refuses_an_order_is_read_in_sequence(process: DatabaseProcess) -> None:
    with asking(quick(450, refuses=("$orderby",)), process) as asked:
        (answer,) = asked.ask(IDS)
    assert [row[0] for row in answer.rows.rows] == asked.standin.keys
    assert not [
        request for request in asked.standin.requests if "$skip" in options(request) and "$orderby" not in request
    ]
    assert answer.notes == []


@pytest.mark.parametrize(
    "behaviour", [{"counts": False}, {"etags": False}, {"refuses": ("$skip",)}], ids=["count", "etags", "skip"]
)
def test_what_f_and_o_refuses_is_done_without(process: DatabaseProcess, behaviour: dict[str, Any]) -> None:
    with asking(quick(450, **behaviour), process) as asked:
        (answer,) = asked.ask(IDS)
    assert [row[0] for row in answer.rows.rows] == asked.standin.keys
    assert answer.notes == []


def test_pages_shorter_than_ten_thousand_are_learned_from_the_first(process: DatabaseProcess) -> None:
    with asking(quick(450, page_rows=60), process) as asked:
        (answer,) = asked.ask(IDS)
    assert [row[0] for row in answer.rows.rows] == asked.standin.keys
    assert answer.notes == []


def test_throttling_halves_what_is_asked_at_once(process: DatabaseProcess) -> None:
    with asking(quick(1_500, most=2), process) as asked:
        began = time.perf_counter()
        (answer,) = asked.ask(COUNTS)
        took = time.perf_counter() - began
    assert answer.rows.rows[0][:2] == (1_500, 1_500)
    assert took > 1.0  # Retry-After is a second
    assert asked.standin.turned_away <= 4


def test_where_places_deep_in_the_set_are_dear_the_rest_is_read_by_links(process: DatabaseProcess) -> None:
    with asking(quick(3_000, seconds=0.02, deep=20.0), process) as asked:
        (answer,) = asked.ask(IDS)
    assert [row[0] for row in answer.rows.rows] == asked.standin.keys
    skips = [int(options(request)["$skip"]) for request in asked.standin.requests if "$skip=" in request]
    assert max(skips) < 2_000
    assert any("$skiptoken" in request for request in asked.standin.requests)


def test_more_rows_than_may_be_read_are_refused_before_they_are_read(process: DatabaseProcess) -> None:
    with asking(quick(20_000), process, max_rows_scanned=10_000) as asked:  # 100 pages may be read
        with pytest.raises(InvalidArgument) as refused:
            asked.ask(COUNTS)
        assert "20,000 rows, more than 10,000 rows" in refused.value.message
        assert len(asked.standin.requests) < 30
    with asking(quick(2_000), process, max_rows_scanned=1_000, allow_partial=True) as asked:
        (answer,) = asked.ask(COUNTS)
    assert answer.partial
    assert answer.rows.rows[0][:2] == (1_000, 1_000)


# While records come and go


def changes(kind: str, seed: int) -> Any:
    """Return what changes the stand-in's records while it is read."""
    dice = random.Random(seed)  # noqa: S311 - not for secrets

    def change(standin: Standin, requests: int) -> None:
        for _ in range(dice.choice((0, 0, 1, 2)) if requests > 1 else 0):
            key = dice.choice(standin.keys)
            if kind in ("insert", "both"):
                standin.insert(f"{key}x{dice.randint(0, 9999)}")
            if kind in ("delete", "both"):
                standin.keys.remove(dice.choice(standin.keys))
            if kind == "update":
                standin.update(key)

    return change


@pytest.mark.parametrize(
    ("kind", "behaviour"),
    [
        ("insert", {}),
        ("delete", {}),
        ("both", {}),
        ("update", {}),
        ("insert", {"etags": False}),
        ("delete", {"etags": False}),
        ("insert", {"refuses": ("$orderby",)}),
    ],
)
def test_what_stood_unchanged_appears_once_or_a_note_says_that_the_set_changed(
    process: DatabaseProcess, kind: str, behaviour: dict[str, Any]
) -> None:
    with_notes = 0
    for seed in range(3):
        standin = quick(700, seconds=0.005, after=changes(kind, seed), **behaviour)
        before = set(standin.keys)
        with asking(standin, process, pace=ReadingPace(page_rows=100, count_after=0.002)) as asked:
            (answer,) = asked.ask(IDS)
        stood = before & set(standin.keys)
        came = [row[0] for row in answer.rows.rows if row[0] in stood]
        with_notes += any("changed" in note or "counts" in note for note in answer.notes)
        assert answer.notes or (len(came) == len(stood) == len(set(came))), (seed, len(came), len(stood))
    assert with_notes or kind == "update"


def test_a_set_that_changed_is_read_again_in_order(process: DatabaseProcess) -> None:
    def once(standin: Standin, requests: int) -> None:
        if requests == 4:
            standin.insert("K00000005x1")

    with asking(quick(700, after=once), process) as asked:
        (answer,) = asked.ask(IDS)
    assert [row[0] for row in answer.rows.rows] == asked.standin.keys
    assert any("changed while it was read" in note for note in answer.notes)
    assert any("$skiptoken" in request for request in asked.standin.requests)


# As if read one by one


@pytest.mark.parametrize("statements", [40, pytest.param(120, marks=pytest.mark.once)])
def test_statements_are_answered_as_in_sequence(process: DatabaseProcess, statements: int) -> None:
    dice = random.Random(20261130)  # noqa: S311 - not for secrets
    with asking(Standin(rows=230, page_rows=60), process, pace=QUICK) as side_by_side:
        asked = [statement(dice) for _ in range(statements)]
        together = [side_by_side.ask(sql)[0].rows.rows for sql in asked]
        peak = side_by_side.standin.peak
    with asking(Standin(rows=230, page_rows=60, counts=False), process, places=Places(1)) as in_sequence:
        one_by_one = [in_sequence.ask(sql)[0].rows.rows for sql in asked]
    assert together == one_by_one
    assert peak > 1


def statement(dice: random.Random) -> str:
    """Return a statement of many pages; some without an order of their own."""
    columns = dice.sample(["ItemId", "Status", "Amount", "Day", "Serial"], dice.randint(1, 3))
    where = dice.choice(
        ["", f" WHERE Amount + 1 > {dice.randint(0, 9000)}", " WHERE Status LIKE '%n%e%'", " WHERE length(ItemId) = 9"]
    )
    return dice.choice(
        [
            f"SELECT {', '.join(columns)} FROM Items{where}",
            f"SELECT {', '.join(columns)} FROM Items{where} LIMIT {dice.randint(1, 300)} OFFSET {dice.randint(0, 200)}",
            f"SELECT Status, count(*), sum(Amount), min(Day) FROM Items{where} GROUP BY 1 ORDER BY 1",
            f"SELECT ItemId, row_number() OVER (ORDER BY Serial DESC) FROM Items{where} ORDER BY 2 LIMIT 20",
            f"SELECT a.ItemId FROM Items a JOIN Items b ON a.Serial = b.Serial + 1{where.replace('Amount', 'a.Amount').replace('Status', 'a.Status').replace('(ItemId', '(a.ItemId')} ORDER BY 1",
        ]
    )


# Ends early


@pytest.mark.parametrize(
    ("sql", "rows", "pages"),
    [
        ("SELECT ItemId FROM Items WHERE Amount + 1 > 0 LIMIT 5", 5, 1),
        ("SELECT ItemId FROM Items WHERE length(ItemId) = 9 LIMIT 5 OFFSET 90", 5, 1),
        ("SELECT ItemId FROM Items WHERE length(ItemId) = 9 LIMIT 5 OFFSET 150", 5, 2),
        ("SELECT upper(Status) || '!' AS s, round(Amount) FROM Items WHERE Status LIKE '%p%n' LIMIT 3", 3, 1),
        ("SELECT CASE WHEN Amount > 1 THEN ItemId END FROM Items WHERE ItemId LIKE 'K%0%1' LIMIT 3", 3, 1),
        ("SELECT regexp_replace(ItemId, 'K0*', '') FROM Items LIMIT 3", 3, 1),
        ("SELECT ItemId FROM Items WHERE Amount + 1 > 0 LIMIT 0", 0, 1),
        ("SELECT ItemId FROM Items WHERE Amount + 1 < 0 LIMIT 5", 0, 10),
        ("SELECT ItemId FROM Items WHERE Amount + 1 > 0 ORDER BY Status LIMIT 5", 5, 10),
        ("SELECT DISTINCT Status FROM Items WHERE Amount + 1 > 0 LIMIT 2", 2, 10),
        ("SELECT Status, count(*) FROM Items WHERE Amount + 1 > 0 GROUP BY 1 LIMIT 2", 2, 10),
        ("SELECT count(*) FROM Items WHERE Amount + 1 > 0 LIMIT 1", 1, 10),
        ("SELECT kahan_sum(Amount) FROM Items WHERE Amount + 1 > 0 LIMIT 1", 1, 10),
        ("SELECT ItemId, row_number() OVER (ORDER BY Amount) FROM Items WHERE Amount + 1 > 0 LIMIT 2", 2, 10),
        ("SELECT a.ItemId FROM Items a JOIN Items b ON a.Serial = b.Serial + 1 LIMIT 2", 2, 10),
        ("SELECT ItemId FROM Items UNION ALL SELECT Status FROM Items LIMIT 2", 2, 10),
        ("SELECT ItemId FROM Items WHERE Amount > (SELECT avg(Amount) FROM Items) LIMIT 2", 2, 10),
        ("SELECT ItemId FROM Items WHERE random() < 2 LIMIT 2", 2, 10),
    ],
)  # fmt: skip
def test_a_statement_ends_when_it_has_enough(process: DatabaseProcess, sql: str, rows: int, pages: int) -> None:
    with asking(quick(930, seconds=0.0), process) as asked:
        (answer,) = asked.ask(sql)
        assert len(answer.rows.rows) == rows
        counted = sum("$count" in request for request in asked.standin.requests)
        assert pages <= len(asked.standin.requests) - counted <= pages + 1
    with asking(quick(930, seconds=0.0, counts=False), process) as asked:
        (whole,) = asked.ask(f"SELECT * FROM ({sql})")
    assert pages == 10 or answer.rows.rows == whole.rows.rows


def test_every_aggregate_that_may_be_called_is_known_as_one() -> None:
    """Else a statement with it might end early."""
    found = duckdb.sql(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    ).fetchall()
    unknown = []
    for name in sorted({name for (name,) in found} & allowed._FUNCTIONS):
        for arguments in ("Amount", "Amount, Serial"):
            call = f"SELECT {name}({arguments}) FROM Items LIMIT 1"
            if is_plain(sqlglot.parse_one(call, read="duckdb", error_level=sqlglot.ErrorLevel.IGNORE)):  # type: ignore[arg-type]
                unknown.append(call)
    assert len(found) > 50
    assert not unknown
