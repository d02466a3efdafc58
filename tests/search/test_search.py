"""Search over the simulated environment: the right entity first, why, and what is a guess."""

from collections.abc import Iterator

import pytest

from tests.served import Served, build_catalog, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike


@pytest.fixture(scope="module")
def served(simulator_process: Simulator) -> object:
    with serving(simulator_process) as there:
        yield there


@pytest.fixture(scope="module")
def folder(simulator_process: Simulator, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the environment's catalog."""
    folder = str(tmp_path_factory.mktemp("catalog"))
    build_catalog(simulator_process, folder)
    return folder


@pytest.fixture(scope="module")
def catalogued(simulator_process: Simulator, folder: str) -> Iterator[Served]:
    with serving(simulator_process, MCP_TOOLSETS="all", TMPDIR=folder) as there:
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


@pytest.mark.parametrize("door", ["served", "catalogued"])
@pytest.mark.parametrize(
    ("tool", "question", "note"),
    [
        ("entities", "cusotmer groups", '"cusotmer" is read as "customer"'),
        ("entities", "custmer invoces", '"custmer" is read as "customer"'),
        ("entities", "customer groups", None),
        ("entities", "salesorderlines", None),  # its words are in one, none is misspelt
        ("entities", "customer zzqx", None),  # like no word
        ("enumerations", "sales statsu", '"statsu" is read as "status"'),
        ("enumerations", "sales status", None),
    ],
)
def test_a_word_that_is_read_as_another_is_said(
    request: pytest.FixtureRequest, door: str, tool: str, question: str, note: str | None
) -> None:
    answer = request.getfixturevalue(door).call(f"search_{tool}", query=question)
    assert [each for each in answer.get("notes", ()) if "is read as" in each][:1] == [note][: note is not None]


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


# What is a guess


def notes(served: Served, tool: str, question: str) -> str:
    return "; ".join(served.call(tool, query=question).get("notes", []))


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ("dunning letters", 'a guess: none of these is named for "dunning" or "letter"'),
        ("forklift", 'a guess: none of these is named for "forklift"'),
        ("trade agreements", 'a guess: none of these is named for "agreement"'),
        ("expense reports", 'a guess: none of these is named for "expense"'),
        ("vendor bank account IBAN", 'none of these is named for "vendor"'),
        ("general ledger parameters", 'none of these is named for "parameter"'),
        ("unpaid sales orders", 'none of these is named for "unpaid"'),
    ],
)
def test_a_word_that_nothing_found_is_named_for_is_said(catalogued: Served, question: str, note: str) -> None:
    assert catalogued.call("search_entities", query=question)["notes"] == [note]


@pytest.mark.parametrize("question", ["bills of materials", "trade agreements"])
def test_of_guesses_there_are_few(catalogued: Served, question: str) -> None:
    assert len(catalogued.call("search_entities", query=question)["entities"]) == 5


@pytest.mark.parametrize(
    "question",
    ["customers", "open sales orders", "who owes us money", "customer credit limit", "purchase orders of a vendor"]
    + [
        "Kundengruppen",
        "how much stock is left",
        "SalesTable",
        "sales order product name",
        "payroll",
    ],
)
def test_what_is_no_guess_has_no_note(catalogued: Served, question: str) -> None:
    assert notes(catalogued, "search_entities", question) == ""


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ("LedgerJournalEntity", "LedgerJournalEntity (General journal) fits better, but OData does not serve it"),
        ("fields of ledgerjournalentity", "LedgerJournalEntity (General journal) fits better, but OData does not"),
        ("tax parameters", "TaxParametersEntity (Tax parameters) fits"),
        ("CustomersV2", "there is no CustomersV2 here"),
        ("columns of VendorsV7", "there is no VendorsV7 here"),
    ],
)
def test_what_was_named_but_is_not_there_to_be_queried_is_said(catalogued: Served, question: str, note: str) -> None:
    assert note in notes(catalogued, "search_entities", question)


def test_what_odata_does_not_serve_and_nothing_fits_are_not_said_together(catalogued: Served) -> None:
    said = notes(catalogued, "search_entities", "parameters")
    assert "fits, but OData does not serve it" in said
    assert "nothing fits" not in said


# Actions


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("confirm", '"confirm"'),
        ("confirm purchase order", '"confirm" or "purchase"'),
        ("release a production order", '"release" or "production"'),
        ("post purchase invoice", '"purchase" or "invoice"'),
        ("how can I approve a vendor invoice", '"approve", "vendor" or "invoice"'),
    ],
)
def test_an_action_that_lacks_most_of_what_was_asked_is_none(catalogued: Served, question: str, words: str) -> None:
    found = catalogued.call("search_actions", query=question)
    assert found["found"] == []
    assert f"none of the 24 actions here has {words}: " in found["notes"][0]


@pytest.mark.parametrize(
    ("question", "word"), [("cancel sales order", "cancel"), ("Auftrag stornieren", "stornieren"), ("calculate order total", "calculate")]
)  # fmt: skip
def test_the_verb_that_no_action_has_is_said(catalogued: Served, question: str, word: str) -> None:
    found = catalogued.call("search_actions", query=question)
    assert found == {
        "notes": [f'none of these actions has "{word}"'],
        "found": [{"name": "SalesOrderHeadersV2.getOrderTotal"}],
    }


@pytest.mark.parametrize(
    ("question", "action"),
    [
        ("post journal", "LedgerJournalHeaders.postJournal"),
        ("order total of a sales order", "SalesOrderHeadersV2.getOrderTotal"),
        ("submit workflow", "Workflows.submit"),
    ],
)
def test_an_action_that_has_the_words_is_found_without_a_note(catalogued: Served, question: str, action: str) -> None:
    assert catalogued.call("search_actions", query=question) == {"found": [{"name": action}]}


def test_a_word_that_no_enumeration_has_is_said(catalogued: Served) -> None:
    assert 'none of these enumerations has "forklift"' in notes(
        catalogued, "search_enumerations", "forklift sales status"
    )


def test_the_first_search_of_a_process_finds_actions(simulator_process: Simulator, folder: str) -> None:
    with serving(simulator_process, MCP_TOOLSETS="all", TMPDIR=folder) as served:
        found = served.call("search_actions", query="post journal")
    assert found["found"] == [{"name": "LedgerJournalHeaders.postJournal"}]


# Names that no entity has


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SalesTable", "SalesOrderHeadersV4"),
        ("CustTable", "CustomersV3"),
        ("Suppliers", "VendorsV3"),
        ("SalesOrders", "SalesOrderHeadersV4"),
        ("VendorInvoices", "VendInvoiceJourBiEntities"),
        ("Customrs", "CustomersV3"),
        ("CustomersV2", "CustomersV3"),
    ],
)
def test_an_unknown_entity_is_what_search_finds_for_its_name(catalogued: Served, name: str, meant: str) -> None:
    for tool in ("query_entities", "get_entity_schema"):
        message = catalogued.refuse(tool, entity_name=name)["message"]
        assert message.startswith(f'No data entity "{name}". Did you mean {meant}')


def test_a_name_that_search_finds_a_part_of_suggests_nothing(catalogued: Served) -> None:
    error = catalogued.refuse("query_entities", entity_name="VendorForklifts")
    assert error["message"] == 'No data entity "VendorForklifts".'
