"""A large set is asked for the values that a small one has, where that saves requests; no answer depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from d365mcp.sql import partners as partners_of_scans
from d365mcp.sql import semi_joins
from d365mcp.sql.answers import StatementAnswer
from d365mcp.sql.plan import plan, prepared
from d365mcp.sql.semi_joins import Partner, narrowness, reading_order, value_filters
from d365mcp.sql.statement import parse, table_names
from tests.served import Served
from tests.simulated import Simulator
from tests.sql.statements import Author, Pair
from tests.sql.things import KEYS
from tests.sql.trial import Trial, as_set, tried

pytestmark = pytest.mark.alike

LINES, HEADERS = "SalesOrderLinesV3", "SalesOrderHeadersV2"
PAGE_ROWS = 5  # so that every set has several pages


class SemiJoinTrial(Trial):
    """Counts the statements of which a scan was asked for another one's values."""

    narrowed = 0

    def answer(self, sql: str, **arguments: Any) -> StatementAnswer:
        answer = super().answer(sql, **arguments)
        self.narrowed += any("read only where" in note or "not read" in note for note in answer.notes)
        return answer


class Joiner(Author):
    """Writes statements of several tables."""

    def shape(self) -> Callable[[], Pair]:
        return self.dice.choice(
            [self.joined, self.joined, self.subquery, self.using, self.lateral, self.cte, self.mixed]
        )


@pytest.fixture(scope="module")
def trial(things: Simulator) -> Iterator[SemiJoinTrial]:
    trial = SemiJoinTrial(things, dict.fromkeys(KEYS, ()))
    things.control(page_size=PAGE_ROWS)
    yield trial
    trial.close()


# Planning


def partners(trial: Trial, sql: str) -> dict[str, set[str]]:
    """Return, by entity set, the columns that have a partner, as `column=set.column`."""
    tree = parse(sql)
    planned = plan(prepared(tree, {name: trial.entities[name] for name in table_names(tree)}), {})
    names = {scan.name: scan.entity.entity_set for scan in planned.scans}
    return {
        names[scan.name]: {f"{each.column}={names[each.scan]}.{each.its_column}" for each in scan.partners}
        for scan in planned.scans
        if scan.partners
    }


HEADS = "Rows.HeadId"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT r.Name FROM Heads h JOIN Rows r ON r.HeadId = h.HeadId", {"Rows": {"HeadId=Heads.HeadId"}, "Heads": {"HeadId=Rows.HeadId"}}),
        ("SELECT r.Name FROM Rows r WHERE r.HeadId IN (SELECT HeadId FROM Heads)", {"Rows": {"HeadId=Heads.HeadId"}, "Heads": {"HeadId=Rows.HeadId"}}),
        ("SELECT r.Name FROM Rows r WHERE EXISTS (SELECT 1 FROM Heads h WHERE h.HeadId = r.HeadId)", {"Rows": {"HeadId=Heads.HeadId"}, "Heads": {"HeadId=Rows.HeadId"}}),
        ("SELECT r.Name FROM Rows r SEMI JOIN Heads h ON h.HeadId = r.HeadId", {"Rows": {"HeadId=Heads.HeadId"}, "Heads": {"HeadId=Rows.HeadId"}}),
        # Rows without a partner are wanted too, but no partners of what is not there.
        ("SELECT r.Name FROM Rows r LEFT JOIN Heads h ON h.HeadId = r.HeadId", {"Heads": {"HeadId=Rows.HeadId"}}),
        ("SELECT r.Name FROM Rows r ANTI JOIN Heads h ON h.HeadId = r.HeadId", {"Heads": {"HeadId=Rows.HeadId"}}),
        ("SELECT r.Name FROM Rows r WHERE NOT EXISTS (SELECT 1 FROM Heads h WHERE h.HeadId = r.HeadId)", {"Heads": {"HeadId=Rows.HeadId"}}),
        ("SELECT r.Name FROM Rows r FULL JOIN Heads h ON h.HeadId = r.HeadId", {}),
        ("SELECT r.Name FROM Rows r WHERE r.HeadId NOT IN (SELECT HeadId FROM Heads)", {}),
        ("SELECT r.Name FROM Rows r, Heads h WHERE r.HeadId > h.HeadId", {}),
        ("SELECT r.Name FROM Rows r WHERE r.HeadId IN (SELECT HeadId FROM Heads) OR r.Quantity = 1", {}),
        # What equals the same is equal, through another table, a CTE, a group or USING.
        ("SELECT 1 FROM Heads h JOIN Rows r ON r.HeadId = h.HeadId JOIN Partners p ON p.PartnerId = r.PartnerId", {"Heads": {"HeadId=Rows.HeadId"}, "Rows": {"HeadId=Heads.HeadId", "PartnerId=Partners.PartnerId"}, "Partners": {"PartnerId=Rows.PartnerId"}}),
        ("WITH w AS (SELECT HeadId AS id, sum(Amount) AS n FROM Heads GROUP BY 1) SELECT 1 FROM w JOIN Rows r ON r.HeadId = w.id", {"Rows": {"HeadId=Heads.HeadId"}, "Heads": {"HeadId=Rows.HeadId"}}),
        ("SELECT 1 FROM Heads JOIN Rows USING (HeadId)", {"Rows": {"HeadId=Heads.HeadId"}, "Heads": {"HeadId=Rows.HeadId"}}),
        # A group has all of its rows, a bound its first ones, whoever wants them.
        ("SELECT 1 FROM (SELECT HeadId, PartnerId FROM Heads ORDER BY Amount LIMIT 3) w JOIN Rows r ON r.HeadId = w.HeadId", {"Rows": {"HeadId=Heads.HeadId"}}),
        ("SELECT 1 FROM (SELECT Kind, max(HeadId) AS id FROM Heads GROUP BY 1) w JOIN Rows r ON r.HeadId = w.id", {}),
        # Of two tables that are read as one, each may have partners of its own; a company is no value.
        ("SELECT 1 FROM Heads a JOIN Heads b ON a.HeadId = b.PartnerId", {}),
        ("SELECT 1 FROM Heads a JOIN Rows r ON a.dataAreaId = r.dataAreaId", {}),
        ("SELECT 1 FROM Heads a JOIN Rows r ON a.Amount = r.Amount AND a.Due = r.Due AND a.Kind = r.Blocked", {}),
    ],
)  # fmt: skip
def test_a_column_has_a_partner_where_no_row_without_one_matters(
    trial: SemiJoinTrial, sql: str, expected: dict[str, set[str]]
) -> None:
    assert partners(trial, sql) == expected


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ("HeadId eq '1'", "Name eq 'x'"),
        ("Name in ('x','y')", "Due gt 2021-01-01"),
        ("Due gt 2021-01-01", "Kind eq 'Open'"),
        ("Kind eq 'Open'", ""),
        ("Kind eq 'Open'", "dataAreaId eq 'usmf'"),
        ("(HeadId eq '1') and (Kind eq 'Open')", "HeadId eq '1' or Kind eq 'Open'"),
    ],
)
def test_filters_are_ranked_by_how_far_they_narrow(trial: SemiJoinTrial, narrow: str, wide: str) -> None:
    entity = trial.entities["Heads"]
    assert narrowness(narrow, entity) < narrowness(wide, entity)


def test_a_scan_waits_for_those_that_are_narrower_and_never_in_a_circle() -> None:
    links = {"a": [Partner("x", "b", "x")], "b": [Partner("x", "a", "x"), Partner("y", "c", "y")], "c": [Partner("y", "b", "y")]}  # fmt: skip
    assert reading_order({"a": 0, "b": 4, "c": 4}, links) == {"a": set(), "b": {"a"}, "c": {"b"}}
    assert reading_order({"a": 4, "b": 4, "c": 4}, links) == {"a": set(), "b": set(), "c": set()}


# Filters


def test_values_that_f_and_o_takes_for_equal_stand_in_one_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semi_joins, "LEAST_ROOM", 40)
    values = ["beta", "Beta ", "BETA", "alpha", "gamma"]
    (found,) = value_filters({Partner("Name", "t1", "Name"): values}, 1_480)
    assert len(found.texts) == 3
    assert "('BETA','Beta ','beta')" in found.texts[1]


@pytest.mark.parametrize("value", ["straße", "ｗｉｄｅ", "x" * 2_000])
def test_values_that_fit_no_filter_or_may_be_equal_in_other_ways_are_not_taken_apart(value: str) -> None:
    many = [f"{number:05}" for number in range(300)]
    assert len([*value_filters({Partner("Name", "t1", "Name"): many}, 0)]) == 1
    assert not [*value_filters({Partner("Name", "t1", "Name"): [*many, value]}, 0)]
    assert len([*value_filters({Partner("Name", "t1", "Name"): [value]}, 0)]) == (len(value) < 1_000)


def test_a_wildcard_is_never_asked_for() -> None:
    assert not [*value_filters({Partner("Name", "t1", "Name"): ["a*", "b"]}, 0)]


def test_small_lists_are_asked_for_together_and_a_long_one_alone() -> None:
    long = Partner("Id", "t1", "Id")
    few = [Partner("Name", "t1", "Name"), Partner("Line", "t1", "Line", is_number=True)]
    ways = [*value_filters({long: [f"{n:06}" for n in range(200)], few[0]: ["O'Hare"], few[1]: ["7"]}, 100)]
    assert ways[0].texts == ("(Line in (7)) and (Name in ('O''Hare'))",)
    assert len(ways[1].texts) > 2
    assert ways[1].values == {long: 200}


def test_where_there_is_no_value_nothing_is_asked_for() -> None:
    (found,) = value_filters({Partner("Name", "t1", "Name"): [], Partner("Id", "t2", "Id"): ["1"]}, 0)
    assert found.texts == ()


# Answers


Links = dict[str, Sequence[Partner]]


def one_after_the_other(monkeypatch: pytest.MonkeyPatch, *, backwards: bool) -> None:
    """Let every scan wait for those before it, or behind it, however narrow they are: then most have values to ask for."""

    def order(narrowness: dict[str, int], links: Links) -> dict[str, frozenset[str]]:
        return {
            name: frozenset(each.scan for each in others if (each.scan < name) != backwards)
            for name, others in links.items()
        }

    monkeypatch.setattr(partners_of_scans, "reading_order", order)
    monkeypatch.setattr(partners_of_scans, "_PATIENCE_SECONDS", 60.0)


def test_an_answer_is_the_same_with_and_without_semi_joins(
    trial: SemiJoinTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_after_the_other(monkeypatch, backwards=False)
    check(trial, Joiner(11), 40)


@pytest.mark.once
@pytest.mark.parametrize(("seed", "room", "backwards"), [(2026, 375, False), (12, 30, True)])
def test_a_hundred_answers_each_are_the_same(
    trial: SemiJoinTrial, monkeypatch: pytest.MonkeyPatch, seed: int, room: int, backwards: bool
) -> None:
    """With little room most values are asked for in several parts."""
    one_after_the_other(monkeypatch, backwards=backwards)
    monkeypatch.setattr(semi_joins, "LEAST_ROOM", room)
    monkeypatch.setattr(semi_joins, "MAX_FILTER_CHARS", 4 * room)
    check(trial, Joiner(seed), 100)


def check(trial: SemiJoinTrial, author: Author, statements: int) -> None:
    before = trial.narrowed
    wrong, counts = tried(trial, author, statements)
    assert not wrong, "\n\n".join(wrong[:5])
    assert trial.narrowed - before > statements * 0.07, (trial.narrowed - before, counts)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT h.HeadId, r.Name FROM Heads h JOIN Rows r ON r.Name = h.Name AND r.dataAreaId = h.dataAreaId WHERE h.HeadId IN ('001', '002')",
        "SELECT r.HeadId FROM Rows r WHERE r.Kind IN (SELECT h.Kind FROM Heads h WHERE h.HeadId = '001')",
        "SELECT h.HeadId, p.PartnerId FROM Heads h LEFT JOIN Partners p ON p.PartnerId = h.PartnerId AND p.dataAreaId = h.dataAreaId WHERE h.HeadId = '003'",
        "SELECT p.PartnerId FROM Partners p WHERE NOT EXISTS (SELECT 1 FROM Heads h WHERE h.PartnerId = p.PartnerId AND h.HeadId = '003')",
        "SELECT r.LineNumber FROM Rows r WHERE EXISTS (SELECT 1 FROM Heads h WHERE h.HeadId = r.HeadId AND h.HeadId = 'nothing' AND h.dataAreaId = r.dataAreaId)",
        "SELECT a.HeadId FROM Heads a JOIN Rows r ON a.Serial = r.Serial AND a.dataAreaId = r.dataAreaId WHERE a.HeadId = '002'",
    ],
)
def test_nulls_case_blanks_and_companies_stay_exact(trial: SemiJoinTrial, sql: str) -> None:
    for company in (None, "usrt"):
        answer = trial.answer(sql, company=company, cross_company=company is None)
        assert as_set(answer.rows.rows) == trial.expected(sql, company)


# Requests


def lines_of(server: Served, sql: str) -> tuple[dict[str, Any], int]:
    server.simulator.reset()
    result = server.call("query_sql", sql=sql)
    return result, len(server.requests())


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT l.SalesOrderNumber, l.ItemNumber FROM {HEADERS} h JOIN {LINES} l ON l.SalesOrderNumber = h.SalesOrderNumber WHERE {{where}}",
        f"SELECT ItemNumber FROM {LINES} WHERE SalesOrderNumber IN (SELECT SalesOrderNumber FROM {HEADERS} WHERE {{where}})",
        f"SELECT ItemNumber FROM {LINES} l WHERE EXISTS (SELECT 1 FROM {HEADERS} h WHERE h.SalesOrderNumber = l.SalesOrderNumber AND {{where}})",
        f"SELECT h.SalesOrderNumber, count(*) AS n FROM {HEADERS} h LEFT JOIN {LINES} l ON l.SalesOrderNumber = h.SalesOrderNumber WHERE {{where}} GROUP BY 1",
        f"SELECT sum(l.LineAmount) AS total FROM {LINES} l JOIN {HEADERS} h USING (SalesOrderNumber) WHERE {{where}}",
    ],
)
def test_the_lines_of_five_orders_cost_two_requests(server: Served, sql: str) -> None:
    first = f"SELECT RequestedShippingDate AS day FROM {HEADERS} WHERE day IS NOT NULL ORDER BY 1 LIMIT 5"
    days = [record["day"] for record in server.call("query_sql", sql=first)["records"]]
    where = f"{{0}}RequestedShippingDate BETWEEN '{days[0]}' AND '{days[-1]}'"
    text = sql.replace("{where}", where.format("h." if " h" in sql else ""))
    result, requests = lines_of(server, text)
    assert requests <= 2, server.requests()
    assert result["rows_scanned"][LINES] < 1_000


def test_one_note_says_of_a_set_what_it_was_asked_for(server: Served) -> None:
    sql = f"SELECT count(*) AS n FROM {HEADERS} h JOIN CustomersV3 c ON c.CustomerAccount = h.OrderingCustomerAccountNumber AND c.SalesCurrencyCode = h.CurrencyCode WHERE h.SalesOrderNumber = '000010'"
    [note] = server.call("query_sql", sql=sql)["notes"]
    assert note.startswith("CustomersV3: read only where ")
    assert f"CustomerAccount is one of the 1 OrderingCustomerAccountNumber of {HEADERS}" in note
    assert f"SalesCurrencyCode is one of the 1 CurrencyCode of {HEADERS}" in note
