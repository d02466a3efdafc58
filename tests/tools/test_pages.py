"""Several pages are one set: ordered by the key, counted, and a note says where they are not."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

CUSTOMERS = {"entity_name": "CustomersV3", "select": ["CustomerAccount"]}
DISTINCT = "SELECT count(*) n, count(DISTINCT CustomerAccount) d FROM CustomersV3"


def accounts(result: dict[str, Any]) -> list[str]:
    return [record["CustomerAccount"] for record in result["records"]]


@pytest.fixture
def shuffled(reader: Served) -> Served:
    """A server over an F&O whose rows come in another order on every page unless one is asked for."""
    reader.simulator.control(shuffle=True, page_size=7)
    return reader


def test_a_query_reads_each_record_once(shuffled: Served) -> None:
    result = shuffled.call("query_entities", **CUSTOMERS, top=100)
    assert len(accounts(result)) == len(set(accounts(result))) == 34
    assert "notes" not in result


def test_a_statement_reads_each_record_once(shuffled: Served) -> None:
    result = shuffled.call("query_sql", sql=DISTINCT)
    assert result["records"] == [{"n": 34, "d": 34}]
    assert "$orderby=dataAreaId,CustomerAccount" in result["requests"][0]
    assert "notes" not in result


def test_a_statement_over_shuffled_pages_adds_up(reader: Served) -> None:
    sql = "SELECT count(*) n, count(DISTINCT InventoryLotId) d, sum(LineAmount) s FROM SalesOrderLinesV3"
    whole = reader.call("query_sql", sql=sql)["records"]
    reader.simulator.control(shuffle=True, page_size=1000)
    assert reader.call("query_sql", sql=sql)["records"] == whole
    assert whole[0]["n"] == whole[0]["d"] == 12165


def test_one_page_is_not_counted(reader: Served) -> None:
    reader.call("query_entities", **CUSTOMERS)
    reader.call("query_sql", sql=DISTINCT)
    assert not any(request["path"].endswith("/$count") for request in reader.requests())


def test_records_that_come_or_go_between_pages_are_said(shuffled: Served) -> None:
    lost = {"value": [{"dataAreaId": "usmf", "CustomerAccount": "US-900"}]}
    shuffled.simulator.fault("/data/CustomersV3$", after_n=2, status=200, body=lost)
    result = shuffled.call("query_entities", **CUSTOMERS, top=100)
    assert "F&O counts 34 CustomersV3 records, but over its pages 15 came" in result["notes"][-1]
    shuffled.simulator.fault("/data/CustomersV3$", after_n=2, status=200, body=lost)
    note = shuffled.call("query_sql", sql=DISTINCT)["notes"][-1]
    # Read side by side, the set is read again; read by its links, it is not.
    assert "it changed while it was read, so it was read again" in note or "over its pages 15 came" in note


def test_a_walk_with_cursors_is_counted_at_its_end(reader: Served) -> None:
    asked = {"entity_name": "CustomersV3", "select": ["CustomerAccount"], "cross_company": True}
    first = reader.call("query_entities", **asked)
    assert not any("$count" in request["path"] for request in reader.requests())
    rest = reader.call("query_entities", entity_name="CustomersV3", cursor=first["next_cursor"])
    assert any("$count" in request["path"] for request in reader.requests())
    assert "next_cursor" not in rest and "notes" not in rest
    reader.simulator.fault("CustomersV3/.count", status=200, body="99", headers={"content-type": "text/plain"})
    rest = reader.call("query_entities", entity_name="CustomersV3", cursor=first["next_cursor"])
    assert f"but over its pages {50 + len(rest['records'])} came" in rest["notes"][-1]


def test_a_count_that_fails_is_not_missed(shuffled: Served) -> None:
    shuffled.simulator.fault("CustomersV3/.count", status=500, times=3)
    assert "notes" not in shuffled.call("query_entities", **CUSTOMERS, top=100)


# Sets that refuse an order


def test_a_set_that_refuses_the_order_of_its_key_is_read_by_number(reader: Served) -> None:
    reader.simulator.control(refuse_order=["CustomersV3"])
    walked: list[str] = []
    result = reader.call("query_entities", **CUSTOMERS, cross_company=True)
    first = result
    while True:
        walked += accounts(result)
        if "next_cursor" not in result:
            break
        assert any("refuses the order of its key" in note for note in result["notes"])
        result = reader.call("query_entities", entity_name="CustomersV3", cursor=result["next_cursor"])
    reader.simulator.reset()
    count = reader.call("query_entities", **CUSTOMERS, cross_company=True, top=1, count=True)["count"]
    assert len(walked) == count > len(first["records"])


def test_the_refusal_costs_one_call_for_a_whole_walk(reader: Served) -> None:
    reader.simulator.control(refuse_order=["CustomersV3"])
    first = reader.call("query_entities", **CUSTOMERS, cross_company=True)
    reader.call("query_entities", entity_name="CustomersV3", cursor=first["next_cursor"])
    orders = ["$orderby" in request["query"] for request in reader.requests("/data/customersv3")]
    assert orders == [True, False, False, False]  # the last one counts


def test_an_enumeration_in_the_key_may_be_what_is_refused(reader: Served) -> None:
    reader.simulator.fault("/data/SequenceV2Tables", status=400)  # in whatever words
    result = reader.call("query_entities", entity_name="SequenceV2Tables", top=3)
    assert len(result["records"]) == 3
    assert not any("order of its key" in note for note in result["notes"])
    assert reader.call("query_sql", sql="SELECT count(*) n FROM SequenceV2Tables")["records"][0]["n"] > 3


def test_an_order_that_was_asked_for_is_not_dropped(reader: Served) -> None:
    reader.simulator.control(refuse_order=["CustomersV3"])
    error = reader.refuse("query_entities", **CUSTOMERS, order_by=["CustomerAccount desc"])
    assert (error["code"], "$orderby" in error["d365_messages"][0]) == ("bad_request", True)


def test_a_refusal_that_is_not_about_the_order_is_said_as_it_is(reader: Served) -> None:
    reader.simulator.fault("/data/CustomersV3", status=400, body={"error": {"code": "", "message": "The reason."}})
    assert reader.refuse("query_entities", **CUSTOMERS)["d365_messages"] == ["The reason."]
    assert len(reader.requests()) == 1
    for message in ("first", "second"):  # a set whose key has an enumeration is asked again
        body = {"error": {"code": "", "message": message}}
        reader.simulator.fault("/data/SequenceV2Tables", status=400, body=body)
    assert reader.refuse("query_entities", entity_name="SequenceV2Tables")["d365_messages"] == ["first"]


def test_unordered_pages_that_repeat_records_are_said(shuffled: Served) -> None:
    shuffled.simulator.control(refuse_order=["CustomersV3"])
    result = shuffled.call("query_entities", **CUSTOMERS, top=100)
    repeated = len(accounts(result)) - len(set(accounts(result)))
    assert repeated and any(f"34 came, {repeated} of them twice" in note for note in result["notes"])
    assert any("of them twice" in note for note in shuffled.call("query_sql", sql=DISTINCT)["notes"])


# Enumerations that are null


NULL_WORLD: dict[str, Any] = {
    "entities": [
        {
            "entitySet": "Places",
            "publicEntityName": "Place",
            "keys": ["Id"],
            "properties": [
                {"name": "Id", "edmType": "Edm.String"},
                {"name": "Zone", "edmType": "Microsoft.Dynamics.DataEntities.Zone"},
                {"name": "Day", "edmType": "Edm.DateTimeOffset", "dataType": "Date"},
            ],
            "records": [
                {"Id": "1", "Zone": None},
                {"Id": "2", "Zone": "East"},
                {"Id": "3", "Zone": "West"},
                {"Id": "4", "Zone": None},
            ],
        }
    ],
    "enumerations": [{"name": "Zone", "members": [{"name": "None"}, {"name": "East"}, {"name": "West"}]}],
}
NULLS = {
    "Zone eq null": "14",
    "Zone ne null": "23",
    "not (Zone eq null)": "23",
    "Zone in (null,'East')": "124",
    "Zone eq null or Id eq '3'": "134",
    "Zone eq null and Id ne '1'": "4",
    "Zone ne 'East'": "134",
    "Zone eq 'None'": "",
    "null eq Zone": "14",
}


@pytest.fixture(scope="module")
def places() -> Iterator[Served]:
    simulator = Simulator.start(NULL_WORLD)
    with serving(simulator) as served:
        yield served
    simulator.stop()


@pytest.mark.parametrize("filter", NULLS)
def test_null_enumerations_are_found(places: Served, filter: str) -> None:
    places.simulator.reset()
    result = places.call("query_entities", entity_name="Places", filter=filter, count=True)
    assert "".join(record["Id"] for record in result["records"]) == NULLS[filter]
    assert result["count"] == len(NULLS[filter])


@pytest.mark.parametrize("filter", [filter for filter in NULLS if "null" in filter])
def test_null_enumerations_are_found_where_f_and_o_does_not_compare_them(places: Served, filter: str) -> None:
    places.simulator.reset()
    places.simulator.fault("/data/Places", status=400)
    result = places.call("query_entities", entity_name="Places", filter=filter)
    assert "".join(record["Id"] for record in result["records"]) == NULLS[filter]
    assert "F&O does not compare an enumeration with null: that part was checked here" in result["notes"]
    assert "null" not in places.requests("/data/places")[-1]["query"]


@pytest.mark.parametrize(
    ("entity", "column"),
    [
        ("LegalEntities", "AddressTimeZone"),
        ("Warehouses", "PrimaryAddressTimeZone"),
        ("PurchaseOrderLinesV2", "DeliveryAddressTimeZone"),
    ],
)
def test_a_null_enumeration_of_a_known_set_is_given_and_found(reader: Served, entity: str, column: str) -> None:
    asked = {"entity_name": entity, "select": [column], "cross_company": entity != "LegalEntities", "top": 5}
    result = reader.call("query_entities", **asked, filter=f"{column} eq null")
    assert {record[column] for record in result["records"]} == {None}


def test_null_has_no_order(places: Served) -> None:
    for operator in ("gt", "ge", "lt", "le"):
        error = places.refuse("query_entities", entity_name="Places", filter=f"Zone {operator} null")
        assert "eq or ne only" in error["message"]
