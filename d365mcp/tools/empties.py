"""What says nothing in a record: left out, and counted. Zeros, false and No say something."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from d365mcp.d365.models import DataEntity, EntityProperty, Record
from d365mcp.tools.common import squeezed
from d365mcp.tools.tool import ToolContext

# What an enumeration's empty member is called in English, its blanks and signs left out.
_NOTHING = frozenset({"", "none", "unknown", "blank", "empty", "undefined", "unspecified", "notspecified", "notset"})
_Labels = Mapping[tuple[str, str], str]  # by enumeration and member


@dataclass(frozen=True)
class Emptying:
    """Leaves out what is empty in the records of an entity."""

    entity: DataEntity
    labels: _Labels

    @classmethod
    async def of(cls, context: ToolContext, entity: DataEntity) -> "Emptying":
        return cls(entity, await _english_labels(context, entity))

    def without_empties(self, record: Mapping[str, Any], keep: Collection[str] = ()) -> tuple[Record, int]:
        """Return a tidied record without what is empty, and how much that is; keys and `keep` stay."""
        kept = {name: value for name, value in record.items() if name in keep or not self.is_empty(name, value)}
        return kept, len(record) - len(kept)

    def is_empty(self, name: str, value: Any) -> bool:
        prop = self.entity.properties.get(name)
        if prop is not None and prop.is_key:
            return False
        return value is None or value == "" or (prop is not None and self.is_empty_member(prop, value))

    def is_empty_member(self, prop: EntityProperty, value: Any) -> bool:
        """Return whether a member says nothing: by its English label, by its name where none is known."""
        if not prop.enumeration or not isinstance(value, str):
            return False
        return value != "No" and squeezed(self.labels.get((prop.enumeration, value)) or value) in _NOTHING


async def emptying_within(context: ToolContext, expanded: Mapping[str, DataEntity]) -> dict[str, Emptying]:
    """Return what leaves out empties of expanded records, by navigation property."""
    return {link: await Emptying.of(context, entity) for link, entity in expanded.items()}


def without_expanded_empties(record: Record, expanded: Mapping[str, Emptying]) -> tuple[Record, int]:
    """Return a tidied record whose expanded ones are without what is empty, and how much that is."""
    found, left_out = dict(record), 0
    for link, emptying in expanded.items():
        value = record.get(link) or []
        pairs = [emptying.without_empties(each) for each in (value if isinstance(value, list) else [value])]
        if pairs:
            records = [each for each, _ in pairs]
            found[link] = records if isinstance(value, list) else records[0]
            left_out += sum(count for _, count in pairs)
    return found, left_out


async def without_empties(
    context: ToolContext,
    record: Record,
    entity: DataEntity,
    keep: Collection[str] = (),
    expanded: Mapping[str, DataEntity] = MappingProxyType({}),
) -> tuple[Record, list[str]]:
    """Return a tidied record and its expanded ones without what is empty, and a note that counts it."""
    record, within = without_expanded_empties(record, await emptying_within(context, expanded))
    record, outer = (await Emptying.of(context, entity)).without_empties(record, keep)
    left_out = outer + within
    return record, [f"{left_out} empty properties left out: include_empty adds them"] if left_out else []


def without_empty_columns(records: Sequence[Record], entity: DataEntity) -> list[Record]:
    """Return records that nobody named columns for, without the columns that none of them has a value in; keys stay."""
    filled = {name for record in records for name, value in record.items() if value is not None and value != ""}
    kept = filled | {prop.name for prop in entity.key}
    return [{name: value for name, value in record.items() if name in kept} for record in records]


async def _english_labels(context: ToolContext, entity: DataEntity) -> _Labels:
    """Return the English labels of members, as far as the catalog keeps them: no other language has our words."""
    members = {
        (enumeration.name, member.name): member.label_id
        for enumeration in entity.enumerations.values()
        for member in enumeration.members
        if member.label_id
    }
    english = next((each for each in context.settings.languages if each.casefold().startswith("en")), "en-US")
    texts = await context.catalog.kept_labels(members.values(), (english,))
    return {place: texts[label_id] for place, label_id in members.items() if label_id in texts}
