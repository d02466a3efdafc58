"""One SELECT over entity sets answers what would take many calls, and nothing else than a SELECT is run."""

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator

TOP_CUSTOMERS = """
SELECT h.OrderingCustomerAccountNumber AS account, c.OrganizationName, count(*) AS orders
FROM SalesOrderHeadersV2 h JOIN CustomersV3 c ON c.CustomerAccount = h.OrderingCustomerAccountNumber
WHERE h.SalesOrderStatus = 'backorder' GROUP BY ALL ORDER BY orders DESC, account LIMIT 10
"""


def rows(server: Served, sql: str, **arguments: object) -> list[tuple[object, ...]]:
    return [tuple(record.values()) for record in server.call("query_sql", sql=sql, **arguments)["records"]]


def test_top_ten_customers_by_open_orders_is_one_call(server: Served) -> None:
    result = server.call("query_sql", sql=TOP_CUSTOMERS)
    counts = [record["orders"] for record in result["records"]]
    assert len(counts) == 10
    assert counts == sorted(counts, reverse=True)
    assert list(result["records"][0]) == ["account", "OrganizationName", "orders"]
    assert result["company"] == "usmf"
    assert any("SalesStatus'Backorder'" in request for request in result["requests"])
    assert result["rows_scanned"]["SalesOrderHeadersV2"] < 2000


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*) FROM CustomersV3", [(34,)]),
        ("SELECT customeraccount FROM customersv3 WHERE customeraccount = 'us-001'", [("US-001",)]),
        ("SELECT CustomerAccount FROM CustomersV3 WHERE OnHoldStatus <> 'No' ORDER BY 1", [("US-017",), ("US-041",), ("US-103",)]),
        ("SELECT max(CreditLimit) FROM CustomersV3", [(1000000.0,)]),
        ("SELECT CustomerAccount FROM CustomersV3 ORDER BY CreditLimit DESC LIMIT 1", [("US-009",)]),
        ("SELECT count(*) FROM CustomersV3 WHERE OrganizationName LIKE 'contoso retail%'", [(9,)]),
        (
            "WITH big AS (SELECT * FROM CustomersV3 WHERE CreditLimit >= 500000) SELECT count(*) FROM big HAVING count(*) > 1",
            [(6,)],
        ),
        (
            "SELECT CustomerAccount FROM (SELECT CustomerAccount, row_number() OVER (ORDER BY CreditLimit DESC) AS place FROM CustomersV3) WHERE place = 1",
            [("US-009",)],
        ),
        (
            "SELECT count(*) FROM CustomersV3 WHERE CustomerGroupId IN (SELECT CustomerGroupId FROM CustomerGroups WHERE CustomerGroupId = '90')",
            [(2,)],
        ),
    ],
)  # fmt: skip
def test_a_select_gives_the_true_answer(server: Served, sql: str, expected: list[tuple[object, ...]]) -> None:
    if "9,)" in str(expected) or "6,)" in str(expected):
        listed = server.call(
            "query_entities", entity_name="CustomersV3", select=["OrganizationName", "CreditLimit"], top=100
        )
        retail = sum(record["OrganizationName"].lower().startswith("contoso retail") for record in listed["records"])
        large = sum(record["CreditLimit"] >= 500000 for record in listed["records"])
        expected = [(retail,)] if "LIKE" in sql else [(large,)]
    assert rows(server, sql) == expected


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        ("Count(*), a*2 from x group by all", ["Count(*)", "a*2"]),
        ("distinct upper(d) ,a  *  2\n, coalesce(d, 'x,y') from x", ["upper(d)", "a * 2", "coalesce(d, 'x,y')"]),
        ("extract(year from t), date_trunc('month', t) from x", ["extract(year from t)", "date_trunc('month', t)"]),
        ("(select max(a) from x), sum(a) filter (where a > 1), a from x group by all", ["(select max(a) from x)", "sum(a) filter (where a > 1)", "a"]),
        ("count(*) /* all */, d||'  ' from x group by d union all select 1, '2'", ["count(*)", "d || '  '"]),
        ("count(*) as n, [1, 2], case when a=1 then 1 end, t::date from x group by all", ["n", "[1, 2]", "case when a=1 then 1 end", "t::date"]),
    ],
)  # fmt: skip
def test_a_column_without_a_name_goes_by_what_was_written(server: Served, columns: str, headings: list[str]) -> None:
    sql = f"with x as (select 1 as a, CustomerAccount as d, timestamp '2021-01-01' as t from CustomersV3) select {columns}"
    assert list(server.call("query_sql", sql=sql)["records"][0]) == headings


def test_empty_dates_are_null_and_dates_are_dates(server: Served) -> None:
    result = server.call(
        "query_sql",
        sql="SELECT RequestedShippingDate d, count(*) n FROM SalesOrderHeadersV2 GROUP BY 1 ORDER BY 1 LIMIT 3",
    )
    assert all(record["d"] is None or len(record["d"]) == 10 for record in result["records"])


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE CustomersV3",
        "DELETE FROM CustomersV3",
        "INSERT INTO CustomersV3 VALUES (1)",
        "UPDATE CustomersV3 SET CreditLimit = 0",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE CustomersV3",
        "SELECT * INTO x FROM CustomersV3",
        "COPY CustomersV3 TO 'x.csv'",
        "ATTACH 'x.db'",
        "INSTALL httpfs",
        "PRAGMA version",
        "SET memory_limit = '8GB'",
        "EXPLAIN SELECT 1",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM range(10)",
        "SELECT getenv('HOME')",
        "SELECT * FROM dbo.CustomersV3",
        "SELECT ? FROM CustomersV3",
        "SELECT $1 FROM CustomersV3",
        "WITH x AS (DELETE FROM CustomersV3 RETURNING *) SELECT * FROM x",
        "not sql at all",
        "SELECT (" * 3000,
        "",
    ],
)
def test_anything_but_one_select_over_entity_sets_is_refused(server: Served, sql: str) -> None:
    error = server.refuse("query_sql", sql=sql)
    assert error["code"] in ("invalid_argument", "unknown_name")
    assert "Traceback" not in error["message"]
    assert not [request for request in server.requests() if request["method"] != "GET"]


def test_a_column_of_nothing_asks_for_an_entity_set(server: Served) -> None:
    assert "after FROM" in server.refuse("query_sql", sql="SELECT CustomersV3")["message"]


def test_unknown_columns_and_members_name_the_close_ones(server: Served) -> None:
    assert "CreditLimit" in server.refuse("query_sql", sql="SELECT CreditLimt FROM CustomersV3")["message"]
    assert "CreditLimit" in server.refuse("query_sql", sql="SELECT c.CreditLimt FROM CustomersV3 c")["message"]
    assert "CustomersV3" in server.refuse("query_sql", sql="SELECT 1 FROM CustomersV33")["message"]
    wrong = server.refuse("query_sql", sql="SELECT count(*) FROM CustomersV3 WHERE OnHoldStatus = 'Alll'")
    assert "All" in wrong["message"]


def test_too_many_rows_are_no_answer_unless_a_part_is_allowed(server: Served) -> None:
    asked = {"sql": "SELECT count(*) AS n FROM SalesOrderLinesV3 WHERE ItemNumber > '0'", "max_rows_scanned": 1000}
    error = server.refuse("query_sql", **asked)
    assert "1,000 rows" in error["message"]
    assert "Filter SalesOrderLinesV3 by" in error["hint"]
    partial = server.call("query_sql", **asked, allow_partial=True)
    assert partial["partial"] is True
    assert partial["records"][0]["n"] <= 1000


def test_a_whole_company_is_read_across_pages(server: Served) -> None:
    server.simulator.control(page_size=5000)
    (count,) = rows(server, "SELECT count(*) FROM SalesOrderLinesV3")
    assert count == (12165,)


def test_a_company_or_all_companies_may_be_asked(server: Served) -> None:
    usrt = rows(server, "SELECT DISTINCT dataAreaId FROM CustomersV3", company="usrt")
    assert usrt == [("usrt",)]
    named = rows(server, "SELECT DISTINCT dataAreaId FROM CustomersV3 WHERE dataAreaId IN ('usmf','usrt') ORDER BY 1")
    assert named == [("usmf",), ("usrt",)]
    assert len(rows(server, "SELECT DISTINCT dataAreaId FROM CustomersV3", cross_company=True)) >= 6


def test_a_limit_without_order_fetches_no_more_than_it_needs(server: Served) -> None:
    server.call("query_sql", sql="SELECT ItemNumber FROM SalesOrderLinesV3 LIMIT 5")
    assert "$top=5" in server.requests()[-1]["query"]


@pytest.mark.once
def test_a_statement_that_never_ends_is_ended(simulator: Simulator) -> None:
    with serving(simulator, MCP_REQUEST_TIMEOUT="4") as hasty:
        sql = "SELECT count(*) FROM SalesOrderLinesV3 a, SalesOrderLinesV3 b, SalesOrderLinesV3 c WHERE a.LineAmount + b.LineAmount > c.LineAmount"
        assert hasty.refuse("query_sql", sql=sql)["code"] == "deadline_exceeded"
        after = {"sql": "SELECT count(*) FROM CustomersV3"}
        assert any(not hasty.send("query_sql", after).is_error for _ in range(10))
