"""Creates, updates and deletes records, one at a time."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import D365McpError, InvalidArgument
from d365mcp.tools.common import ENVELOPE_CHARS, with_notes
from d365mcp.tools.dry_runs import NOT_CHECKED, NOTHING_SENT, preview_of
from d365mcp.tools.empties import without_empties
from d365mcp.tools.keys import record_by_key
from d365mcp.tools.parameters import Company, EntityName, RecordKey
from d365mcp.tools.policy import audited, bound_of
from d365mcp.tools.results import ETAG, chars, tidy
from d365mcp.tools.tool import ToolContext
from d365mcp.tools.writing import Change, checked_create, checked_delete, checked_update, record_key, with_outcome_hints

Data = Annotated[
    dict[str, Any], Field(description='e.g. {"CreditLimit":5000}; enumerations by member name', max_length=400)
]
_IfMatch = Annotated[str | None, Field(description="etag it must still have", max_length=2000)]
DryRun = Annotated[bool, Field(description="Only check, and show the request")]


class ChangeResult(TypedDict, total=False):
    entity_set: str
    outcome: str
    key: dict[str, Any]
    etag: str
    exists: bool
    notes: list[str]
    changes: dict[str, Any]
    request: dict[str, Any]
    record: dict[str, Any]


async def create_entity_record(
    context: ToolContext,
    entity_name: EntityName,
    data: Data,
    company: Company = None,
    return_record: bool = False,
    include_empty: bool = False,
    dry_run: DryRun = False,
) -> ChangeResult:
    """Create a record, such as a customer or a sales order. Leave out what F&O assigns (numbers, defaults). Returns its key."""
    entity = await context.catalog.entity(entity_name)
    change = await checked_create(context, entity, data, company)
    if dry_run:
        return await _dry_run(context, change)
    async with audited(context, "d365fo_create_entity_record", entity.entity_set, change.key) as target:
        with with_outcome_hints(change):
            record = await context.d365.create(entity.entity_set, dict(change.body or {}), key=change.write.key)
            target.key = record_key(entity, record)
    result = ChangeResult(entity_set=entity.entity_set, outcome="created", key=record_key(entity, record))
    if ETAG in record:
        result["etag"] = record[ETAG]
    notes = [*change.notes, *_stored_otherwise(change.body or {}, record)]
    if return_record:
        notes += await _add_record(context, result, record, change, include_empty=include_empty)
    return with_notes(result, notes)


async def update_entity_record(
    context: ToolContext,
    entity_name: EntityName,
    key: RecordKey,
    data: Data,
    company: Company = None,
    if_match: _IfMatch = None,
    return_record: bool = False,
    include_empty: bool = False,
    dry_run: DryRun = False,
) -> ChangeResult:
    """Change some properties of a record, such as a customer's credit limit."""
    entity = await context.catalog.entity(entity_name)
    change = await checked_update(context, entity, key, data, if_match, company)
    if dry_run:
        return await _dry_run(context, change)
    async with audited(context, "d365fo_update_entity_record", entity.entity_set, change.key):
        with with_outcome_hints(change):
            await context.d365.update(
                entity.entity_set,
                change.predicate,
                dict(change.body or {}),
                if_match=if_match,
                cross_company=change.cross_company,
                key=change.write.key,
            )
    result = ChangeResult(entity_set=entity.entity_set, outcome="updated", key=dict(change.key or {}))
    notes = [*change.notes]
    if return_record:
        notes += await _read_back(context, result, change, include_empty=include_empty)
    return with_notes(result, notes)


async def _read_back(context: ToolContext, result: ChangeResult, change: Change, *, include_empty: bool) -> list[str]:
    """Add the record to a result, or return a note: what was done stays done, whatever becomes of reading it."""
    entity, options = change.entity, QueryOptions(cross_company=change.cross_company)
    try:
        record = await record_by_key(context, entity, change.key or {}, change.predicate, options, bound_of(context))
    except D365McpError as error:
        return [f"the change was made; its record could not be read back: {error.message}"]
    return await _add_record(context, result, record, change, include_empty=include_empty)


async def _add_record(
    context: ToolContext, result: ChangeResult, record: Mapping[str, Any], change: Change, *, include_empty: bool
) -> list[str]:
    """Add a record to a result, what was written above all; return notes on what is left out of it."""
    tidied, notes = tidy(record, change.entity), list[str]()
    if not include_empty:
        tidied, notes = await without_empties(context, tidied, change.entity, keep=change.body or {})
    if chars(tidied) > context.result_chars - ENVELOPE_CHARS:
        return ["the record is too long for this answer: read it with d365fo_get_entity_record and select"]
    result["record"] = tidied
    return notes


async def delete_entity_record(
    context: ToolContext,
    entity_name: EntityName,
    key: RecordKey,
    company: Company = None,
    confirm: Annotated[bool, Field(description="Must be true to delete")] = False,
    if_match: _IfMatch = None,
    dry_run: DryRun = False,
) -> ChangeResult:
    """Delete a record for good."""
    entity = await context.catalog.entity(entity_name)
    change = await checked_delete(context, entity, key, if_match, company)
    if dry_run:
        return await _dry_run(context, change)
    if not confirm:
        parts = ", ".join(f"{name} {value}" for name, value in (change.key or {}).items())
        raise InvalidArgument(f"This deletes {entity.entity_set} with {parts} for good: repeat it with confirm true.")
    async with audited(context, "d365fo_delete_entity_record", entity.entity_set, change.key):
        with with_outcome_hints(change):
            await context.d365.delete(
                entity.entity_set, change.predicate, if_match=if_match, cross_company=change.cross_company
            )
    return with_notes(
        ChangeResult(entity_set=entity.entity_set, outcome="deleted", key=dict(change.key or {})), change.notes
    )


async def _dry_run(context: ToolContext, change: Change) -> ChangeResult:
    result = ChangeResult(entity_set=change.entity.entity_set, outcome=NOTHING_SENT, request=change.request())
    found = await preview_of(context, change)
    if found.exists is not None:
        result["exists"] = found.exists
    if found.changes:
        result["changes"] = found.changes
    return with_notes(result, [*change.notes, *found.notes, NOT_CHECKED])


def _stored_otherwise(sent: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """Return a note for each value F&O stored differently (cut to length, defaulted anew)."""
    changed = [
        name
        for name, value in sent.items()
        if name in record and isinstance(value, str) and str(record[name]).casefold() != value.casefold()
    ]
    return [f"F&O stored another {name} than was sent: read it back" for name in changed]
