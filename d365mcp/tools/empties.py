"""What says nothing in a single record: left out, and counted. Zeros, false and No say something."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from d365mcp.d365.models import DataEntity, EntityProperty, Record
from d365mcp.tools.common import squeezed
from d365mcp.tools.tool import ToolContext

# What an enumeration's empty member is called, its blanks and signs left out.
_NOTHING = frozenset({"", "none", "unknown", "blank", "empty", "undefined", "unspecified", "notspecified", "notset"})


async def without_empties(
    context: ToolContext, record: Record, entity: DataEntity, keep: Collection[str] = ()
) -> tuple[Record, list[str]]:
    """Return a tidied record without what is empty, and a note that counts it; keys and `keep` stay."""
    labels = await _member_labels(context, record, entity)
    kept = {
        name: value
        for name, value in record.items()
        if name in keep or not _is_empty(value, entity.properties.get(name), labels)
    }
    left_out = len(record) - len(kept)
    return kept, [f"{left_out} empty properties left out: include_empty adds them"] if left_out else []


def without_empty_columns(records: Sequence[Record], entity: DataEntity) -> list[Record]:
    """Return records that nobody named columns for, without the columns that none of them has a value in; keys stay."""
    filled = {name for record in records for name, value in record.items() if value is not None and value != ""}
    kept = filled | {prop.name for prop in entity.key}
    return [{name: value for name, value in record.items() if name in kept} for record in records]


def _is_empty(value: Any, prop: EntityProperty | None, labels: Mapping[tuple[str, str], str]) -> bool:
    if prop is not None and prop.is_key:
        return False
    if value is None or value == "":
        return True
    if prop is None or not prop.enumeration or not isinstance(value, str):
        return False
    text = labels.get((prop.enumeration, value)) or value
    return value != "No" and squeezed(text) in _NOTHING


async def _member_labels(context: ToolContext, record: Record, entity: DataEntity) -> Mapping[tuple[str, str], str]:
    """Return the labels of the members a record has, by enumeration and member, as far as the catalog keeps them."""
    members = {
        (enumeration.name, member.name): member.label_id
        for name, value in record.items()
        if (prop := entity.properties.get(name)) and (enumeration := entity.enumerations.get(prop.enumeration or ""))
        for member in enumeration.members
        if member.name == value and member.label_id
    }
    texts = await context.catalog.kept_labels(members.values(), context.settings.languages[:1])
    return {place: texts[label_id] for place, label_id in members.items() if label_id in texts}
