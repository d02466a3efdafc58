"""Schemas: small enough to read, complete enough to write a query from."""

import json

from tests.served import Served


def test_three_hundred_properties_cost_under_4000_tokens(reader: Served) -> None:
    schema = reader.call("get_entity_schema", entity_name="CustomersV3")
    named = " ".join(schema["properties"].values()).split()
    assert len(named) == 309
    assert len(json.dumps(schema, separators=(",", ":"), ensure_ascii=False)) / 4 < 4000


def test_a_schema_says_what_a_query_needs(reader: Served) -> None:
    schema = reader.call("get_entity_schema", entity_name="SalesOrderHeadersV2")
    assert schema["key"] == ["dataAreaId", "SalesOrderNumber"]
    assert "RequestedShippingDate" in schema["properties"]["Date"]
    assert "SalesOrderStatus" in schema["properties"]["SalesStatus"]
    assert schema["enumerations"]["SalesStatus"] == ["None", "Backorder", "Delivered", "Invoiced", "Canceled"]


def test_properties_are_chosen_by_words(reader: Served) -> None:
    some = reader.call("get_entity_schema", entity_name="CustomersV3", columns="credit payment")
    named = " ".join(some["properties"].values()).split()
    assert all("credit" in name.lower() or "payment" in name.lower() for name in named)
    assert {"CreditLimit", "PaymentTerms"} <= set(named)


def test_all_of_a_wide_schema_is_cut_to_the_budget_and_says_so(reader: Served) -> None:
    full = reader.call("get_entity_schema", entity_name="CustomersV3", detail="full")
    assert len(json.dumps(full)) < 64_000
    assert full["properties"]["CustomerAccount"]["key"] is True


def test_without_a_snapshot_the_answer_says_so(reader: Served) -> None:
    assert any(
        "no catalog snapshot" in note for note in reader.call("get_entity_schema", entity_name="Currencies")["notes"]
    )
