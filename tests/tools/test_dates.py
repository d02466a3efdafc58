"""Dates: what a filter with a time says of them, and how they are shown."""

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
    assert (first is None or min(days)[:10] == first) and (last is None or max(days)[:10] == last)


def test_a_midnight_that_was_perhaps_meant_as_its_day_is_told(reader: Served) -> None:
    asked = "RequestedShippingDate ge 2021-09-01T00:00:00Z and RequestedShippingDate le 2021-09-14T00:00:00Z"
    notes = reader.call("query_entities", **SHIPPED, filter=asked)["notes"]
    assert [note for note in notes if "midnight" in note] == [
        "RequestedShippingDate le 2021-09-14 at midnight leaves that day out, which F&O has at noon: "
        "write RequestedShippingDate le 2021-09-14 to keep the whole day"
    ]
