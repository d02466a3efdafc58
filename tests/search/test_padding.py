"""What searches say beside the right answer: nothing that costs tokens and steers nobody."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.search.world import WORLD
from tests.served import Served, build_catalog, serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    simulator = Simulator.start(WORLD)
    yield simulator
    simulator.stop()


@pytest.fixture(scope="module")
def cataloged(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = str(tmp_path_factory.mktemp("catalog"))
    build_catalog(running, folder)
    with serving(running, MCP_TOOLSETS="all", TMPDIR=folder) as served:
        yield served


@pytest.fixture(scope="module")
def live(running: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The same without a catalog."""
    with serving(running, MCP_TOOLSETS="all", TMPDIR=str(tmp_path_factory.mktemp("none"))) as served:
        yield served


@pytest.fixture(params=["cataloged", "live"])
def either(request: pytest.FixtureRequest) -> Served:
    found: Served = request.getfixturevalue(request.param)
    return found


def sets(answer: dict[str, Any]) -> list[str]:
    return [each["entity_set"] for each in answer["entities"]]


def notes(answer: dict[str, Any]) -> str:
    return " ".join(answer.get("notes", []))


def test_an_exact_label_leaves_out_those_whose_columns_have_the_words(cataloged: Served) -> None:
    assert sets(cataloged.call("search_entities", query="vendor bank account")) == ["VendorBankAccounts"]


@pytest.mark.parametrize(
    ("task", "entity_set"),
    [
        ("hire somebody", "Workers"),
        ("close a month", "FiscalCalendarPeriods"),
        ("when do we have to pay, how many days", "PaymentTerms"),
    ],
)
def test_wide_entities_do_not_swallow_tasks(cataloged: Served, task: str, entity_set: str) -> None:
    found = sets(cataloged.call("search_entities", query=task))
    assert found[0] == entity_set
    assert not {"VendorParameters", "ReleasedProductsV2", "Warehouses"} & {*found}


def test_the_newest_version_stands_for_the_others(either: Served) -> None:
    answer = either.call("search_entities", query="customers")
    assert [each for each in sets(answer) if each.startswith("Customers")] == ["CustomersV3"]
    assert answer["entities"][0]["other_versions"] == "CustomersV2 Customers"


def test_a_version_asked_for_names_the_newer_one(either: Served) -> None:
    best = either.call("search_entities", query="fields of CustomersV2")["entities"][0]
    assert (best["entity_set"], best["other_versions"]) == ("CustomersV2", "CustomersV3 Customers")


def test_a_hit_names_the_column_that_was_asked_for(cataloged: Served) -> None:
    best = cataloged.call("search_entities", query="customer credit limit")["entities"][0]
    assert (best["entity_set"], best["columns"]) == ("CustomersV3", "CreditLimit")


def test_a_hit_says_nothing_twice(cataloged: Served) -> None:
    hits = cataloged.call("search_entities", query="payment terms")["entities"]
    assert hits[0] == {
        "entity_set": "PaymentTerms",
        "label": "Terms of payment",
        "key": ["dataAreaId", "PaymentTermId"],
    }


def test_what_only_columns_have_is_said(cataloged: Served) -> None:
    answer = cataloged.call("search_entities", query="flash point")
    assert sets(answer) == ["ReleasedProductsV2"]
    assert "nothing is named like this" in notes(answer)
    assert answer["entities"][0]["columns"] == "FlashPoint"


def test_what_is_not_there_is_said(either: Served) -> None:
    answer = either.call("search_entities", query="qqqqzzzz")
    assert answer["entities"] == []
    assert f"nothing fits among {len(WORLD['entities']) + 1} entities" in notes(answer)


def test_a_better_one_that_odata_does_not_serve_is_mentioned(cataloged: Served, live: Served) -> None:
    answer = cataloged.call("search_entities", query="route cards")
    assert sets(answer) == ["RouteHeaders"]
    assert "ProdRouteCardEntity (Route cards) fits better, but OData does not serve it" in notes(answer)
    assert "ProdRouteCardEntity fits better" in notes(live.call("search_entities", query="route card"))
    every = cataloged.call("search_entities", query="route cards", include_non_public=True)
    assert every["entities"][0] == {"aot_name": "ProdRouteCardEntity", "label": "Route cards", "public": False}
    assert "fits better" not in notes(cataloged.call("search_entities", query="route headers"))


def test_how_many_more_fit_is_said_where_there_are_more(cataloged: Served) -> None:
    whole = cataloged.call("search_entities", query="vendors")
    assert "more" not in whole
    cut = cataloged.call("search_entities", query="vendors", limit=1)
    assert (len(cut["entities"]), cut.get("more", 0)) == (1, len(whole["entities"]) - 1)


def test_an_action_that_is_not_there_is_said(cataloged: Served, live: Served) -> None:
    assert cataloged.call("search_actions", query="confirm") == {"found": [{"name": "VendorsV2.confirmAddress"}]}
    none = cataloged.call("search_actions", query="post a journal")
    assert none["found"] == []
    assert 'none of the 1 actions here has "post" or "journal"' in notes(none)
    assert "there is none yet" in notes(live.call("search_actions", query="confirm"))


def test_an_enumeration_names_the_members_that_were_asked_for(cataloged: Served) -> None:
    blocked = cataloged.call("search_enumerations", query="vendor blocked for payment")
    assert blocked["found"] == [{"name": "CustVendorBlocked", "members": "Payment"}]
    none = cataloged.call("search_enumerations", query="zzyzx")
    assert 'none of the 1 enumerations here has "zzyzx"' in notes(none)
