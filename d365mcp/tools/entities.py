"""Finds data entities by business words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.errors import or_list
from d365mcp.tools.common import OTHER_WORDS, correction_notes, quoted_words, squeezed
from d365mcp.tools.tool import ToolContext

if TYPE_CHECKING:
    from d365mcp.metadata.search.entities import EntityResult, Hit

Category = Literal["Master", "Configuration", "Transaction", "Reference", "Document", "Parameters"]


class SearchEntitiesResult(TypedDict, total=False):
    more: int
    notes: list[str]
    entities: list[dict[str, Any]]


async def search_entities(
    context: ToolContext,
    query: Annotated[str, Field(description="e.g. customer payment terms", max_length=300)],
    category: Category | None = None,
    read_only: bool | None = None,
    include_non_public: bool = False,
    limit: Annotated[int, Field(ge=1, le=100)] = 10,
) -> SearchEntitiesResult:
    """Start here: find the data entity of Dynamics 365 Finance and Operations (ERP) for business words: customer, vendor,
    sales or purchase order, invoice, payment, ledger, journal, bank, inventory, product, project, employee. Then get its
    schema and query it."""
    found = await context.catalog.search_entities(
        query, category=category, read_only=read_only, public_only=not include_non_public, limit=limit
    )
    result = SearchEntitiesResult()
    if found.more:
        result["more"] = found.more
    if notes := [note for note in (context.catalog.note(), *_search_notes(found)) if note]:
        result["notes"] = notes
    result["entities"] = [described_hit(hit) for hit in found.hits]
    return result


def _search_notes(found: "EntityResult") -> Iterator[str]:
    """Yield what a caller should know of what was found, and what was not."""
    if found.not_served is not None:
        label = f" ({found.not_served.label})" if found.not_served.label else ""
        name = found.not_served.summary.aot_name
        fits = "fits better" if found.hits else "fits"
        yield f"{name}{label} {fits}, but OData does not serve it: it is for data management only"
    if found.unknown:
        yield f"there is no {or_list(found.unknown)} here"
    if not found.hits:
        if found.not_served is None:
            yield f"nothing fits among {found.searched} entities: {OTHER_WORDS}"
        return
    yield from correction_notes(found.corrected, found.lacking)
    if found.lacking:
        guess = "a guess: " if found.is_guess else ""
        yield f"{guess}none of these is named for {quoted_words(found.lacking)}"
    elif not any(hit.is_named for hit in found.hits):
        yield "nothing is named like this: only columns of these have the words"


def described_hit(hit: "Hit") -> dict[str, Any]:
    """Return a hit without what says nothing."""
    row = hit.summary
    described = {
        "entity_set": row.entity_set,
        "aot_name": None if row.entity_set else row.aot_name,
        "label": hit.label if squeezed(hit.label) != squeezed(row.entity_set) else None,
        "category": row.category,
        "key": list(hit.key),
        "columns": " ".join(hit.columns),
        "other_versions": " ".join(hit.other_versions),
        "read_only": row.is_read_only or None,
    }
    public = {} if row.data_service_enabled else {"public": False}
    return {name: value for name, value in described.items() if value} | public
