"""Reads label texts."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.filters.names import refuse_unwritable
from d365mcp.tools.parameters import Language
from d365mcp.tools.tool import ToolContext

_LabelId = Annotated[str, Field(max_length=500)]


class LabelsResult(TypedDict, total=False):
    language: str
    failures: dict[str, str]
    labels: dict[str, str]


async def get_labels(
    context: ToolContext,
    label_ids: Annotated[list[_LabelId], Field(description='e.g. ["@SYS1"]', min_length=1, max_length=200)],
    language: Language = None,
) -> LabelsResult:
    """Translate label ids to text."""
    for label_id in label_ids:
        refuse_unwritable("A label id", label_id)
    wanted = language or context.settings.languages[0]
    texts, failures = await context.catalog.labels(label_ids, wanted)
    result = LabelsResult(language=wanted, labels=texts)
    if failures:
        result["failures"] = failures
    return result
