"""How F&O is read: in the order of the key, page by page as they came, counted where there are several."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest

from tests.served import Served

LINES = "SalesOrderLinesV3"
COUNT = f"SELECT count(*) AS n FROM {LINES}"


def options(request: dict[str, str]) -> dict[str, str]:
    return {name: value[0] for name, value in parse_qs(request["query"]).items()}


@pytest.mark.parametrize(
    ("sql", "order"),
    [
        (COUNT, "dataAreaId,InventoryLotId"),
        (f"SELECT ItemNumber FROM {LINES} LIMIT 5", "dataAreaId,InventoryLotId"),
        (f"SELECT ItemNumber FROM {LINES} ORDER BY LineAmount DESC LIMIT 5", "LineAmount desc,dataAreaId,InventoryLotId"),
        (f"SELECT ItemNumber FROM {LINES} ORDER BY ItemNumber LIMIT 5", "dataAreaId,InventoryLotId"),
        ("SELECT count(*) AS n FROM LegalEntities", "LegalEntityId"),
    ],
)  # fmt: skip
def test_every_read_asks_for_the_order_of_the_key(server: Served, sql: str, order: str) -> None:
    server.call("query_sql", sql=sql)
    assert {options(request)["$orderby"] for request in server.requests() if "count" not in request["path"]} == {order}


def test_several_pages_are_counted(server: Served) -> None:
    server.simulator.control(page_size=5000)
    result = server.call("query_sql", sql=COUNT)
    assert result["records"] == [{"n": 12165}]
    assert "notes" not in result
    assert [request["path"] for request in server.requests()].count(f"/data/{LINES}/$count") == 1
    server.simulator.reset()
    server.call("query_sql", sql="SELECT count(*) FROM CustomersV3")
    assert not [request for request in server.requests() if "count" in request["path"]]


def test_a_set_whose_count_differs_is_read_again(server: Served) -> None:
    server.simulator.control(page_size=5000)
    server.simulator.fault(f"/data/{LINES}/.count", status=200, body="12164")
    result = server.call("query_sql", sql=COUNT)
    assert result["records"] == [{"n": 12165}]
    assert any("SalesOrderLinesV3: it changed while it was read" in note for note in result["notes"])


def test_a_count_that_fails_costs_nothing(server: Served) -> None:
    server.simulator.control(page_size=5000)
    server.simulator.fault(f"/data/{LINES}/.count", status=400, times=9)
    assert server.call("query_sql", sql=COUNT)["records"] == [{"n": 12165}]


REFUSAL = '{"error":{"code":"","message":"An error has occurred.","innererror":{"message":"The query option $orderby is not supported here."}}}'


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) AS n FROM CustomersV3", [{"n": 34}]),
        ("SELECT CustomerAccount AS n FROM CustomersV3 ORDER BY CreditLimit DESC LIMIT 1", [{"n": "US-009"}]),
    ],
)
def test_a_set_that_refuses_an_order_is_read_without_one(server: Served, sql: str, rows: list[object]) -> None:
    server.simulator.fault("/data/CustomersV3", status=400, body=REFUSAL)
    result = server.call("query_sql", sql=sql)
    assert result["records"] == rows
    first, second = [options(request) for request in server.requests()]
    assert "$orderby" in first and "$orderby" not in second
    assert len(result["requests"]) == 2


def test_without_an_order_records_that_come_twice_are_counted(server: Served) -> None:
    """The count agrees: one came twice, and another not at all."""
    link = f"{server.simulator.base_url}/data/CustomersV3?$skiptoken=x"
    page = (
        '{{"value":[{{"dataAreaId":"usmf","CustomerAccount":"{}"}},{{"dataAreaId":"usmf","CustomerAccount":"{}"}}]{}}}'
    )
    for answer in (
        {"status": 400, "body": REFUSAL},
        {"body": page.format("1", "2", f',"@odata.nextLink":"{link}"')},
        {"body": page.format("2", "4", "")},
    ):
        server.simulator.fault("/data/CustomersV3", **{"status": 200, **answer})
    server.simulator.fault("/data/CustomersV3/.count", status=200, body="4")
    result = server.call("query_sql", sql="SELECT count(*) AS n FROM CustomersV3")
    assert any("over its pages 4 came, 1 of them twice" in note for note in result["notes"])


def test_a_link_to_the_same_page_is_not_followed_for_ever(server: Served) -> None:
    link = f"{server.simulator.base_url}/data/CustomersV3?$skiptoken=x"
    server.simulator.fault("/data/CustomersV3", status=200, body=f'{{"value":[],"@odata.nextLink":"{link}"}}', times=99)
    assert "the same page" in server.refuse("query_sql", sql="SELECT count(*) FROM CustomersV3")["message"]
    assert len(server.requests()) < 5


def test_what_f_and_o_refuses_for_another_reason_is_its_own_words(server: Served) -> None:
    server.simulator.fault("/data/CustomersV3", status=400, body=REFUSAL, times=9)
    assert server.refuse("query_sql", sql="SELECT count(*) FROM CustomersV3")["d365_messages"] == [
        "The query option $orderby is not supported here."
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<html>Down</html>", "page answered in F&O's place"),
        ('{"value":{"a":1}}', "something else than records"),
        ('{"value":[5]}', "something else than records"),
        ('{"value":[{"CustomerAccount":"US-001"}', "not JSON"),
        ("", "something else"),
        ("[1]", "something else"),
    ],
)
def test_a_page_that_is_none_is_named_as_what_it_is(server: Served, body: str, message: str) -> None:
    server.simulator.fault("/data/CustomersV3", status=200, body=body, times=9)
    error = server.refuse("query_sql", sql="SELECT count(*) FROM CustomersV3")
    assert error["code"] == "invalid_answer"
    assert message in error["message"]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (r'{"OrganizationName":"\ud800 half"}', "\ufffd half"),
        (r'{"OrganizationName":"\ud83d\ude00 whole \\ud800"}', "\U0001f600 whole \\ud800"),
        (r'{"OrganizationName":"\"@odata.nextLink\":\"https://elsewhere\""}', '"@odata.nextLink":"https://elsewhere"'),
        (r'{"OrganizationName":"}]}"}', "}]}"),
    ],
)
def test_a_text_is_answered_as_it_came(server: Served, record: str, text: str) -> None:
    server.simulator.fault("/data/CustomersV3", status=200, body=f'{{"value":[{record}]}}')
    result = server.call("query_sql", sql="SELECT OrganizationName AS name FROM CustomersV3")
    assert result["records"] == [{"name": text}]


def test_a_link_may_stand_before_the_records(server: Served) -> None:
    link = f"{server.simulator.base_url}/data/CustomersV3?$skiptoken=x"
    server.simulator.fault(
        "/data/CustomersV3",
        status=200,
        body=f'{{"@odata.context":"x","@odata.nextLink":"{link}","value":[{{"CustomerAccount":"1"}}]}}',
    )
    server.simulator.fault("/data/CustomersV3", status=200, body='{"value":[{"CustomerAccount":"2"}]}')
    server.simulator.fault("/data/CustomersV3/.count", status=200, body="2")
    result = server.call("query_sql", sql="SELECT CustomerAccount AS a FROM CustomersV3 ORDER BY 1")
    assert result["records"] == [{"a": "1"}, {"a": "2"}]


def test_only_so_many_rows_are_read_of_a_page(server: Served) -> None:
    asked = {"sql": COUNT, "max_rows_scanned": 3}
    assert "more than 3 rows" in server.refuse("query_sql", **asked)["message"]
    partial = server.call("query_sql", **asked, allow_partial=True)
    assert partial["records"] == [{"n": 3}]
    assert partial["rows_scanned"] == {LINES: 3}
