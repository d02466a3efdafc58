"""Describes enumerations."""

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.tools.parameters import Language
from d365mcp.tools.tool import ToolContext


class EnumerationResult(TypedDict, total=False):
    name: str
    label: str
    members: list[dict[str, Any]]


async def get_enumeration_fields(
    context: ToolContext,
    enumeration_name: Annotated[str, Field(description="e.g. NoYes", max_length=200)],
    language: Language = None,
) -> EnumerationResult:
    """List an enumeration's members with value and label."""
    found = await context.catalog.enumeration(enumeration_name)
    ids = [found.label_id, *(member.label_id for member in found.members)]
    texts, _ = await context.catalog.labels([each for each in ids if each], language or context.settings.languages[0])
    result = EnumerationResult(name=found.name)
    if label := texts.get(found.label_id):
        result["label"] = label
    result["members"] = [
        {"name": member.name, "value": member.value}
        | ({"label": texts[member.label_id]} if member.label_id in texts else {})
        for member in found.members
    ]
    return result
