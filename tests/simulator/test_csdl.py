"""`$metadata` is whole: every type it names exists, and it describes all that the service answers."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, fromstring

import httpx
import pytest

from tests.simulator.exchanges import Driver

pytestmark = pytest.mark.once

EDM = "{http://docs.oasis-open.org/odata/ns/edm}"
NAMESPACE = "Microsoft.Dynamics.DataEntities."


@pytest.fixture
def schema(fo: httpx.Client) -> Element:
    found = fromstring(fo.get("/data/$metadata").text).find(f".//{EDM}Schema")  # noqa: S314 - the simulator's own
    assert found is not None
    return found


def named(parent: Element, tag: str) -> dict[str, Element]:
    return {each.attrib["Name"]: each for each in parent.findall(f"{EDM}{tag}")}


def inner(type_name: str) -> str:
    return type_name.removeprefix("Collection(").removesuffix(")")


def test_every_type_that_is_named_exists(schema: Element) -> None:
    types = {*named(schema, "EnumType"), *named(schema, "ComplexType"), *named(schema, "EntityType")}
    used = {inner(each.attrib["Type"]) for each in schema.iter() if "Type" in each.attrib}
    used |= {inner(each.attrib["EntityType"]) for each in schema.iter() if "EntityType" in each.attrib}
    assert {name for name in used if not name.startswith("Edm.")} <= {NAMESPACE + name for name in types}


def test_the_container_has_what_the_service_document_lists(fo: httpx.Client, schema: Element) -> None:
    listed = {item["name"] for item in fo.get("/data").json()["value"]}
    assert sets(schema).keys() == listed


def sets(schema: Element) -> dict[str, Element]:
    return {each.attrib["Name"]: each for each in schema.findall(f"{EDM}EntityContainer/{EDM}EntitySet")}


def bindings(schema: Element) -> Iterator[tuple[str, str, str]]:
    """Yield type, navigation property and target of each binding of the container."""
    for entity_set in sets(schema).values():
        for binding in entity_set.findall(f"{EDM}NavigationPropertyBinding"):
            yield inner(entity_set.attrib["EntityType"]), binding.attrib["Path"], binding.attrib["Target"]


def test_every_navigation_property_is_bound_to_a_set_of_its_type(schema: Element) -> None:
    types = {name: entity_set.attrib["EntityType"] for name, entity_set in sets(schema).items()}
    bound = {(owner, path): types[target] for owner, path, target in bindings(schema)}
    links = {
        (NAMESPACE + owner, name): inner(link.attrib["Type"])
        for owner, entity in named(schema, "EntityType").items()
        for name, link in named(entity, "NavigationProperty").items()
    }
    assert bound == links
    assert len(links) > 40


def test_actions_are_described_as_the_metadata_service_has_them(fo: httpx.Client, schema: Element) -> None:
    described = {}
    for action in schema.findall(f"{EDM}Action"):
        returns = action.find(f"{EDM}ReturnType")
        parameters = {each.attrib["Name"]: each.attrib["Type"] for each in action.findall(f"{EDM}Parameter")}
        bound = parameters.pop("bindingParameter", "")
        assert bool(bound) == (action.attrib.get("IsBound") == "true")
        result = None if returns is None else returns.attrib["Type"]
        described[bound, action.attrib["Name"]] = (parameters, result)
    for entity in Driver(fo).entities.values():
        for action in entity["Actions"]:
            owner = NAMESPACE + entity["Name"]
            bound = owner if action["BindingKind"] == "BoundToEntityInstance" else f"Collection({owner})"
            parameters = {each["Name"]: each["Type"]["TypeName"] for each in action["Parameters"]}
            result = action["ReturnType"] and action["ReturnType"]["TypeName"]
            if result and action["ReturnType"]["IsCollection"]:
                result = f"Collection({result})"
            assert described.pop((bound, action["Name"])) == (parameters, result)
    unbound = {name for bound, name in described if not bound}
    assert described.keys() == {("", name) for name in unbound}
    imports = schema.findall(f"{EDM}EntityContainer/{EDM}ActionImport")
    assert {each.attrib["Action"] for each in imports} == {NAMESPACE + name for name in unbound} != set()


def test_what_is_answered_as_null_is_nullable(fo: httpx.Client, schema: Element) -> None:
    types = named(schema, "EntityType")
    nulls = set()
    for entity_set, entity in Driver(fo).entities.items():
        properties = named(types[entity["Name"]], "Property")
        for record in fo.get(f"/data/{entity_set}?cross-company=true&$top=50").json()["value"]:
            nulls |= {(entity_set, name) for name, value in record.items() if value is None}
            for name in (name for name, value in record.items() if value is None):
                assert properties[name].attrib.get("Nullable") != "false", f"{entity_set}.{name}"
    assert ("BatchJobs", "Recurrence") in nulls


def test_a_returned_complex_type_has_the_members_that_are_answered(fo: httpx.Client, schema: Element) -> None:
    answer = fo.post(f"/data/ApprovalUsers/{NAMESPACE}getCurrentUserDetails", json={}).json()
    members = named(named(schema, "ComplexType")["CurrentUserDetails"], "Property")
    assert list(members) == [name for name in answer if "@" not in name]
