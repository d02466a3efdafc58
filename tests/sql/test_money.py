"""Money is exact from F&O's page to the answer."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.served import Served

LINES = "SalesOrderLinesV3"


def answer(server: Served, sql: str, *amounts: str) -> list[dict[str, Any]]:
    """Ask about lines with these amounts, as F&O writes them."""
    records = ",".join(f'{{"dataAreaId":"usmf","LineAmount":{amount}}}' for amount in amounts)
    server.simulator.fault(f"/data/{LINES}", status=200, body=f'{{"value":[{records}]}}', times=9)
    return list(server.call("query_sql", sql=sql)["records"])


def test_a_tenth_and_two_tenths_are_three_tenths(server: Served) -> None:
    sql = f"SELECT sum(LineAmount) AS total, sum(LineAmount) = 0.30 AS equal, max(LineAmount) AS most FROM {LINES}"
    assert answer(server, sql, "0.10", "0.20") == [{"total": 0.3, "equal": True, "most": 0.2}]


def test_what_balances_is_not_listed(server: Served) -> None:
    sql = f"SELECT sum(LineAmount) AS off FROM {LINES} HAVING sum(LineAmount) <> 0"
    assert answer(server, sql, "0.1", "0.2", "-0.3") == []
    assert answer(server, sql.replace("sum(LineAmount) <> 0", "sum(LineAmount) <> 0.000001"), "0.1", "0.2", "-0.3") == [
        {"off": 0}
    ]


def test_totals_of_contoso_end_as_their_lines_do(server: Served) -> None:
    [row] = server.call("query_sql", sql=f"SELECT sum(LineAmount) AS total FROM {LINES}")["records"]
    exact, url = Decimal(), f"/data/{LINES}?$select=LineAmount&$filter=dataAreaId eq 'usmf'&cross-company=true"
    with server.simulator.client() as fo:
        while url:
            page = json.loads(fo.get(url).content, parse_float=Decimal)
            exact += sum(each["LineAmount"] for each in page["value"])
            url = page.get("@odata.nextLink", "")
    assert repr(row["total"]) == f"{exact:f}" == "29830772.08"


@pytest.mark.parametrize(
    ("amount", "answered"),
    [
        ("0.30", 0.3),
        ("500000", 500000),
        ("389.45", 389.45),
        ("-0.000001", -0.000001),
        ("1E2", 100),
        ("1e-7", 1e-07),
        ("-1.5E-9", -1.5e-09),
        ("99999999999.999999", "99999999999.999999"),  # 17 digits
        ("9007199254740991", 9007199254740991),
        ("9007199254740993", "9007199254740993"),  # no number of JSON's readers
        ("123456789012345678.123456", "123456789012345678.123456"),
        ("12345678901234567890123456.123456", "12345678901234567890123456.123456"),  # the most a real holds
        ("0.1234567", 0.1234567),  # more places than most reals have
        ("0.1234567890123456", 0.1234567890123456),
        ("0.30000000000000004", 0.3),  # more than any has
        ("null", None),
    ],
)
def test_an_amount_is_answered_as_it_came(server: Served, amount: str, answered: Any) -> None:
    [row] = answer(server, f"SELECT LineAmount AS amount, sum(LineAmount) AS total FROM {LINES} GROUP BY 1", amount)
    assert row == {"amount": answered, "total": answered}
    assert type(row["amount"]) is type(answered)


def test_many_places_on_a_later_page_change_no_amount_before(server: Served) -> None:
    first = f'{{"value":[{{"dataAreaId":"usmf","LineAmount":0.1}}],"@odata.nextLink":"{server.simulator.base_url}/data/{LINES}?$skiptoken=2"}}'
    server.simulator.fault(f"/data/{LINES}", status=200, body=first)
    server.simulator.fault(
        f"/data/{LINES}",
        status=200,
        body='{"value":[{"dataAreaId":"usmf","LineAmount":0.00000000001},{"dataAreaId":"usmf","LineAmount":0.2}]}',
    )
    server.simulator.fault(f"/data/{LINES}/.count", status=200, body="3")
    result = server.call("query_sql", sql=f"SELECT sum(LineAmount) AS total FROM {LINES}")
    assert result["records"] == [{"total": 0.30000000001}]
    assert "notes" not in result


def test_an_amount_too_large_to_be_exact_is_said_to_be_rounded(server: Served) -> None:
    server.simulator.fault(
        f"/data/{LINES}",
        status=200,
        body='{"value":[{"dataAreaId":"usmf","LineAmount":1234567890123456789012345678901234.5}]}',
    )
    result = server.call("query_sql", sql=f"SELECT LineAmount AS amount FROM {LINES}")
    assert result["records"] == [{"amount": 1.23456789012346e33}]
    assert any("LineAmount has numbers with too many digits" in note for note in result["notes"])
    assert not any("they count as NULL" in note for note in result["notes"])


def test_what_is_no_amount_is_null_and_said_to_be(server: Served) -> None:
    server.simulator.fault(
        f"/data/{LINES}",
        status=200,
        body='{"value":[{"dataAreaId":"usmf","LineAmount":"much"},{"dataAreaId":"usmf","LineAmount":2.5},{}]}',
    )
    result = server.call("query_sql", sql=f"SELECT count(*) AS n, sum(LineAmount) AS total FROM {LINES}")
    assert result["records"] == [{"n": 3, "total": 2.5}]
    assert any("they count as NULL" in note for note in result["notes"])


def test_products_stay_exact_until_they_cannot(server: Served) -> None:
    assert answer(
        server,
        f"SELECT sum(LineAmount * 1.19) AS t, sum(LineAmount * LineAmount) AS q FROM {LINES}",
        "0.1",
        "99999999.99",
    ) == [{"t": 119000000.1071, "q": "9999999998000000.0101"}]
    product = " * ".join(["LineAmount"] * 7)
    server.simulator.fault(
        f"/data/{LINES}", status=200, body='{"value":[{"dataAreaId":"usmf","LineAmount":123456.5}]}', times=9
    )
    error = server.refuse("query_sql", sql=f"SELECT {product} AS p FROM {LINES}")
    assert "more digits than can be exact" in error["message"] and "AS DOUBLE" in error["hint"]
    assert server.call("query_sql", sql=f"SELECT CAST(LineAmount AS DOUBLE) * {product} AS p FROM {LINES}")["records"]


def test_a_table_of_amounts_is_exact_too(server: Served) -> None:
    server.simulator.fault(
        f"/data/{LINES}",
        status=200,
        body='{"value":[{"dataAreaId":"usmf","LineAmount":0.1},{"dataAreaId":"usmf","LineAmount":0.2}]}',
    )
    assert server.call("query_sql", sql=f"SELECT sum(LineAmount) AS t FROM {LINES}", rows_as="csv")["csv"] == "t\n0.3\n"
