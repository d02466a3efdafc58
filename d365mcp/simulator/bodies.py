"""Reads the body of a create or an update against its entity, as Microsoft's own OData library does. Performs no I/O."""

from __future__ import annotations

from collections.abc import Iterator

from d365mcp.simulator.errors import Refusal
from d365mcp.simulator.model import Entity, Property, Record
from d365mcp.simulator.queries import known_property
from d365mcp.simulator.values import stored

_ANNOTATIONS = ("context", "type", "etag", "id", "editLink", "readLink", "metadataEtag")


def properties(entity: Entity, body: Record) -> Iterator[tuple[Property, object]]:
    """Yield the body's members as properties with stored values; annotations are checked and passed over."""
    for name, value in body.items():
        if name in entity.navigations:
            raise Refusal(f"The navigation property '{name}' cannot be written: there is no deep insert.")
        if "@" in name:
            _check_annotation(entity, body, name, value)
        else:
            prop = known_property(entity, name)
            yield prop, stored(prop, value)


def _check_annotation(entity: Entity, body: Record, name: str, value: object) -> None:
    of, _, annotation = name.partition("@")
    if of and (of not in entity.properties or of not in body):
        raise Refusal(f"The annotation '{name}' was found without a value of a property '{of}'.")
    if annotation.startswith("odata.") and annotation.removeprefix("odata.") not in _ANNOTATIONS:
        raise Refusal(
            f"The annotation '{annotation}' was found. "
            "This annotation is either not recognized or not expected at the current position."
        )
    if annotation.startswith("odata.") and not isinstance(value, str):
        raise Refusal(f"Cannot read the value '{value}' for the property '{annotation}' as a quoted JSON string value.")
    if annotation == "odata.context" and "://" not in str(value):
        raise Refusal(f"The top level context URL '{value}' should be an absolute Uri.")
    expected = entity.properties[of].edm_type if of else entity.type_name
    if annotation == "odata.type" and str(value).removeprefix("#") not in (expected, expected.removeprefix("Edm.")):
        raise Refusal(f"A type named '{value}' was found, but the expected type is '{expected}'.")
