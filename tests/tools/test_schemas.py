"""Schemas: small enough to read, complete enough to write a query or a record from."""

import json
from typing import Any

import pytest

from tests.served import Served

pytestmark = pytest.mark.alike

BOTH = pytest.mark.parametrize("served", ["reader", "catalogued"])


@pytest.fixture
def server(served: str, request: pytest.FixtureRequest) -> Served:
    found: Served = request.getfixturevalue(served)
    return found


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


# What a create needs


@BOTH
def test_a_schema_says_what_a_create_needs_and_what_f_and_o_gives(server: Served) -> None:
    create = server.call("get_entity_schema", entity_name="SalesOrderHeadersV4")["create"]
    assert create["needs"] == ["OrderingCustomerAccountNumber", "CurrencyCode"]
    assert create["numbered_inferred"] == ["SalesOrderNumber"]
    assert {"SalesOrderStatus", "OrderTotalAmount"} <= set(create["only_fo_sets"])
    journal = server.call("get_entity_schema", entity_name="LedgerJournalHeaders")["create"]
    assert journal == {
        "needs": ["JournalName"],
        "numbered_inferred": ["JournalBatchNumber"],
        "only_fo_sets": ["IsPosted", "JournalTotalCredit", "JournalTotalDebit"],
    }
    assert server.call("get_entity_schema", entity_name="CustomerGroups")["create"] == {"needs": ["CustomerGroupId"]}


@pytest.mark.parametrize(
    ("entity_set", "data"),
    [
        ("SalesOrderHeadersV4", {"OrderingCustomerAccountNumber": "US-001", "CurrencyCode": "USD"}),
        ("LedgerJournalHeaders", {"JournalName": "GenJrn"}),
        ("CustomerGroups", {"CustomerGroupId": "96"}),
        ("CustomersV3", {"OrganizationName": "Museum", "CustomerGroupId": "10", "SalesCurrencyCode": "USD"}),
    ],
)
def test_what_it_needs_is_enough(writer: Served, entity_set: str, data: dict[str, str]) -> None:
    create = writer.call("get_entity_schema", entity_name=entity_set)["create"]
    assert set(create["needs"]) == set(data)
    done = writer.call("create_entity_record", entity_name=entity_set, data=data, company="usmf")
    assert all(done["key"][name] for name in create.get("numbered_inferred", ()))


@BOTH
@pytest.mark.parametrize(
    ("entity_set", "create"),
    [
        ("SalesOrderLines", {"needs_inferred": ["SalesOrderNumber"], "numbered_inferred": ["InventoryLotId"]}),
        ("SalesOrderLinesV2", {"needs_inferred": ["SalesOrderNumber"], "numbered_inferred": ["InventoryLotId"]}),
        ("SalesQuotationLines", {"needs_inferred": ["SalesQuotationNumber"], "numbered_inferred": ["InventoryLotId"]}),
        ("TransferOrderLines", {"needs": ["TransferOrderNumber"], "numbered_inferred": ["LineNumber"]}),
        ("DimensionSets", {"numbered_inferred": ["RecordId"]}),
    ],
)
def test_a_line_needs_its_header_and_a_record_no_id(server: Served, entity_set: str, create: dict[str, Any]) -> None:
    assert server.call("get_entity_schema", entity_name=entity_set)["create"].items() >= create.items()


def test_an_entity_that_only_reads_is_created_by_nothing(reader: Served) -> None:
    schema = reader.call("get_entity_schema", entity_name="WarehousesOnHandV2")
    assert (schema["read_only"], "create" in schema) == (True, False)


# Enumerations and labels


@BOTH
def test_labels_of_members_stand_beside_them(server: Served) -> None:
    schema = server.call("get_entity_schema", entity_name="SalesOrderHeadersV4", columns="status")
    assert "Backorder" in schema["enumerations"]["SalesStatus"]
    assert schema["member_labels"]["SalesStatus"] == {"Backorder": "Open order"}  # the others' say nothing more


def test_long_enumerations_are_said_to_be_left_out(reader: Served) -> None:
    schema = reader.call("get_entity_schema", entity_name="SalesOrderHeadersV4")
    assert "Timezone" not in schema["enumerations"]
    assert any("Timezone (105)" in note and "get_enumeration_fields" in note for note in schema["notes"])


def test_a_label_made_from_its_name_is_left_out(catalogued: Served) -> None:
    labels = catalogued.call("get_entity_schema", entity_name="CustomersV3", columns="country name")["labels"]
    assert labels["OrganizationName"] == "Name"
    assert "AddressCountryRegionId" not in labels  # F&O calls it "Address country region id"


# How entities hang together


@BOTH
def test_a_newer_version_is_named(server: Served) -> None:
    assert server.call("get_entity_schema", entity_name="SalesOrderHeadersV2")["newer_version"] == "SalesOrderHeadersV4"
    assert "newer_version" not in server.call("get_entity_schema", entity_name="SalesOrderHeadersV4")
    assert server.call("get_entity_schema", entity_name="VendorsV2", columns="name")["newer_version"] == "VendorsV3"


@BOTH
def test_fields_name_the_entity_that_has_their_values(server: Served) -> None:
    group = server.call("get_entity_schema", entity_name="CustomerGroups")
    assert group["validated_by"] == {"DefaultDimensionDisplayValue": "DimensionSets.DisplayValue"}  # as F&O says
    assert group["validated_by_inferred"]["PaymentTermId"] == "PaymentTerms"
    customer = server.call("get_entity_schema", entity_name="CustomersV3", columns="group currency terms")
    inferred = customer["validated_by_inferred"]
    assert (inferred["PaymentTerms"], inferred["SalesCurrencyCode"]) == ("PaymentTerms", "Currencies")
    assert "WithholdingTaxGroupCode" not in inferred  # a group of another kind than TaxGroups


@BOTH
@pytest.mark.parametrize(
    ("entity_set", "other", "shared"),
    [
        ("SalesOrderHeadersV4", "SalesOrderLinesV3", "SalesOrderNumber"),
        ("SalesOrderLinesV3", "SalesOrderHeadersV4", "SalesOrderNumber"),
        ("PurchaseOrderHeadersV2", "PurchaseOrderLinesV2", "PurchaseOrderNumber"),
        ("TransferOrderHeaders", "TransferOrderLines", "TransferOrderNumber"),
    ],
)
def test_entities_that_share_the_key_belong_together(server: Served, entity_set: str, other: str, shared: str) -> None:
    schema = server.call("get_entity_schema", entity_name=entity_set)
    linked = json.dumps(schema.get("navigation", {}))
    assert schema.get("belongs_inferred", {}).get(other) == shared or other.removesuffix("s") in linked


@BOTH
@pytest.mark.parametrize(
    ("entity_set", "belonging"),
    [
        (
            "ProductReceiptHeaders",
            {
                "ProductReceiptLines": "RecordId = ProductReceiptHeaderRecordId",
                "PurchaseOrderHeadersV2": "PurchaseOrderNumber",
            },
        ),
        ("CustomerPaymentJournalHeaders", {}),
        ("CustomerPaymentJournalLines", {"CustomerPaymentJournalHeaders": "JournalBatchNumber"}),
        ("VendorPaymentJournalLines", {"VendorPaymentJournalHeaders": "JournalBatchNumber"}),
        ("LedgerJournalHeaders", {}),
        ("LedgerJournalLines", {}),
        ("InventoryMovementJournalHeaders", {}),
        ("DualWriteProjectConfigurations", {}),
        ("SalesInvoiceV2Lines", {"SalesInvoiceHeadersV2": "InvoiceNumber, InvoiceDate, LedgerVoucher"}),
        ("CustomerGroups", {"CustomersV3": "CustomerGroupId"}),
    ],
)
def test_a_name_that_two_keys_share_ties_only_what_belongs_together(
    server: Served, entity_set: str, belonging: dict[str, str]
) -> None:
    assert server.call("get_entity_schema", entity_name=entity_set).get("belongs_inferred", {}) == belonging


@BOTH
@pytest.mark.parametrize(("one", "other"), [("VendorsV2", "BankAccounts"), ("VendorsV3", "VendorGroups")])
def test_what_is_only_looked_up_does_not_belong(server: Served, one: str, other: str) -> None:
    for entity_set, foreign in ((one, other), (other, one)):
        schema = server.call("get_entity_schema", entity_name=entity_set)
        assert foreign not in schema.get("belongs_inferred", {})


@pytest.mark.parametrize(
    ("entity_set", "belonging"),
    [
        (
            "PurchaseOrderHeadersV2",
            {"ProductReceiptLines": "PurchaseOrderNumber", "ProductReceiptHeaders": "PurchaseOrderNumber"},
        ),
        (
            "CustomersV3",
            {"CustomerPostalAddressesV2": "CustomerAccount", "FreeTextInvoiceHeaders": "CustomerAccount"},
        ),
    ],
)
def test_the_catalog_knows_the_documents_that_name_a_record(
    catalogued: Served, entity_set: str, belonging: dict[str, str]
) -> None:
    assert catalogued.call("get_entity_schema", entity_name=entity_set)["belongs_inferred"] == belonging


@BOTH
@pytest.mark.parametrize(
    ("entity_set", "validated", "displayed"),
    [
        ("CustomerPaymentJournalLines", {"PaymentMethodName": "CustomerPaymentMethods"}, {"CustomerName"}),
        ("SecurityUserRoleAssociations", {}, {"SecurityRoleName"}),
        ("CustomerGroups", {"ClearingPeriodPaymentTermName": "PaymentTerms"}, set()),
    ],
)
def test_a_name_is_validated_only_where_it_is_a_key(
    server: Served, entity_set: str, validated: dict[str, str], displayed: set[str]
) -> None:
    found = server.call("get_entity_schema", entity_name=entity_set).get("validated_by_inferred", {})
    assert found.items() >= validated.items()
    assert not displayed & found.keys()


@BOTH
@pytest.mark.parametrize("entity_set", ["SalesInvoiceHeadersV2", "WarehousesOnHandV2", "ProductReceiptLines"])
def test_what_is_only_read_is_not_validated(server: Served, entity_set: str) -> None:
    schema = server.call("get_entity_schema", entity_name=entity_set)
    assert schema["read_only"]
    assert not {"validated_by", "validated_by_inferred"} & schema.keys()


@BOTH
def test_a_link_says_how_its_records_are_found_where_names_differ(server: Served) -> None:
    links = server.call("get_entity_schema", entity_name="ProductReceiptLines")["navigation"]
    assert links == {"ProductReceiptHeader": "ProductReceiptHeader by ProductReceiptHeaderRecordId = RecordId"}
    links = server.call("get_entity_schema", entity_name="TransferOrderHeaders")["navigation"]
    assert links == {"TransferOrderLine": "TransferOrderLine (many)"}


# Columns by words


def named_in(server: Served, columns: Any, **more: Any) -> tuple[list[str], list[str]]:
    """Return the properties that columns of CustomersV3 find, and the notes but for the catalog's."""
    schema = server.call("get_entity_schema", entity_name="CustomersV3", columns=columns, **more)
    notes = [note for note in schema.get("notes", ()) if "no catalog" not in note]
    return " ".join(schema["properties"].values()).split(), notes


@BOTH
@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ("CreditLimit", {"CreditLimit"}),
        ("creditlimit", {"CreditLimit"}),
        ("PaymentTerms, CreditLimit", {"PaymentTerms", "CreditLimit"}),
        ("PaymentTerms CreditLimit", {"PaymentTerms", "CreditLimit"}),
        ('["PaymentTerms", "CreditLimit"]', {"PaymentTerms", "CreditLimit"}),
        (["PaymentTerms", "CreditLimit"], {"PaymentTerms", "CreditLimit"}),
        (["PaymentTerms", "on hold"], {"PaymentTerms", "OnHoldStatus"}),
        ("hold,CreditLimit", {"OnHoldStatus", "CreditLimit"}),
    ],
)
def test_names_bring_what_they_name_and_words_what_has_them(server: Served, columns: Any, named: set[str]) -> None:
    found, notes = named_in(server, columns)
    assert (set(found), notes) == (named, [])


@BOTH
@pytest.mark.parametrize("columns", ["credit-limit", "credit_limit", "limit credit", "CreditLimits credit limit"])
def test_words_are_found_however_they_are_joined(server: Served, columns: str) -> None:
    assert "CreditLimit" in named_in(server, columns)[0]


@BOTH
@pytest.mark.parametrize("columns", ["CreditLimit, zyzzyva", "CreditLimit,hold zyzzyva"])
def test_a_word_that_no_property_has_is_named(server: Served, columns: str) -> None:
    found, notes = named_in(server, columns)
    assert "CreditLimit" in found
    assert any('no property has "zyzzyva"' in note for note in notes)


@BOTH
@pytest.mark.parametrize(
    ("columns", "word"), [("on hold", "hold"), ("address city", "city"), ("primary contact phone", "phone")]
)
def test_where_properties_have_all_words_no_others_come(server: Served, columns: str, word: str) -> None:
    found, notes = named_in(server, columns)
    assert found and all(word in name.lower() for name in found)
    assert notes == []


def test_of_many_few_are_listed(reader: Served) -> None:
    found, notes = named_in(reader, "address")
    assert len(found) == 15
    assert any("more properties were found" in note for note in notes)


@BOTH
@pytest.mark.parametrize(
    ("entity_set", "word", "found"),
    [("CustomersV3", "blocked", "OnHoldStatus"), ("VendorsV2", "blocked", "OnHoldStatus")],
)
def test_an_enumeration_s_name_counts_where_no_property_s_does(
    server: Served, entity_set: str, word: str, found: str
) -> None:
    schema = server.call("get_entity_schema", entity_name=entity_set, columns=word)
    assert " ".join(schema["properties"].values()).split() == [found]


def test_what_an_enumeration_s_members_are_called_counts_too(catalogued: Served) -> None:
    schema = catalogued.call("get_entity_schema", entity_name="SalesOrderHeadersV4", columns="invoiced")
    assert "SalesOrderStatus" in schema["properties"]["SalesStatus"]


@BOTH
def test_words_of_a_language_that_is_asked_for_are_read(server: Served) -> None:
    assert named_in(server, "Kreditlimit", language="de")[0] == ["CreditLimit"]


def test_a_word_is_found_at_its_beginning_rather_than_inside_another(reader: Served) -> None:
    schema = reader.call("get_entity_schema", entity_name="CustomersV3", columns="hold")
    assert schema["properties"] == {"CustVendorBlocked": "OnHoldStatus"}
    inside = reader.call("get_entity_schema", entity_name="CustomersV3", columns="redit")
    assert "CreditLimit" in inside["properties"]["Decimal"]


def test_some_columns_cost_under_350_tokens(catalogued: Served) -> None:
    for words in ("hold", "credit limit", "payment terms", "address", "status"):
        schema = catalogued.call("get_entity_schema", entity_name="CustomersV3", columns=words)
        assert len(json.dumps(schema, separators=(",", ":"), ensure_ascii=False)) / 4 < 350, words
