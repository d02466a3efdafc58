"""Finds enumerations and actions, and describes enumerations."""

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.metadata.search.index import Found
from d365mcp.tools.parameters import Language
from d365mcp.tools.tool import ToolContext

NOTHING_FITS = "nothing fits: try other or fewer words, singular, or the English name"


class EnumerationResult(TypedDict, total=False):
    name: str
    label: str
    notes: list[str]
    members: list[dict[str, Any]]


class FoundResult(TypedDict, total=False):
    notes: list[str]
    found: list[dict[str, str]]


async def search_enumerations(
    context: ToolContext,
    query: Annotated[str, Field(max_length=300)],
    limit: Annotated[int, Field(ge=1, le=50)] = 10,
) -> FoundResult:
    """Find enumerations (the values of a status or type) by words."""
    return shown(await context.catalog.search_others(query, "enumeration", limit), context.catalog.note())


async def search_actions(
    context: ToolContext,
    query: Annotated[str, Field(max_length=300)],
    limit: Annotated[int, Field(ge=1, le=50)] = 10,
) -> FoundResult:
    """Find OData actions (post, confirm, calculate) by words."""
    note = context.catalog.note()
    if note:
        note = (
            "actions are searched in a catalog, and there is none yet: d365fo_get_entity_schema lists an entity's own"
        )
    return shown(await context.catalog.search_others(query, "action", limit), note)


def shown(found: list[Found], note: str | None) -> FoundResult:
    result = FoundResult(found=[{"name": each.shown, "why": each.why} for each in found])
    if notes := [each for each in (note, None if found else NOTHING_FITS) if each]:
        result["notes"] = notes
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
