"""Dates: what a filter with a time says of them, and how answers write them."""

import pytest

from tests.served import Served

SHIPPED = {"entity_name": "SalesOrderHeadersV2", "select": ["SalesOrderNumber", "RequestedShippingDate"], "top": 1000}


@pytest.mark.parametrize(
    ("condition", "first", "last"),
    [
        ("gt 2021-09-14T00:00:00Z", "2021-09-14", None),
        ("gt 2021-09-14T00:00:00+13:00", "2021-09-14", None),
        ("ge 2021-09-14T20:00:00Z", "2021-09-15", None),
        ("le 2021-09-14T00:00:00Z", None, "2021-09-13"),
        ("le 2021-09-14T23:59:59+13:00", None, "2021-09-14"),
        ("lt 2021-09-14T23:59:59+14:00", None, "2021-09-14"),
    ],
)
def test_a_filter_with_a_time_keeps_its_meaning_on_a_date(
    reader: Served, condition: str, first: str | None, last: str | None
) -> None:
    asked = f"RequestedShippingDate {condition} and RequestedShippingDate ne null"
    days = {row["RequestedShippingDate"] for row in reader.call("query_entities", **SHIPPED, filter=asked)["records"]}
    assert (first is None or min(days) == first) and (last is None or max(days) == last)


def test_a_midnight_that_was_perhaps_meant_as_its_day_is_said(reader: Served) -> None:
    asked = "RequestedShippingDate ge 2021-09-01T00:00:00Z and RequestedShippingDate le 2021-09-14T00:00:00Z"
    notes = reader.call("query_entities", **SHIPPED, filter=asked)["notes"]
    assert [note for note in notes if "midnight" in note] == [
        "RequestedShippingDate le 2021-09-14 at midnight leaves that day out, which F&O has at noon: "
        "write RequestedShippingDate le 2021-09-14 to keep the whole day"
    ]


def times_in(value: object) -> list[str]:
    """Return every text of a result that has a noon in it."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in times_in(each)]
    if isinstance(value, list):
        return [text for each in value for text in times_in(each)]
    return [value] if isinstance(value, str) and "T12:00:00Z" in value else []


RATE = {"RateTypeName": "Default", "FromCurrency": "EUR", "ToCurrency": "USD", "StartDate": "2026-07-14"}


def test_a_date_is_given_as_a_day_everywhere(writer: Served) -> None:
    asked = {"entity_name": "SalesOrderHeadersV2", "select": ["RequestedShippingDate", "ConfirmedShippingDate"]}
    rows = writer.call("query_entities", **asked, filter="RequestedShippingDate ne null", top=50)["records"]
    assert all(len(row["RequestedShippingDate"]) == 10 for row in rows)
    lines = writer.call("query_entities", **asked, top=50, rows_as="csv")["csv"]
    order = writer.call("query_entities", entity_name="SalesOrderHeadersV2", select=["SalesOrderNumber"], top=1)
    key = {"dataAreaId": "usmf", **order["records"][0]}
    one = writer.call("get_entity_record", entity_name="SalesOrderHeadersV2", key=key)["record"]
    data = {**RATE, "Rate": 1.1}
    created = writer.call("create_entity_record", entity_name="ExchangeRates", data=data, return_record=True)
    assert created["key"] == created["key"] | RATE
    changed = writer.call(
        "update_entity_record", entity_name="ExchangeRates", key=created["key"], data={"Rate": 1.2}, return_record=True
    )
    parts = [{"operation": "create", "entity_name": "ExchangeRates", "data": {**data, "StartDate": "2026-07-15"}}]
    batch = writer.call("batch", operations=parts)
    assert batch["keys"][0]["StartDate"] == "2026-07-15"
    assert changed["record"]["StartDate"] == "2026-07-14"
    assert not times_in([rows, lines, one, created, changed, batch])
    assert writer.call("get_entity_record", entity_name="ExchangeRates", key=created["key"])["record"]["Rate"] == 1.2


def test_dates_of_expanded_records_are_days_too(reader: Served) -> None:
    asked = {"entity_name": "PurchaseOrderHeadersV2", "select": ["PurchaseOrderNumber"], "top": 20}
    result = reader.call("query_entities", **asked, expand=["PurchaseOrderLinesV2"])
    lines = [line for row in result["records"] for line in row["PurchaseOrderLinesV2"]]
    assert any(line["RequestedDeliveryDate"] for line in lines)
    assert not times_in(lines)


def test_a_time_stays_one(reader: Served) -> None:
    asked = {"entity_name": "SalesOrderHeadersV2", "select": ["OrderCreationDateTime"], "top": 50}
    times = [row["OrderCreationDateTime"] for row in reader.call("query_entities", **asked)["records"]]
    assert all(time is None or (len(time), time[-1]) == (20, "Z") for time in times) and any(times)


PAID = {"entity_name": "CustTransBiEntities", "select": ["SourceKey"], "count": True}
UNPAID_COUNTED = "count includes records without Closed, if any: add Closed ne null to leave them out"


@pytest.mark.parametrize(
    ("filter", "top", "is_said"),
    [
        ("Closed lt 2026-11-01", 1, True),
        ("Closed le 2026-11-01", 1, True),
        ("Closed lt 2026-11-01 and Closed ne null", 1, False),
        ("Closed ge 2021-01-01", 1, False),
        ("Closed lt 2026-11-01 and AccountNum eq 'US-001'", 10_000, False),  # all are read, and none is without
        ("AccountNum eq 'US-001'", 1, False),
    ],
)
def test_a_count_beyond_the_records_read_may_include_what_has_no_date(
    reader: Served, filter: str, top: int, is_said: bool
) -> None:
    result = reader.call("query_entities", **PAID, filter=filter, top=top)
    assert (UNPAID_COUNTED in result.get("notes", [])) is is_said
