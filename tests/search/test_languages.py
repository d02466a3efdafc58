"""Words in any of the languages whose labels are kept find entities, enumerations and properties."""

from collections.abc import Iterator

import pytest

from tests.metadata.world import WORLD
from tests.served import Served, build_catalog, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

LANGUAGES = "en-US,de,fr"


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    simulator = Simulator.start(WORLD)
    yield simulator
    simulator.stop()


@pytest.fixture(scope="module")
def cataloged(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Served from a catalog in three languages."""
    folder = str(tmp_path_factory.mktemp("catalog"))
    build_catalog(running, folder, D365FO_LANGUAGES=LANGUAGES)
    with serving(running, MCP_TOOLSETS="all", TMPDIR=folder, D365FO_LANGUAGES=LANGUAGES) as served:
        yield served


@pytest.fixture(scope="module")
def live(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same without a catalog."""
    with serving(running, TMPDIR=str(tmp_path_factory.mktemp("none"))) as served:
        yield served


@pytest.mark.parametrize(
    ("question", "entity_set"),
    [
        ("customers", "CustomersV3"),
        ("Debitoren", "CustomersV3"),
        ("clients", "CustomersV3"),
        ("Debitorengruppen", "CustomerGroups"),
        ("Kreditlimit", "CustomersV3"),
        ("limite de crédit", "CustomersV3"),
        ("Gesperrt", "CustomersV3"),
        ("Gruppe", "CustomerGroups"),
    ],
)
def test_an_entity_is_found_in_every_language(cataloged: Served, question: str, entity_set: str) -> None:
    found = cataloged.call("search_entities", query=question)["entities"]
    assert found[0]["entity_set"] == entity_set
    assert found[0].get("label") in ("Customers", None)  # the first language's, where the name does not say it


@pytest.mark.parametrize("question", ["no or yes", "Nein", "ja"])
def test_an_enumeration_is_found_in_every_language(cataloged: Served, question: str) -> None:
    assert cataloged.call("search_enumerations", query=question)["found"][0]["name"] == "NoYes"


@pytest.mark.parametrize("words", ["credit", "LIMIT", "Kreditlimit", "crédit", "creditmax"])
def test_a_schemas_properties_are_found_by_their_labels_in_every_language(cataloged: Served, words: str) -> None:
    schema = cataloged.call("get_entity_schema", entity_name="CustomersV3", columns=words)
    assert schema["properties"] == {"Decimal": "CreditMax"}


def test_names_and_labels_are_looked_at_together(cataloged: Served) -> None:
    schema = cataloged.call("get_entity_schema", entity_name="CustomersV3", columns="hold gesperrt konto")
    assert schema["properties"] == {"String": "CustomerAccount", "NoYes": "OnHold"}


def test_a_language_that_was_asked_for_is_looked_at_too(cataloged: Served, live: Served) -> None:
    for served in (cataloged, live):
        schema = served.call("get_entity_schema", entity_name="CustomersV3", columns="gesperrt", language="de")
        assert schema["properties"] == {"NoYes": "OnHold"}


def test_without_a_catalog_labels_are_looked_at_where_names_find_nothing(live: Served) -> None:
    live.simulator.reset()
    schema = live.call("get_entity_schema", entity_name="CustomersV3", columns="blocked")
    assert schema["properties"] == {"NoYes": "OnHold"}
    none = live.call("get_entity_schema", entity_name="CustomersV3", columns="zyzzyva")
    assert none["properties"] == {}
    assert any("name or label" in note for note in none["notes"])


def test_labels_of_all_languages_are_read_from_the_catalog(cataloged: Served) -> None:
    cataloged.simulator.reset()
    for language, text in (("en-us", "Customers"), ("DE", "Debitoren"), ("fr", "Clients")):
        found = cataloged.call("get_labels", label_ids=["@CAT1"], language=language)
        assert found["labels"] == {"@CAT1": text}
    none = cataloged.call("get_labels", label_ids=["@CAT9"], language="fr")
    assert none["labels"] == {}
    assert none["failures"].keys() == {"@CAT9"}
    assert cataloged.requests("/metadata") == []
