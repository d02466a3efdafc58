"""Ranking over a few dozen data entities written for it: what comes first, and why."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from d365mcp.d365.models import EntitySummary
from d365mcp.metadata.search.entities import EntityFinder
from d365mcp.metadata.search.index import SearchDocument, write_index
from d365mcp.metadata.search.phrases import Phrasebook
from d365mcp.metadata.search.questions import Search
from d365mcp.metadata.shared_connection import SharedConnection

pytestmark = pytest.mark.alike

QUESTIONS = Path(__file__).parent / "questions.json"

# Entity set, public name, AOT name, label, fields
ENTITIES = """
CustomersV3 | CustomerV3 | CustCustomerV3Entity | Customers V3 | CustomerAccount CreditLimit PaymentTerms CurrencyCode SalesTaxGroup
CustomersV2 | CustomerV2 | CustCustomerV2Entity | Customers V2 | CustomerAccount CreditLimit PaymentTerms
CustomerGroups | CustomerGroup | CustCustomerGroupEntity | Customer groups | CustomerGroupId Description
CustomerParameters | CustomerParameters | CustomerParametersEntity | Accounts receivable parameters | Key
CustCustomerStagings | CustCustomerStaging | CustCustomerStagingEntity | Customers | CustomerAccount
CustomerBankAccounts | CustomerBankAccount | CustomerBankAccountEntity | Customer bank accounts | IBAN SWIFTCode
VendorsV2 | VendorV2 | VendVendorV2Entity | Vendors V2 | VendorAccountNumber PaymentTerms
VendorGroups | VendorGroup | VendVendorGroupEntity | Vendor groups | VendorGroupId
VendorInvoiceHeaders | VendorInvoiceHeader | VendorInvoiceHeaderEntity | Vendor invoice header | InvoiceNumber
VendorInvoiceLines | VendorInvoiceLine | VendorInvoiceLineEntity | Vendor invoice line | LineAmount
SalesOrderHeadersV2 | SalesOrderHeaderV2 | SalesOrderHeaderV2Entity | Sales order headers V2 | SalesOrderNumber CurrencyCode
SalesOrderLinesV2 | SalesOrderLineV2 | SalesOrderLineV2Entity | Sales order lines V2 | ItemNumber LineAmount
SalesOrderPools | SalesOrderPool | SalesOrderPoolEntity | Sales order pools | PoolId
PurchaseOrderHeadersV2 | PurchaseOrderHeaderV2 | PurchPurchaseOrderHeaderV2Entity | Purchase order headers V2 | OrderNumber
PurchaseOrderLinesV2 | PurchaseOrderLineV2 | PurchPurchaseOrderLineV2Entity | Purchase order lines V2 | ItemNumber
PaymentTerms | PaymentTerm | PaymentTermEntity | Terms of payment | Name NumberOfDays
TransportationModes | TransportationMode | TMSTransportationModeEntity | Transportation modes | ModeCode
WarehousesOnHandV2 | WarehouseOnHandV2 | InventWarehouseOnHandV2Entity | Inventory on-hand by warehouse V2 | ItemNumber
Warehouses | Warehouse | InventWarehouseEntity | Warehouses | WarehouseId
ReleasedProductsV2 | ReleasedProductV2 | EcoResReleasedProductV2Entity | Released products V2 | ItemNumber
ExchangeRates | ExchangeRate | ExchangeRateEntity | Exchange rates | FromCurrency ToCurrency
PlannedOrders | PlannedOrder | ReqPlannedOrderEntity | Planned orders | ItemNumber
MainAccounts | MainAccount | MainAccountEntity | Main accounts | MainAccountId
MainAccountsRU | MainAccountRU | MainAccountEntity_RU | Main accounts | MainAccountId
LegalEntities | LegalEntity | OMLegalEntity | Legal entities | Name
"""


def row(names: list[str]) -> EntitySummary:
    return EntitySummary(names[2], names[1], names[0])


@pytest.fixture(scope="module")
def finder() -> Iterator[EntityFinder]:
    lines = [[part.strip() for part in line.split("|")] for line in ENTITIES.strip().splitlines()]
    phrasebook = Phrasebook()
    entities = [
        SearchDocument(
            "entity", tuple(line[:3]), line[3], tuple(line[4].split()), line[2], phrases=phrasebook.of([line[2]])
        )
        for line in lines
    ]
    others = [
        SearchDocument("enumeration", ("SalesStatus",), "Sales status", ("Backorder", "Delivered"), "SalesStatus"),
        SearchDocument("action", ("confirmOrder", "SalesOrderHeadersV2"), ref="SalesOrderHeadersV2.confirmOrder"),
    ]
    with closing(sqlite3.connect(":memory:")) as connection:
        write_index(connection, [*entities, *others])
        yield EntityFinder(SharedConnection(connection), [row(line) for line in lines])


def found(finder: EntityFinder, question: str) -> list[str]:
    return [hit.summary.entity_set for hit in finder.find(question).hits]


@pytest.mark.parametrize(
    ("question", "entity_set"),
    [
        pytest.param("customers", "CustomersV3", id="the thing itself before what is about it"),
        pytest.param("Which clients are there?", "CustomersV3", id="another word for it"),
        pytest.param("AR parameters", "CustomerParameters", id="an abbreviation"),
        pytest.param("sales orders", "SalesOrderHeadersV2", id="an order is its header"),
        pytest.param("open sales orders", "SalesOrderHeadersV2", id="its state matters little"),
        pytest.param("SO lines", "SalesOrderLinesV2", id="lines when asked for"),
        pytest.param("purchase order", "PurchaseOrderHeadersV2", id="a word that only another has is not overheard"),
        pytest.param("customer credit limit", "CustomersV3", id="a field of it"),
        pytest.param("transport modes", "TransportationModes", id="a word of the same root"),
        pytest.param("inventory level by warehouse", "WarehousesOnHandV2", id="other words for it"),
        pytest.param("suplier groups", "VendorGroups", id="a slip in a word that no name has"),
        pytest.param("exchnage rates", "ExchangeRates", id="a slip in a word of a name"),
        pytest.param("salesorderlines", "SalesOrderLinesV2", id="words run together"),
        pytest.param("Kundengruppen", "CustomerGroups", id="a German compound"),
        pytest.param("InventTable", "ReleasedProductsV2", id="a table of the database"),
        pytest.param("main accounts", "MainAccounts", id="everybody's before one country's"),
        pytest.param("list of companies in the system", "LegalEntities", id="a name that is partly a stop word"),
        pytest.param("Is there enough left of an article?", "WarehousesOnHandV2", id="phrases, a product beside them"),
        pytest.param("Convert pounds to euro", "ExchangeRates", id="phrases alone, no word is in a name"),
        pytest.param(
            "Goods a customer is still waiting for", "SalesOrderLinesV2", id="phrases before a name in passing"
        ),
        pytest.param("Who owes us money?", "CustomersV3", id="what others owe"),
        pytest.param("Whom do we owe money?", "VendorsV2", id="what we owe"),
        pytest.param("How much do we owe?", "VendorsV2", id="what we owe, money not named"),
        pytest.param("Orders a customer has not received", "SalesOrderHeadersV2", id="customers' before vendors'"),
    ],
)
def test_what_is_meant_comes_first(finder: EntityFinder, question: str, entity_set: str) -> None:
    assert found(finder, question)[0] == entity_set


def test_the_newest_version_comes_before_internal_copies_and_stands_for_older_ones(finder: EntityFinder) -> None:
    best = finder.find("customers").hits[0]
    assert (best.summary.entity_set, best.other_versions) == ("CustomersV3", ("CustomersV2",))
    assert (
        found(finder, "customers").index("CustomersV3")
        < found(finder, "customers staging").index("CustCustomerStagings") + 1
    )
    assert "CustomersV2" not in found(finder, "customers")


def test_a_version_asked_for_comes_first(finder: EntityFinder) -> None:
    assert found(finder, "fields of CustomersV2")[0] == "CustomersV2"
    assert found(finder, "custcustomerv2entity")[0] == "CustomersV2"


def test_what_is_kept_out_makes_room_for_others() -> None:
    many = [SearchDocument("entity", (f"CustomerSheets{number}",), ref=f"sheet {number}") for number in range(500)]
    wanted = SearchDocument("entity", ("CustomerSheetsOfAnotherAndQuiteLongName",), ref="wanted")
    with closing(sqlite3.connect(":memory:")) as connection:
        write_index(connection, [*many, wanted])
        search = Search(SharedConnection(connection), "entity")
        hits = search.best(search.wanted("customer sheets"), lambda ref: ref == "wanted")
    assert [hit.ref for hit in hits] == ["wanted"]


def test_each_kind_is_searched_apart(finder: EntityFinder) -> None:
    connection = finder.search.index.connection
    assert [hit.ref for hit in Search(connection, "enumeration").find("sales status")] == ["SalesStatus"]
    assert [hit.ref for hit in Search(connection, "action").find("confirm order")] == [
        "SalesOrderHeadersV2.confirmOrder"
    ]
    assert "SalesStatus" not in [hit.ref for hit in finder.search.find("sales status")]


@pytest.mark.parametrize(
    "question", ["", "?", '"', "x' OR 1=1 --", "NEAR(a b)", "***", "qqqqzzzz", "\ud800", "a" * 300]
)
def test_a_question_without_sense_finds_nothing(finder: EntityFinder, question: str) -> None:
    assert finder.find(question).hits == []


def test_other_scripts_are_searched(finder: EntityFinder) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        write_index(connection, [SearchDocument("entity", ("X",), "Группы клиентов", ref="groups")])
        assert [hit.ref for hit in Search(SharedConnection(connection), "entity").find("Группы")] == ["groups"]


def test_no_question_is_both_tuned_on_and_held_out() -> None:
    questions = [question for asked in json.loads(QUESTIONS.read_text()).values() for question in asked]
    assert len(questions) == len(set(questions))


def test_a_label_in_another_language_counts_as_one_in_the_first() -> None:
    documents = [
        SearchDocument("entity", ("CustomersV3",), "Customers", ref="Customers", translations=("Debitoren", "Clients")),
        SearchDocument(
            "entity", ("CustomerGroups",), "Customer groups", ref="Groups", translations=("Debitorengruppen",)
        ),
        SearchDocument("entity", ("DebitorenV3",), "Debitoren", ref="Alone"),
    ]
    with closing(sqlite3.connect(":memory:")) as connection:
        write_index(connection, documents)
        search = Search(SharedConnection(connection), "entity")
        assert [found.ref for found in search.find("Clients")][0] == "Customers"
        assert {found.ref for found in search.find("Debitoren")} >= {"Customers", "Alone"}


def test_what_speaks_of_customers_and_vendors_alike_fits_questions_about_either() -> None:
    names = ("CustVendorBlocked", "VendorBlocked", "CustomerBlocked")
    with closing(sqlite3.connect(":memory:")) as connection:
        write_index(connection, [SearchDocument("enumeration", (name,), ref=name) for name in names])
        found = [each.ref for each in Search(SharedConnection(connection), "enumeration").find("customer blocked")]
    assert found == ["CustomerBlocked", "CustVendorBlocked"]
