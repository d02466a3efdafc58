"""Metadata of odd shape, or cut, costs what is odd and no more; what cannot be a catalog does not become one."""

import json
from typing import Any

import pytest

from d365mcp.metadata import loader, streaming
from d365mcp.metadata.build import Builder
from d365mcp.metadata.catalog import MetadataCatalog
from tests.large_fo import Running
from tests.metadata.conftest import ENTITIES
from tests.metadata.place import Place
from tests.simulated import Simulator

pytestmark = pytest.mark.once

ODD = {"Name": "Odd", "EntitySetName": "Odds", "Properties": [], "NavigationProperties": [], "Actions": []}
ODD_ENTITIES: dict[str, Any] = {
    "nothing": None,
    "text": "CustomerV3",
    "a number": 5,
    "a list": [],
    "empty": {},
    "no name": {**ODD, "Name": "not a name"},
    "no entity set": {**ODD, "EntitySetName": None},
    "a name that is a number": {**ODD, "Name": 5},
    "properties that are text": {**ODD, "Properties": "none"},
    "a property that is none": {**ODD, "Properties": [None]},
    "a property that is text": {**ODD, "Properties": ["Name"]},
    "a property that is a number": {**ODD, "Properties": 7},
    "a navigation that is text": {**ODD, "NavigationProperties": ["Lines"]},
    "constraints that are a number": {**ODD, "NavigationProperties": [{"Name": "Lines", "Constraints": 5}]},
    "an action that is none": {**ODD, "Actions": [None]},
    "an action that returns a list": {**ODD, "Actions": [{"Name": "Do", "ReturnType": ["Edm.String"]}]},
    "an action whose parameters are text": {**ODD, "Actions": [{"Name": "Do", "Parameters": "x"}]},
    "an action whose parameter has no type": {**ODD, "Actions": [{"Name": "Do", "Parameters": [{"Name": "x", "Type": "y"}]}]},
}  # fmt: skip
ODD_ENUMERATIONS: dict[str, Any] = {
    "nothing": None,
    "text": "NoYes",
    "no name": {"Name": None, "Members": []},
    "members that are text": {"Name": "Odd", "Members": "No"},
    "a member that is none": {"Name": "Odd", "Members": [None]},
    "a value that is text": {"Name": "Odd", "Members": [{"Name": "No", "Value": "first"}]},
    "a value that is a list": {"Name": "Odd", "Members": [{"Name": "No", "Value": [1]}]},
}
# Unusual, and all the same what the catalog can do with.
UNUSUAL_ENTITIES: dict[str, Any] = {
    "no members": {"Name": "Odd", "EntitySetName": "Odds"},
    "members of nothing": {**ODD, "Properties": None, "NavigationProperties": None, "Actions": None},
    "label ids of any kind": {**ODD, "LabelId": 5, "Properties": [{"Name": "A", "LabelId": {"a": 1}}, {"Name": "B", "LabelId": "@" * 999}]},
    "half a character": {**ODD, "LabelId": "\ud800", "Properties": [{"Name": "A", "LabelId": "@A\ud800", "TypeName": "\ud800"}]},
    "a NUL": {**ODD, "LabelId": "@A\x00B", "Properties": [{"Name": "A", "LabelId": "\x00"}]},
    "what is new": {**ODD, "Odd": [[{"a": 1e99}]], "Properties": [{"Name": "A", "IsKey": "perhaps", "Odd": 5}]},
    "text in other scripts": {**ODD, "LabelId": "@Ä:日本 'x'/?#%", "Properties": [{"Name": "Ä"}, {"Name": "A"}]},
}  # fmt: skip


def with_row(small: Simulator, resource: str, row: Any) -> None:
    """Let a resource of the metadata service have one more row, among the others."""
    with small.client() as fo:
        answer = fo.get(f"/metadata/{resource}").raise_for_status().json()
    answer["value"].insert(1, row)
    small.reset()
    small.fault(f"^/metadata/{resource}$", status=200, body=json.dumps(answer), times=0)


def names(place: Place) -> set[str]:
    return {row.entity_set for row in place.snapshot().summaries()}


@pytest.mark.parametrize("kind", ODD_ENTITIES)
def test_an_entity_of_odd_shape_is_left_out_and_counted(place: Place, small: Simulator, kind: str) -> None:
    with_row(small, "PublicEntities", ODD_ENTITIES[kind])
    assert place.build() == "built"
    assert place.progress().left_out == "entities: 1"
    snapshot = place.snapshot()
    assert snapshot.entity("CustomersV3") is not None
    assert snapshot.entity("Odds") is None
    assert snapshot.finder.find("credit limit").hits[0].summary.entity_set == "CustomersV3"


@pytest.mark.parametrize("kind", UNUSUAL_ENTITIES)
def test_an_entity_of_unusual_shape_is_served(place: Place, small: Simulator, kind: str) -> None:
    with_row(small, "PublicEntities", UNUSUAL_ENTITIES[kind])
    assert place.build() == "built"
    assert place.progress().left_out is None
    assert place.snapshot().entity("Odds") is not None


@pytest.mark.parametrize("kind", ODD_ENUMERATIONS)
def test_an_enumeration_of_odd_shape_is_left_out_and_counted(place: Place, small: Simulator, kind: str) -> None:
    with_row(small, "PublicEnumerations", ODD_ENUMERATIONS[kind])
    assert place.build() == "built"
    assert place.progress().left_out == "enumerations: 1"
    assert place.snapshot().enumeration("NoYes") is not None
    assert place.snapshot().enumeration("Odd") is None


@pytest.mark.parametrize(
    "row",
    [
        None,
        "text",
        5,
        {},
        {"Name": "not a name"},
        {"Name": "OddEntity", "LabelId": "\ud800"},
        {"Name": "OddEntity", "PublicCollectionName": ["Odds"], "EntityCategory": {}, "LabelId": [5]},
    ],
)
def test_a_light_row_of_odd_shape_costs_nothing(place: Place, small: Simulator, row: Any) -> None:
    with_row(small, "DataEntities", row)
    assert place.build() == "built"
    assert {"CustomersV3", "CustomerGroups"} <= names(place)


@pytest.mark.parametrize("resource", ["DataEntities", "PublicEntities"])
@pytest.mark.parametrize(
    "answer",
    [
        {"body": '{"value": []}'},
        {"body": '{"value": {"a": 1}}'},
        {"body": '{"value": ["a", null, 5]}'},
        {"body": '{"error": "none"}'},
        {"body": "[]"},
        {"body": ""},
        {"kind": "html"},
        {"kind": "malformed"},
    ],
)
def test_what_is_no_metadata_does_not_become_a_catalog(
    place: Place, small: Simulator, resource: str, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "LONGEST_PAUSE", 0.1)
    assert place.build() == "built"
    before = place.pointer()
    small.fault(f"^/metadata/{resource}", times=0, status=200, **answer)
    assert place.rebuild() == "failed"
    assert place.progress().error
    assert place.pointer() == before


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_enumerations_that_fail_do_not_cost_the_catalog(
    place: Place, small: Simulator, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "LONGEST_PAUSE", 0.1)
    small.fault("^/metadata/PublicEnumerations$", times=0, status=status)
    assert place.build() == "built"
    assert str(place.progress().left_out).startswith("enumerations: F&O")

    async def described(_: Builder, catalog: MetadataCatalog) -> None:
        entity = await catalog.entity("CustomersV3")
        assert catalog.source().kind == "snapshot"
        assert (await catalog.enumerations_of(entity, ["OnHold"])).keys() == {"NoYes"}  # read live

    place.work(described)
    small.reset()
    assert place.rebuild() == "built"
    assert place.progress().left_out is None
    small.fault("^/metadata/PublicEnumerations$", times=0, status=status)
    assert place.rebuild() == "built"
    assert place.snapshot().enumeration("NoYes") is not None  # the last snapshot's


def test_a_failure_that_passes_is_asked_over(place: Place, small: Simulator) -> None:
    for resource in ("DataEntities", "PublicEntities", "PublicEnumerations"):
        small.fault(f"^/metadata/{resource}$", status=503, headers={"retry-after": "0"})
    assert place.build() == "built"
    assert place.progress().left_out is None


@pytest.mark.parametrize("broken", ["stall_after", "break_after"])
def test_of_entities_that_break_off_the_rest_is_read_one_by_one(
    slow_place: Place, fo: Running, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "STALL_SECONDS", 0.5)
    fo.set(**{broken: 20})
    assert slow_place.build() == "built"
    asked = fo.asked()
    assert (asked["PublicEntities"], asked["PublicEntities(…)"]) == (1, ENTITIES - 20)
    assert slow_place.progress().left_out is None
    sets = names(slow_place)
    assert len(sets) == ENTITIES
    assert all(slow_place.snapshot().entity(name) for name in sets)


def test_entities_that_stall_are_gone_on_with_by_the_next_run(slow_place: Place, fo: Running) -> None:
    fo.set(stall_after=20)
    assert slow_place.build(seconds=1.0) == "waiting"
    assert slow_place.store().pointer() is None
    assert slow_place.build() == "built"
    asked = fo.asked()
    assert (asked["DataEntities"], asked["PublicEntities"], asked["PublicEntities(…)"]) == (1, 1, ENTITIES - 20)


def test_entities_that_never_come_at_once_are_read_one_by_one_by_the_next_run(
    slow_place: Place, fo: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "STREAM_PATIENCE", 0.5)
    fo.set(entities_stall=True)
    assert slow_place.build(seconds=3.0) == "waiting"
    assert slow_place.build() == "built"
    asked = fo.asked()
    assert (asked["PublicEntities"], asked["PublicEntities(…)"]) == (1, ENTITIES)


@pytest.mark.parametrize("status", [500, 503])
def test_entities_that_fail_together_are_read_one_by_one_without_those_that_fail_alone(
    slow_place: Place, fo: Running, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "LONGEST_PAUSE", 0.1)
    fo.set(entities_fail=True, failing_entities=3, failing_status=status)
    assert slow_place.build() == "built"
    assert slow_place.progress().left_out == "entities: 3"
    assert sum(slow_place.snapshot().entity(name) is not None for name in names(slow_place)) == ENTITIES - 3
    fo.set(entities_fail=False, failing_entities=0)
    slow_place.set_back(2 * 86_400)
    assert slow_place.build() == "built"
    assert slow_place.progress().left_out is None


def test_enumerations_that_never_come_do_not_cost_the_catalog(
    slow_place: Place, fo: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    fo.set(enumerations_stall=True)
    with monkeypatch.context() as impatient:
        impatient.setattr(loader, "ENUMERATIONS_SECONDS", 0.5)
        assert slow_place.build() == "built"
    assert slow_place.progress().left_out == "enumerations: F&O did not give them in time."
    fo.set(enumerations_stall=False)
    slow_place.set_back(2 * 86_400)
    assert slow_place.build() == "built"
    assert slow_place.progress().left_out is None


def test_versions_that_stall_do_not_cost_the_catalog(
    slow_place: Place, fo: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "VERSIONS_SECONDS", 0.5)
    fo.set(versions_stall=True)
    assert slow_place.build() == "built"
    assert slow_place.pointer().application_version == ""
