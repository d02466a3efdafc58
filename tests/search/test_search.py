"""Search over a catalog built from the simulated environment: the right entity first, and why."""

import pytest

from tests.served import Served, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> object:
    with serving(simulator_process) as there:
        yield there


@pytest.mark.parametrize(
    ("question", "entity_set"),
    [
        ("customers", "CustomersV3"),
        ("list of all clients", "CustomersV3"),
        ("cusotmer groups", "CustomerGroups"),
        ("suppliers", "VendorsV3"),
        ("open sales orders", "SalesOrderHeadersV4"),
        ("SO lines", "SalesOrderLinesV3"),
        ("PO lines", "PurchaseOrderLinesV2"),
        ("stock per warehouse", "WarehousesOnHandV2"),
        ("employees", "EmployeesV2"),
        ("payment terms", "PaymentTerms"),
        ("fx rates", "ExchangeRates"),
        ("chart of accounts", "ChartOfAccounts"),
        ("free text invoice lines", "FreeTextInvoiceLines"),
        ("legal entities", "LegalEntities"),
        ("unit of measure", "UnitsOfMeasure"),
        ("Kunden", "CustomersV3"),
    ],
)
def test_a_question_finds_its_entity(served: Served, question: str, entity_set: str) -> None:
    found = served.call("search_entities", query=question, limit=5)
    assert entity_set in [each["entity_set"] for each in found["entities"]]


def test_the_newest_version_comes_first(served: Served) -> None:
    best = served.call("search_entities", query="vendors", limit=20)["entities"][0]
    assert best["entity_set"] == "VendorsV3"
    assert "VendorsV2" in best["other_versions"]


def test_entities_that_odata_does_not_serve_are_found_only_when_asked(served: Served) -> None:
    every = served.call("search_entities", query="staging import", limit=50, include_non_public=True)
    assert all(each.get("public") is False or each["entity_set"] for each in every["entities"])
    served_ones = served.call("search_entities", query="customer", limit=100)
    assert all(each.get("public") is not False for each in served_ones["entities"])


def test_enumerations_are_found(served: Served) -> None:
    found = served.call("search_enumerations", query="sales status")
    assert found["found"][0]["name"] == "SalesStatus"


def test_nonsense_finds_nothing_and_says_what_to_try(served: Served) -> None:
    result = served.call("search_entities", query="qqqqzzzz")
    assert result["entities"] == []
    assert any("nothing fits" in note for note in result["notes"])
