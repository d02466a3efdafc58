"""What several tools need of an entity, its company and its answer: one place, borrowed by all."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from typing_extensions import TypedDict

from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import D365McpError, InvalidArgument, close_names, or_list
from d365mcp.tools.tool import ToolContext

# The way out of a search that found nothing.
OTHER_WORDS = "try other or fewer words, or the English name"
# Left of an answer's budget for all that is not records: names, notes, a cursor.
ENVELOPE_CHARS = 1_500
MAX_COMPANIES = 2_000
_MOST_QUOTED = 3


class _HasNotes(TypedDict, total=False):
    notes: list[str]


_Result = TypeVar("_Result", bound=_HasNotes)


def with_notes(result: _Result, notes: Sequence[str]) -> _Result:
    """Return the result with its notes, where there are any."""
    if notes:
        result["notes"] = list(dict.fromkeys(notes))
    return result


async def with_enumerations(context: ToolContext, entity: DataEntity, names: Iterable[str]) -> DataEntity:
    """Return the entity with the enumerations these properties use: their members are checked before anything is sent."""
    proper = [entity.names_by_folded.get(name.casefold(), "") for name in names]
    known = await context.catalog.enumerations_of(entity, proper)
    return replace(entity, enumerations={**entity.enumerations, **known}) if known else entity


async def related_entities(context: ToolContext, entity: DataEntity, names: Iterable[str]) -> dict[str, DataEntity]:
    """Return the entities that navigation properties lead to by their names, as far as they are known."""
    links = {link.name: link.related_entity for link in entity.navigation_properties}
    found = {}
    for name in names:
        with suppress(D365McpError):  # what F&O does not tell of them is taken as it is written
            found[name] = await context.catalog.public_entity(links[name])
    return found


async def entity_or_none(context: ToolContext, name: str) -> DataEntity | None:
    """Return an entity by any of its names, None where there is none or F&O does not say."""
    with suppress(D365McpError):
        return await context.catalog.entity(name)
    return None


def expanded_names(expand: Sequence[str]) -> tuple[str, ...]:
    """Return the navigation properties of expanded items such as `Lines($select=ItemNumber)`."""
    return tuple(item.split("(")[0] for item in expand)


def with_company(entity: DataEntity, key: Mapping[str, Any], company: str | None) -> dict[str, Any]:
    """Return the key, or a record, with the company in it, where it was given beside it."""
    given = key_company(key)
    if company and given is not None and str(given).lower() != company.lower():
        raise InvalidArgument(f'The key says {COMPANY} "{given}" but company says "{company}".')
    if company and entity.has_company and given is None:
        return {COMPANY: company, **key}
    return dict(key)


def key_company(key: Mapping[str, Any]) -> Any:
    return next((value for name, value in key.items() if name.casefold() == COMPANY.casefold()), None)


async def list_companies(context: ToolContext) -> list[dict[str, Any]]:
    """Return id and name of the companies this server may touch."""
    options = QueryOptions(select=("LegalEntityId", "Name"), order_by=("LegalEntityId",), top=MAX_COMPANIES)
    page = await context.d365.query("LegalEntities", options)
    allowed = context.settings.companies
    rows = [{"company": str(row.get("LegalEntityId", "")).lower(), "name": row.get("Name", "")} for row in page.records]
    return [row for row in rows if not allowed or row["company"] in allowed]


async def unknown_companies(context: ToolContext, named: Iterable[str]) -> list[str]:
    """Return a note for each company that F&O does not list: it answers for one that is none as for an empty one."""
    try:
        known = [row["company"] for row in await list_companies(context)]
    except D365McpError:  # not every user may read the list
        return []
    missing = [name for name in named if name.lower() not in known] if len(known) < MAX_COMPANIES else []
    return [_unknown_company(name, close_names(name, known)) for name in missing]


def _unknown_company(company: str, close: Sequence[str]) -> str:
    hint = f"did you mean {or_list(close)}?" if close else "LegalEntities has those there are"
    return f"F&O has no company {company}: {hint}"


def quoted_words(words: Sequence[str]) -> str:
    """Return words as notes quote them, the first few."""
    return or_list([f'"{word}"' for word in words[:_MOST_QUOTED]])


def correction_notes(corrected: Mapping[str, str], lacking: Sequence[str]) -> list[str]:
    """Say what words without a meaning are read as, those aside that nothing was found for."""
    return [f'"{word}" is read as "{meant}"' for word, meant in corrected.items() if word not in lacking]


def squeezed(text: str) -> str:
    """Return a text's letters and digits in lower case: a label that says no more than a name is the same."""
    return "".join(sign for sign in text.casefold() if sign.isalnum())
