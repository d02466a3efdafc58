"""Which columns an answer has: those people ask for, those a caller names, and what a wrong name was meant to be."""

from typing import Any

import pytest

from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.tools.columns import default_columns
from d365mcp.tools.well_known_columns import COLUMNS
from tests.served import Served

pytestmark = pytest.mark.alike

US_003 = {"dataAreaId": "usmf", "CustomerAccount": "US-003"}


def entity(*properties: EntityProperty) -> DataEntity:
    """Return a wide entity that no list has, with rare properties before those that tell."""
    rare = [EntityProperty(f"{word}Code{n}", "Edm.String") for word in ("NMFC", "Intrastat", "GIS") for n in range(10)]
    return DataEntity("Contoso", "Contosos", {prop.name: prop for prop in (*rare, *properties)})


WANTED = (
    EntityProperty("ContosoId", "Edm.String", is_key=True),
    EntityProperty("ContosoName", "Edm.String"),
    EntityProperty("ApprovalStatus", "Microsoft.Dynamics.DataEntities.Approval"),
    EntityProperty("LineAmount", "Edm.Decimal"),
    EntityProperty("CurrencyCode", "Edm.String"),
    EntityProperty("ContosoType", "Microsoft.Dynamics.DataEntities.ContosoType"),
    EntityProperty("ContosoGroupId", "Edm.String"),
    EntityProperty("DueDate", "Edm.DateTimeOffset", "Date"),
    EntityProperty("FormattedPrimaryAddress", "Edm.String"),
    EntityProperty("SiteId", "Edm.String"),
)


def test_columns_are_chosen_by_names_and_types_wherever_they_stand() -> None:
    assert set(default_columns(entity(*WANTED), {})) == {prop.name for prop in WANTED}


@pytest.mark.parametrize("label", ["Name", "Status", "Amount"])
def test_a_column_whose_name_says_nothing_is_chosen_by_its_label(label: str) -> None:
    types = {"Name": "Edm.String", "Status": "Microsoft.Dynamics.DataEntities.Some", "Amount": "Edm.Decimal"}
    odd = EntityProperty("XQ7", types[label], label_id="@C:1")
    assert "XQ7" in default_columns(entity(*WANTED, odd), {"@C:1": label})
    assert "XQ7" not in default_columns(entity(*WANTED, odd), {"@C:1": "Intrastat procedure"})


def test_a_text_of_the_name_of_an_amount_is_none() -> None:
    text = EntityProperty("WillIncludeAmount", "Edm.String")
    assert "WillIncludeAmount" not in default_columns(entity(*WANTED, text), {})


def test_the_list_has_the_entities_used_most_once() -> None:
    listed = [line.split()[0] for line in COLUMNS.splitlines() if line]
    assert len(listed) == len(set(listed)) >= 60


@pytest.mark.parametrize(
    ("entity_set", "columns"),
    [
        ("CustomersV3", {"CustomerAccount", "OrganizationName", "CustomerGroupId", "OnHoldStatus", "CreditLimit"}),
        ("VendorsV2", {"VendorAccountNumber", "VendorOrganizationName", "VendorGroupId", "OnHoldStatus"}),
        ("SalesOrderHeadersV2", {"SalesOrderNumber", "SalesOrderStatus", "OrderTotalAmount", "RequestedShippingDate"}),
        ("SalesOrderLinesV3", {"InventoryLotId", "ItemNumber", "OrderedSalesQuantity", "LineAmount"}),
        ("Ledgers", {"LegalEntityId", "AccountingCurrency"}),
        ("FixedAssetsV2", {"FixedAssetNumber", "AcquisitionPrice", "AcquisitionDate"}),
        ("BatchJobs", {"BatchJobRecId", "JobDescription", "Status"}),
    ],
)
def test_what_people_ask_for_comes_without_being_named(reader: Served, entity_set: str, columns: set[str]) -> None:
    result = reader.call("query_entities", entity_name=entity_set, top=5)
    found = {name for record in result["records"] for name in record}
    assert columns <= found
    assert len(found) <= 16


def test_columns_without_a_value_are_left_out_unless_named(reader: Served) -> None:
    asked: dict[str, Any] = {"entity_name": "ProjectsV2", "filter": "ProjectId eq '000036'", "company": "usmf"}
    default = reader.call("query_entities", **asked)
    assert "ProjectContractId" not in default["records"][0]
    assert f"{len(default['records'][0])} of 73 properties shown: name others in select" in default["notes"]
    named = reader.call("query_entities", **asked, select=["ProjectId", "ProjectContractId", "ActualEndDate"])
    assert named["records"] == [{"ProjectId": "000036", "ProjectContractId": "", "ActualEndDate": None}]


def test_key_columns_stay_even_where_they_are_blank(reader: Served) -> None:
    records = reader.call("query_entities", entity_name="WarehousesOnHandV2", company="usmf", top=2)["records"]
    assert all(record["ProductColorId"] == "" for record in records)


# Names that an entity has not


def test_a_select_goes_on_without_a_column_there_is_none_of(catalogued: Served) -> None:
    columns = ["CustomerAccount", "CustomerName", "CreditLimit"]
    result = catalogued.call("query_entities", entity_name="CustomersV3", select=columns, company="usmf", top=1)
    assert [set(record) for record in result["records"]] == [{"CustomerAccount", "CreditLimit"}]
    assert 'left out: no property "CustomerName". Did you mean OrganizationName (label "Name")' in result["notes"][0]


def test_a_page_that_goes_on_goes_on_without_it_too(reader: Served) -> None:
    orders = {"entity_name": "SalesOrderHeadersV2"}
    first = reader.call("query_entities", **orders, select=["SalesOrderNumber", "SalesOrderNme"], company="usmf")
    second = reader.call("query_entities", **orders, cursor=first["next_cursor"])
    assert [set(record) for record in second["records"]] == [{"SalesOrderNumber"}] * 50


@pytest.mark.parametrize(
    ("entity_set", "name", "suggested"),
    [
        ("CustomersV3", "CustomerName", 'OrganizationName (label "Name")'),
        ("CustomersV3", "Phone", "PrimaryContactPhone"),
        ("CustomersV3", "Email", "PrimaryContactEmail"),
        ("CustomersV3", "CustomerGroup", "CustomerGroupId"),
        ("CustomersV3", "CreditLimt", "CreditLimit"),
        ("CustomersV3", "Email", "Did you mean PrimaryContactEmail"),
        ("CustomersV3", "AccountNum", "Did you mean CustomerAccount?"),
        ("CustomersV3", "Group", 'Did you mean CustomerGroupId (label "Customer group")?'),
        ("CustomersV3", "PaymTermId", "Did you mean PaymentTerms"),
        ("CustomerGroups", "Name", "Did you mean Description"),
        ("MainAccounts", "Description", "Did you mean Name"),
        ("VendorsV3", "PaymTermId", "Did you mean DefaultPaymentTermsName"),
        ("ProjectsV2", "Status", "Did you mean ProjectStage?"),
        ("PurchaseOrderHeadersV2", "Status", "Did you mean PurchaseOrderStatus?"),
        ("PurchaseOrderHeadersV2", "PurchId", "Did you mean PurchaseOrderNumber"),
        ("PurchaseOrderHeadersV2", "Vendor", "Did you mean OrderVendorAccountNumber"),
        ("SalesOrderHeadersV4", "Customer", "Did you mean OrderingCustomerAccountNumber"),
        ("SalesOrderLinesV3", "SalesId", "Did you mean SalesOrderNumber"),
        ("SalesOrderLinesV3", "Total", "Did you mean LineAmount"),
        ("SalesOrderHeadersV4", "Status", "SalesOrderStatus"),
        ("SalesOrderLinesV3", "Qty", "OrderedSalesQuantity"),
    ],
)
def test_what_was_meant_is_found_by_label_and_meaning(
    catalogued: Served, entity_set: str, name: str, suggested: str
) -> None:
    for arguments in ({"select": [name]}, {"filter": f"{name} eq 'x'"}, {"order_by": [name]}):
        error = catalogued.refuse("query_entities", entity_name=entity_set, **arguments)
        assert (error["code"], suggested in error["message"]) == ("unknown_name", True), error


@pytest.mark.parametrize(
    ("entity_set", "name"),
    [("CustomersV3", "e"), ("CustomersV3", "Balance"), ("FreeTextInvoiceHeaders", "Amount"), ("CustomersV3", "Zzz")],
)
def test_where_nothing_comes_close_nothing_is_suggested(catalogued: Served, entity_set: str, name: str) -> None:
    error = catalogued.refuse("query_entities", entity_name=entity_set, select=[name])
    assert error["message"] == f'No property "{name}".'


def test_live_labels_of_the_likely_columns_are_read(reader: Served) -> None:
    error = reader.refuse("query_entities", entity_name="CustomersV3", select=["CustomerName"])
    assert 'OrganizationName (label "Name")' in error["message"]
    assert len(reader.requests("/metadata/Labels")) <= 12


@pytest.mark.parametrize("served", ["reader", "catalogued"])
def test_a_column_of_a_related_entity_is_said_with_it(served: str, request: pytest.FixtureRequest) -> None:
    server: Served = request.getfixturevalue(served)
    columns = ["ItemNumber", "ProductName"]
    result = server.call("query_entities", entity_name="ReleasedProductsV2", select=columns, company="usmf", top=1)
    assert "ProductsV2 (linked by ProductNumber, inferred) has ProductName" in result["notes"][0]
    assert list(result["records"][0]) == ["ItemNumber"]


@pytest.mark.parametrize(
    ("entity_set", "name", "place"),
    [
        ("SalesOrderLinesV3", "ProductName", "ProductsV2 (linked by ItemNumber and ReleasedProductsV2.ProductNumber, inferred)"),
        ("PurchaseOrderLinesV2", "ProductName", "ProductsV2 (linked by ItemNumber and ReleasedProductsV2.ProductNumber"),
        ("TransferOrderLines", "ProductName", "ProductsV2 (linked by ItemNumber and ReleasedProductsV2.ProductNumber"),
        ("ProductionOrderHeaders", "ProductName", "ProductsV2 (linked by ItemNumber and"),
        ("SalesOrderLinesV3", "CustomerAccount", "SalesOrderHeadersV4 (linked by SalesOrderNumber, inferred) has OrderingC"),
        ("PurchaseOrderLinesV2", "VendorAccount", "PurchaseOrderHeadersV2 (expand PurchaseOrderHeader) has OrderVendorA"),
        ("SalesOrderHeadersV4", "CustomerName", "CustomersV3 (linked by OrderingCustomerAccountNumber, inferred) has Organ"),
        ("SalesOrderHeadersV4", "CustomerEmail", "CustomersV3 (linked by OrderingCustomerAccountNumber, inferred) has Prim"),
        ("PurchaseOrderHeadersV2", "VendorName", ") has VendorOrganizationName"),
        ("FreeTextInvoiceHeaders", "CustomerName", "CustomersV3 (linked by CustomerAccount, inferred) has OrganizationName"),
        ("SalesInvoiceHeadersV2", "CustomerName", "CustomersV3 (linked by InvoiceCustomerAccountNumber, inferred) has Org"),
        ("CustomersV3", "CustomerGroupName", "CustomerGroups (expand CustomerGroup) has Description"),
        ("VendorsV3", "VendorGroupDescription", "VendorGroups (linked by VendorGroupId, inferred) has Description"),
        ("SalesOrderLinesV3", "warehousename", "Warehouses (linked by ShippingWarehouseId, inferred) has WarehouseName"),
        ("ProductsV2", "ItemNumber", "ReleasedProductsV2 (linked by ProductNumber, inferred) has ItemNumber"),
    ],
)  # fmt: skip
def test_what_only_a_related_entity_has_is_said_with_the_way_there(
    catalogued: Served, entity_set: str, name: str, place: str
) -> None:
    message = catalogued.refuse("query_entities", entity_name=entity_set, select=[name])["message"]
    assert place in message
    assert message.count("inferred)") + message.count("(expand") == 1  # one place is enough


def test_a_place_that_fits_comes_before_a_column_that_is_merely_similar(catalogued: Served) -> None:
    error = catalogued.refuse("query_entities", entity_name="SalesOrderLinesV3", select=["ProductName"])
    assert "SalesProductCategoryName" not in error["message"]


def test_several_wrong_names_are_answered_together(reader: Served) -> None:
    error = reader.refuse("query_entities", entity_name="CustomersV3", select=["CreditLimt", "PaymentTrms"])
    assert "CreditLimit" in error["message"]
    assert "PaymentTerms" in error["message"]


@pytest.mark.parametrize("served", ["reader", "catalogued"])
def test_one_record_goes_on_without_it_too(served: str, request: pytest.FixtureRequest) -> None:
    server: Served = request.getfixturevalue(served)
    columns = ["CustomerName", "CreditLimit"]
    result = server.call("get_entity_record", entity_name="CustomersV3", key=US_003, select=columns)
    assert result["record"] == {"CreditLimit": 350000}
    assert "OrganizationName" in result["notes"][0]


def test_a_body_with_wrong_names_is_answered_as_well(catalogued: Served) -> None:
    data = {"CustomerName": "x", "CreditLimt": 1, "OrganizationName": "y"}
    error = catalogued.refuse("update_entity_record", entity_name="CustomersV3", key=US_003, data=data)
    assert 'OrganizationName (label "Name")' in error["message"]
    assert "Did you mean CreditLimit" in error["message"]


# What is expanded

ORDERS = {"entity_name": "SalesOrderHeadersV2"}
FIRST_ORDER = {**ORDERS, "key": {"dataAreaId": "usmf", "SalesOrderNumber": "000001"}}


@pytest.mark.parametrize("served", ["reader", "catalogued"])
@pytest.mark.parametrize(
    ("tool", "asked"),
    [
        ("get_entity_record", FIRST_ORDER),
        ("query_entities", {**ORDERS, "top": 1, "select": ["SalesOrderNumber"]}),
        ("query_entities", {**ORDERS, "top": 1, "select": ["SalesOrderNumber"], "rows_as": "csv"}),
    ],
)
def test_a_record_too_long_for_what_is_expanded_is_told_how_to_expand_less(
    served: str, request: pytest.FixtureRequest, tool: str, asked: dict[str, Any]
) -> None:
    server: Served = request.getfixturevalue(served)
    message = server.refuse(tool, **asked, expand=["SalesOrderLines"])["message"]
    advice = message.partition(": expand ")[2].partition(", with")[0]
    assert advice.startswith("SalesOrderLines($select=InventoryLotId,")
    server.call(tool, **{"select": ["SalesOrderNumber"], **asked}, expand=[advice])


def test_where_even_chosen_columns_are_too_long_the_entity_is_named(reader: Served) -> None:
    schema = reader.call("get_entity_schema", entity_name="SalesOrderLines")
    every = " ".join(schema["properties"].values()).split()
    message = reader.refuse("get_entity_record", **FIRST_ORDER, expand=[f"SalesOrderLines($select={','.join(every)})"])
    assert message["message"].endswith("select less of SalesOrderLines, or query SalesOrderLines itself.")


@pytest.mark.parametrize("served", ["reader", "catalogued"])
@pytest.mark.parametrize(
    ("tool", "asked"),
    [
        ("get_entity_record", {**FIRST_ORDER, "select": ["SalesOrderNumber"]}),
        ("query_entities", {**ORDERS, "top": 1, "select": ["SalesOrderNumber"]}),
    ],
)
def test_names_inside_what_is_expanded_are_put_right_or_left_out(
    served: str, request: pytest.FixtureRequest, tool: str, asked: dict[str, Any]
) -> None:
    server: Served = request.getfixturevalue(served)
    result = server.call(tool, **asked, expand=["SalesOrderLines($select=itemnumber,OrderedSalesQty)"])
    record = result["record"] if "record" in result else result["records"][0]
    assert all(list(line) == ["ItemNumber"] for line in record["SalesOrderLines"])
    note = 'left out of SalesOrderLines: no property "OrderedSalesQty". Did you mean OrderedSalesQuantity'
    assert note in result["notes"][0]
    error = server.refuse(tool, **asked, expand=["SalesOrderLines($select=ItemNumbr)"])
    assert (error["code"], "Did you mean ItemNumber" in error["message"]) == ("unknown_name", True)
    assert "SalesOrderLines" in error["hint"]
