"""One record by its key: the key with its company, and reading it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from d365mcp.d365.companies import CompanyBound
from d365mcp.d365.filters.literals import property_literal
from d365mcp.d365.filters.translate import and_filters
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import InvalidArgument, NotFound
from d365mcp.tools.results import Record
from d365mcp.tools.tool import ToolContext


def no_record(entity: DataEntity) -> str:
    return f"No {entity.entity_set} record has this key."


async def complete_key(
    context: ToolContext, entity: DataEntity, key: Mapping[str, Any], company: str | None, *, fresh: bool = True
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the key with its company, and a note where that is the user's default one; `fresh` asks which it is now."""
    completed = with_company(entity, key, company)
    if company and not entity.has_company:
        return completed, (f"{entity.entity_set} is shared by all companies: company had no effect",)
    has_place = any(prop.name == COMPANY for prop in entity.key)
    if not has_place or any(name.casefold() == COMPANY.casefold() for name in completed):
        return completed, ()
    default = (await context.d365.session(fresh=fresh)).company
    note = f"the key has no {COMPANY}: {default}, the user's default company, was taken"
    return {COMPANY: default, **completed}, (note,)


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


async def record_by_key(
    context: ToolContext,
    entity: DataEntity,
    key: Mapping[str, Any],
    predicate: str,
    options: QueryOptions,
    bound: CompanyBound,
) -> Record:
    """Read one record by its URL, or by a filter where F&O does not find by URL what is there. Raises NotFound."""
    columns = bound.columns(entity)
    if options.select:
        options = replace(options, select=tuple(dict.fromkeys([*options.select, *columns])))
    record = await found_record(context, entity, key, predicate, options)
    bound.check_records(entity, [record])
    return record


async def found_record(
    context: ToolContext, entity: DataEntity, key: Mapping[str, Any], predicate: str, options: QueryOptions
) -> Record:
    missing = no_record(entity)
    if not is_delicate(entity, key):
        try:
            return await context.d365.get_record(entity.entity_set, predicate, options)
        except NotFound as error:
            error.message = missing
            raise
    values = {entity.names_by_folded[name.casefold()]: value for name, value in key.items()}
    parts = [f"{prop.name} eq {property_literal(values[prop.name], prop, entity.enumerations)}" for prop in entity.key]
    page = await context.d365.query(entity.entity_set, replace(options, filter=and_filters(*parts), top=2))
    if len(page.records) != 1:
        raise NotFound(
            missing if not page.records else f"{len(page.records)} {entity.entity_set} records have this key."
        )
    return page.records[0]


def is_delicate(entity: DataEntity, key: Mapping[str, Any]) -> bool:
    """Return whether a key is better asked by a filter: with an enumeration in it 10.0.47 answers 404, and front ends
    refuse an encoded slash. A star would make the filter a pattern, so such keys go by URL."""
    texts = [value for value in key.values() if isinstance(value, str)]
    awkward = any(prop.enumeration for prop in entity.key) or any("/" in text or "\\" in text for text in texts)
    return awkward and not any("*" in text for text in texts)
