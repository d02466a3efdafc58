"""What is pushed down never changes an answer: hundreds of statements, asked with it and of a database that has everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator
from tests.sql.conftest import asked
from tests.sql.statements import Author
from tests.sql.things import KEYS
from tests.sql.trial import Trial, tried

pytestmark = pytest.mark.alike

STATEMENTS, FEWER = 200, 60
# Of these many at least something has to be pushed, and only so many may be refused: else little would be tested.
PUSHED, REFUSED = 0.5, 0.15


@pytest.fixture(scope="module")
def trial(things: Simulator) -> Iterator[Trial]:
    trial = Trial(things, dict.fromkeys(KEYS, ()))
    yield trial
    trial.close()


@pytest.mark.parametrize(
    ("seed", "statements"), [(1, FEWER), pytest.param(2026, STATEMENTS, marks=pytest.mark.once)], ids=["fewer", "all"]
)
def test_an_answer_is_the_same_whatever_is_pushed_down(trial: Trial, seed: int, statements: int) -> None:
    wrong, counts = tried(trial, Author(seed), statements)
    assert not wrong, "\n\n".join(wrong[:5])
    assert counts["pushed"] > statements * PUSHED, counts
    assert counts["refused"] < statements * REFUSED, counts


def test_a_condition_chooses_the_rows_it_is_true_of(things: Simulator) -> None:
    """WHERE, which is pushed, and FILTER, which never is, through the tool."""
    author, pushed = Author(7), 0
    with serving(things) as serving_things:
        served = asked(serving_things)
        for _ in range(30):
            entity_set = author.one(*KEYS)
            condition, _ = author.predicate({"a": entity_set})
            chosen = counted(served, f"SELECT count(*) AS n FROM {entity_set} a WHERE {condition}")
            every = counted(served, f"SELECT count(*) FILTER (WHERE {condition}) AS n FROM {entity_set} a")
            pushed += chosen[1] != every[1]
            assert chosen[0] == every[0], condition
    assert pushed > 8


def counted(served: Served, sql: str) -> tuple[int, str]:
    found = served.call("query_sql", sql=sql, cross_company=True)
    return found["records"][0]["n"], found["requests"][0]


NOT_LIKE = "SELECT count(*) AS n FROM CustomersV3 WHERE OrganizationName {} '%wholesales%'"


@pytest.mark.parametrize("operator", ["NOT LIKE", "NOT ILIKE", "!~~", "!~~*"])
def test_what_is_not_like_is_not_turned_round(server: Served, operator: str) -> None:
    assert server.call("query_sql", sql=NOT_LIKE.format(operator))["records"] == [{"n": 21}]


@pytest.mark.parametrize(
    ("condition", "sent"),
    [
        ("YEAR(RequestedShippingDate) = 2021", "RequestedShippingDate ge 2021-01-01T12:00:00Z and RequestedShippingDate le 2021-12-31T12:00:00Z"),
        ("extract(year FROM OrderCreationDateTime) = 2021", "OrderCreationDateTime ge 2021-01-01T00:00:00Z and OrderCreationDateTime lt 2022-01-01T00:00:00Z"),
        ("LOWER(SalesOrderName) = 'owl wholesales'", "SalesOrderName eq 'owl wholesales'"),
        ("upper(SalesOrderName) LIKE 'OWL%'", "SalesOrderName eq 'OWL*'"),
        ("trim(SalesOrderName) = 'Owl Wholesales'", "SalesOrderName eq '*Owl Wholesales*'"),
        ("upper(trim(SalesOrderName)) = 'OWL WHOLESALES'", "SalesOrderName eq '*OWL WHOLESALES*'"),
        ("RequestedShippingDate BETWEEN '2021-09-01' AND '2021-09-30'", "RequestedShippingDate ge 2021-09-01T12:00:00Z and RequestedShippingDate le 2021-09-30T12:00:00Z"),
        ("date_trunc('month', RequestedShippingDate) = '2021-09-01'", "RequestedShippingDate ge 2021-09-01T12:00:00Z and RequestedShippingDate lt 2021-10-01T12:00:00Z"),
        ("date_trunc('quarter', RequestedShippingDate) < DATE '2021-07-01'", "RequestedShippingDate lt 2021-07-01T12:00:00Z"),
        ("OrderCreationDateTime::DATE = '2021-09-02'", "OrderCreationDateTime ge 2021-09-02T00:00:00Z and OrderCreationDateTime lt 2021-09-03T00:00:00Z"),
        ("RequestedShippingDate > DATE '2021-09-02' + INTERVAL 1 MONTH", "RequestedShippingDate gt 2021-10-02T12:00:00Z"),
        ("OrderTotalAmount BETWEEN 10 AND 99.5", "OrderTotalAmount ge 10 and OrderTotalAmount le 99.5"),
        ("NOT (OrderTotalAmount > 10)", "OrderTotalAmount le 10"),
        ("SalesOrderStatus <> 'invoiced'", "SalesOrderStatus ne Microsoft.Dynamics.DataEntities.SalesStatus'Invoiced'"),
        ("starts_with(SalesOrderName, 'Owl')", "SalesOrderName eq 'Owl*'"),
    ],
)  # fmt: skip
def test_functions_are_pushed_where_the_filter_tool_knows_them(server: Served, condition: str, sent: str) -> None:
    sql = f"SELECT count(*) AS n FROM SalesOrderHeadersV2 WHERE {condition}"
    [chosen] = server.call("query_sql", sql=sql)["records"]
    [request] = [each["query"] for each in server.requests() if each["path"] == "/data/SalesOrderHeadersV2"]
    assert f"({sent})" in unquote(request) or sent in unquote(request)
    every = f"SELECT count(*) FILTER (WHERE {condition}) AS n FROM SalesOrderHeadersV2"
    assert server.call("query_sql", sql=every)["records"] == [chosen]


@pytest.mark.parametrize(
    "condition",
    [
        "CreditLimit >= random() * 0",  # another number for each row
        "CreditLimit BETWEEN SYMMETRIC 1000000 AND 0",
        "CreditLimit = 500000.1::FLOAT",  # beside which the column loses digits, too
        "OrganizationName LIKE 'Contoso!_%' ESCAPE '!'",
        "trim(OrganizationName, 'C') = 'ontoso Retail'",
        "OrganizationName <> 'Owl Wholesales'",
        "OrganizationName >= 'm'",
        "CustomerAccount = 'US*'",
        "OrganizationName COLLATE \"binary\" = 'Owl Wholesales'",
        "CreditLimit = ANY (SELECT CreditLimit FROM CustomersV3)",
        "(CustomerAccount, CreditLimit) IN (('US-001', 500000), ('US-002', 1))",
    ],
)
def test_what_is_not_known_for_certain_is_not_pushed(server: Served, condition: str) -> None:
    server.call("query_sql", sql=f"SELECT count(*) AS n FROM CustomersV3 WHERE {condition}")
    for request in server.requests():
        filters = unquote(request["query"]).partition("$filter=")[2].partition("&")[0]
        assert filters in ("", "dataAreaId eq 'usmf'")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT kahan_sum(LineAmount) FROM SalesOrderLinesV3 LIMIT 1",
        "SELECT mode(ItemNumber) FROM SalesOrderLinesV3 LIMIT 1",
        "SELECT DISTINCT CurrencyCode FROM SalesOrderLinesV3 LIMIT 3",
        "SELECT LineAmount FROM SalesOrderLinesV3 WHERE LineAmount >= (SELECT avg(LineAmount) FROM SalesOrderLinesV3) LIMIT 1",
        "SELECT CurrencyCode, count(*) FROM SalesOrderLinesV3 GROUP BY ALL LIMIT 1",
        "SELECT row_number() OVER (ORDER BY LineAmount) FROM SalesOrderLinesV3 LIMIT 1",
    ],
)
def test_a_limit_is_pushed_only_where_rows_come_out_as_they_went_in(server: Served, sql: str) -> None:
    result = server.call("query_sql", sql=sql)
    assert result["rows_scanned"]["SalesOrderLinesV3"] >= 12165


def test_a_limit_is_pushed_through_what_makes_one_value_of_another(server: Served) -> None:
    values = "upper(ItemNumber), length(LineDescription), CASE WHEN LineAmount > 5 THEN 'x' END, LineAmount * 2, concat(ItemNumber, '-')"
    result = server.call("query_sql", sql=f"SELECT {values} FROM SalesOrderLinesV3 LIMIT 4")
    assert (result["row_count"], result["rows_scanned"]) == (4, {"SalesOrderLinesV3": 4})


def test_the_first_rows_are_more_than_f_and_o_gave_first(server: Served) -> None:
    """Where F&O takes more for equal than DuckDB does, the first rows do not suffice: all are read."""
    lines = [{"ItemNumber": "STRASSE"}] * 3
    server.simulator.fault("/data/SalesOrderLinesV3", status=200, body=json.dumps({"value": lines}))
    sql = "SELECT ItemNumber FROM SalesOrderLinesV3 WHERE ItemNumber = 'D0001' LIMIT 3"
    result = server.call("query_sql", sql=sql)
    assert result["records"] == [{"ItemNumber": "D0001"}] * 3
    assert len(result["requests"]) == 2
