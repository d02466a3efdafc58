"""Finds enumerations and actions, and describes enumerations."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.tools.common import OTHER_WORDS, correction_notes, quoted_words
from d365mcp.tools.parameters import Language
from d365mcp.tools.tool import ToolContext

if TYPE_CHECKING:
    from d365mcp.metadata.catalog import OthersFound

NO_ACTIONS = "actions are searched in a catalog, and there is none yet: d365fo_get_entity_schema lists an entity's own"


class EnumerationResult(TypedDict, total=False):
    name: str
    label: str
    notes: list[str]
    members: list[dict[str, Any]]


class FoundResult(TypedDict, total=False):
    more: int
    notes: list[str]
    found: list[dict[str, str]]


async def search_enumerations(
    context: ToolContext,
    query: Annotated[str, Field(max_length=300)],
    limit: Annotated[int, Field(ge=1, le=50)] = 10,
) -> FoundResult:
    """Find enumerations (the values of a status or type) by words."""
    found = await context.catalog.search_others(query, "enumeration", limit)
    return _found_result(found, "enumerations", "members", [context.catalog.note()])


async def search_actions(
    context: ToolContext,
    query: Annotated[str, Field(max_length=300)],
    limit: Annotated[int, Field(ge=1, le=50)] = 10,
) -> FoundResult:
    """Find OData actions (post, confirm, calculate) by words."""
    found = await context.catalog.search_others(query, "action", limit)
    if context.catalog.note():
        return FoundResult(notes=[NO_ACTIONS], found=[])
    return _found_result(found, "actions", "", [])


def _found_result(found: "OthersFound", kind: str, parts: str, notes: list[str | None]) -> FoundResult:
    """Return what was found: a name, and the parts of it that have the words."""
    if not found.found:
        words = quoted_words(found.lacking) or "these words"
        notes = [*notes, f"none of the {found.searched} {kind} here has {words}: {OTHER_WORDS}"]
    else:
        notes = [*notes, *correction_notes(found.corrected, found.lacking)]
        if found.lacking:
            notes.append(f"none of these {kind} has {quoted_words(found.lacking)}")
    result = FoundResult()
    if found.more:
        result["more"] = found.more
    if any(notes):
        result["notes"] = [note for note in notes if note]
    result["found"] = [
        {"name": name} | ({parts: " ".join(with_words)} if with_words else {}) for name, with_words in found.found
    ]
    return result


async def get_enumeration_fields(
    context: ToolContext,
    enumeration_name: Annotated[str, Field(description="e.g. NoYes", max_length=200)],
    language: Language = None,
) -> EnumerationResult:
    """List an enumeration's members with value and label."""
    found = await context.catalog.enumeration(enumeration_name)
    ids = [found.label_id, *(member.label_id for member in found.members)]
    wanted = [each for each in ids if each]
    texts, missing = await context.catalog.labels(wanted, language or context.settings.languages[0])
    result = EnumerationResult(name=found.name)
    if label := texts.get(found.label_id):
        result["label"] = label
    result["members"] = [
        {"name": member.name, "value": member.value}
        | ({"label": texts[member.label_id]} if member.label_id in texts else {})
        for member in found.members
    ]
    if missing:
        result["notes"] = [f"{len(missing)} of {len(wanted)} labels are left out: {next(iter(missing.values()))}"]
    return result
