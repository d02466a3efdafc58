"""Creates, updates and deletes records, one at a time or as a batch. Everything is checked before anything is sent."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.batch import BatchOperation
from d365mcp.d365.bodies import check_body
from d365mcp.d365.keys import key_predicate
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import InvalidArgument, NotFound, OutcomeUnknown
from d365mcp.tools.keys import complete_key, key_company, no_record, with_company
from d365mcp.tools.parameters import Company, EntityName, Key
from d365mcp.tools.planning import with_enumerations
from d365mcp.tools.policy import DONE, audited, check_record_company, check_writable, check_writes_allowed, in_bounds
from d365mcp.tools.results import ETAG, tidy
from d365mcp.tools.tool import ToolContext

Data = Annotated[dict[str, Any], Field(description="Property values; enumerations by member name", max_length=400)]
IfMatch = Annotated[str | None, Field(description="etag it must still have", max_length=2000)]
DryRun = Annotated[bool, Field(description="Only check, and show the request")]
MAX_OPERATIONS = 200
ETAG_SHAPE = re.compile(r'\*|(W/)?"[ !#-~]*"', re.ASCII)


class ChangeResult(TypedDict, total=False):
    entity_set: str
    outcome: str
    key: dict[str, Any]
    etag: str
    record: dict[str, Any]
    request: dict[str, Any]
    notes: list[str]


class BatchResult(TypedDict, total=False):
    outcome: str
    parts: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    notes: list[str]


class Operation(TypedDict):
    """One operation of a batch."""

    operation: Literal["create", "update", "delete"]
    entity_name: str
    key: NotRequired[dict[str, Any]]
    data: NotRequired[dict[str, Any]]
    if_match: NotRequired[str]


@dataclass(frozen=True)
class Change:
    """A checked change, ready to be sent."""

    kind: str
    entity: DataEntity
    method: str
    predicate: str = ""
    body: Mapping[str, Any] | None = None
    key: Mapping[str, Any] | None = None
    cross_company: bool = False
    if_match: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        flag = "?cross-company=true" if self.cross_company else ""
        return f"{self.entity.entity_set}{self.predicate}{flag}"

    def shown(self) -> dict[str, Any]:
        """Return the request as it would be sent."""
        request: dict[str, Any] = {"method": self.method, "path": f"/data/{self.path}"}
        if self.body is not None:
            request["body"] = dict(self.body)
        if self.if_match:
            request["if_match"] = self.if_match
        return request


async def create_entity_record(
    context: ToolContext,
    entity_name: EntityName,
    data: Data,
    company: Company = None,
    return_record: bool = False,
    dry_run: DryRun = False,
) -> ChangeResult:
    """Create a record. Leave out what F&O assigns (numbers, defaults). Returns its key."""
    entity = await context.catalog.entity(entity_name)
    change = await checked_create(context, entity, data, company)
    if dry_run:
        return rehearsed(change)
    given = record_key(entity, change.body)
    async with audited(context, "d365fo_create_entity_record", entity.entity_set, given) as target:
        try:
            record = await context.d365.create(entity.entity_set, dict(change.body or {}))
            target.key = record_key(entity, record)
        except OutcomeUnknown as unknown:
            unknown.hint = look_for(entity, change.body or {})
            raise
    result = ChangeResult(entity_set=entity.entity_set, outcome="created", key=record_key(entity, record))
    if ETAG in record:
        result["etag"] = record[ETAG]
    if return_record:
        result["record"] = tidy(record, entity)
    return with_notes(result, [*change.notes, *differences(change.body or {}, record)])


async def update_entity_record(
    context: ToolContext,
    entity_name: EntityName,
    key: Key,
    data: Data,
    company: Company = None,
    if_match: IfMatch = None,
    return_record: bool = False,
    dry_run: DryRun = False,
) -> ChangeResult:
    """Change some properties of a record."""
    entity = await context.catalog.entity(entity_name)
    change = await checked_update(context, entity, key, data, if_match, company)
    if dry_run:
        return rehearsed(change)
    async with audited(context, "d365fo_update_entity_record", entity.entity_set, change.key):
        with explained(entity, "Read the record with d365fo_get_entity_record and compare before trying again."):
            await context.d365.update(
                entity.entity_set,
                change.predicate,
                dict(change.body or {}),
                if_match=if_match,
                cross_company=change.cross_company,
            )
    result = ChangeResult(entity_set=entity.entity_set, outcome="updated", key=dict(change.key or {}))
    if return_record:
        options = QueryOptions(cross_company=change.cross_company)
        result["record"] = tidy(await context.d365.get_record(entity.entity_set, change.predicate, options), entity)
    return with_notes(result, change.notes)


@contextmanager
def explained(entity: DataEntity, if_unknown: str) -> Iterator[None]:
    """Say of a failed write what it means for its record."""
    try:
        yield
    except OutcomeUnknown as unknown:
        unknown.hint = if_unknown
        raise
    except NotFound as missing:
        missing.message = no_record(entity)
        raise


async def delete_entity_record(
    context: ToolContext,
    entity_name: EntityName,
    key: Key,
    company: Company = None,
    confirm: Annotated[bool, Field(description="Must be true to delete")] = False,
    if_match: IfMatch = None,
    dry_run: DryRun = False,
) -> ChangeResult:
    """Delete a record for good."""
    entity = await context.catalog.entity(entity_name)
    change = await checked_delete(context, entity, key, if_match, company)
    if dry_run:
        return rehearsed(change)
    if not confirm:
        parts = ", ".join(f"{name} {value}" for name, value in (change.key or {}).items())
        raise InvalidArgument(f"This deletes {entity.entity_set} with {parts} for good: repeat it with confirm true.")
    async with audited(context, "d365fo_delete_entity_record", entity.entity_set, change.key):
        with explained(entity, "Look for the record with d365fo_get_entity_record: not found means it was deleted."):
            await context.d365.delete(
                entity.entity_set, change.predicate, if_match=if_match, cross_company=change.cross_company
            )
    return with_notes(
        ChangeResult(entity_set=entity.entity_set, outcome="deleted", key=dict(change.key or {})), change.notes
    )


async def batch(
    context: ToolContext,
    operations: Annotated[list[Operation], Field(min_length=1, max_length=MAX_OPERATIONS)],
    atomic: Annotated[bool, Field(description="All or nothing")] = True,
    confirm: Annotated[bool, Field(description="Must be true when one deletes")] = False,
    dry_run: DryRun = False,
) -> BatchResult:
    """Create, update and delete several records in one request; by default all or nothing."""
    check_writes_allowed(context)
    if any("key" in part and key_company(part["key"]) is None for part in operations):
        await context.d365.session(fresh=True)  # keys without a company take the default one: as it is now
    changes = [await checked_part(context, place, part) for place, part in enumerate(operations, 1)]
    notes = [f"{place}: {note}" for place, change in enumerate(changes, 1) for note in change.notes]
    if dry_run:
        shown = [change.shown() for change in changes]
        return with_batch_notes(BatchResult(outcome="checked, nothing sent", requests=shown), notes)
    if not confirm and any(change.kind == "delete" for change in changes):
        raise InvalidArgument("This batch deletes records for good: repeat it with confirm true.")
    results = await sent_batch(context, changes, atomic=atomic)
    done = sum(1 for part in results if part["outcome"] == "done")
    outcome = (
        "done"
        if done == len(results)
        else "failed: nothing was changed"
        if atomic
        else f"{done} of {len(results)} done"
    )
    return with_batch_notes(BatchResult(outcome=outcome, parts=results), notes)


async def sent_batch(context: ToolContext, changes: Sequence[Change], *, atomic: bool) -> list[dict[str, Any]]:
    """Send a batch, audit each part, and return each part's own result."""
    operations = [
        BatchOperation(change.method, change.path, change.body, if_match=change.if_match) for change in changes
    ]
    async with AsyncExitStack() as stack:
        targets = [
            await stack.enter_async_context(audited(context, "d365fo_batch", change.entity.entity_set, change.key))
            for change in changes
        ]
        try:
            answers = await context.d365.batch(operations, atomic=atomic)
        except OutcomeUnknown as unknown:
            unknown.hint = "Look for the records (or your own reference in them) before trying again."
            raise
        results = []
        for change, part, target in zip(changes, answers, targets, strict=True):
            results.append(part_result(change, part.status, part.record, part.error))
            target.outcome = part.error.code if part.error else DONE
            target.key = results[-1].get("key") or change.key
    return results


def part_result(change: Change, status: int, record: Any, error: Any) -> dict[str, Any]:
    result: dict[str, Any] = {
        "operation": change.kind,
        "entity_set": change.entity.entity_set,
        "status": status,
        "outcome": "failed" if error else "done",
    }
    if error:
        return {**result, "error": error.describe()}
    key = record_key(change.entity, record) if isinstance(record, dict) and record else dict(change.key or {})
    return {**result, "key": key} if key else result


async def checked_part(context: ToolContext, place: int, part: Operation) -> Change:
    """Check one operation of a batch; its place in the batch goes into every complaint."""
    try:
        entity = await context.catalog.entity(part["entity_name"])
        key, data, if_match = part.get("key"), part.get("data"), part.get("if_match")
        if part["operation"] == "create":
            return await checked_create(context, entity, needed(data, "data"), None)
        key = needed(key, "key")
        if part["operation"] == "update":
            return await checked_update(context, entity, key, needed(data, "data"), if_match, fresh=False)
        return await checked_delete(context, entity, key, if_match, fresh=False)
    except InvalidArgument as error:
        error.message = f"Operation {place}: {error.message}"
        error.args = (error.message,)
        raise


def needed(value: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if not value:
        raise InvalidArgument(f"{name} is missing.")
    return value


async def checked_create(
    context: ToolContext, entity: DataEntity, data: Mapping[str, Any], company: str | None
) -> Change:
    check_writable(context, entity)
    entity = await with_enumerations(context, entity, data)
    record, added = await in_bounds(context, entity, with_company(entity, data, company))
    body, notes = check_body(record, entity, creating=True)
    return Change("create", entity, "POST", body=body, key=record_key(entity, body), notes=(*added, *notes))


async def checked_update(
    context: ToolContext,
    entity: DataEntity,
    key: Mapping[str, Any],
    data: Mapping[str, Any],
    if_match: str | None,
    company: str | None = None,
    *,
    fresh: bool = True,
) -> Change:
    check_writable(context, entity)
    check_etag(if_match)
    key, added = await complete_key(context, entity, key, company, fresh=fresh)
    entity = await with_enumerations(context, entity, {**key, **data})
    predicate = key_predicate(entity, key)
    body, notes = check_body(data, entity, creating=False)
    if not body:
        raise InvalidArgument("data names no property to change.")
    await check_record_company(context, entity, key, body)
    return Change(
        "update", entity, "PATCH", predicate, body, key, entity.has_company, if_match=if_match, notes=(*added, *notes)
    )


async def checked_delete(
    context: ToolContext,
    entity: DataEntity,
    key: Mapping[str, Any],
    if_match: str | None,
    company: str | None = None,
    *,
    fresh: bool = True,
) -> Change:
    check_writable(context, entity)
    check_etag(if_match)
    key, added = await complete_key(context, entity, key, company, fresh=fresh)
    entity = await with_enumerations(context, entity, key)
    predicate = key_predicate(entity, key)
    await check_record_company(context, entity, key, {})
    cross_company = entity.has_company
    return Change("delete", entity, "DELETE", predicate, None, key, cross_company, if_match=if_match, notes=added)


def check_etag(if_match: str | None) -> None:
    """Raise InvalidArgument for what is no entity tag: it becomes a header, in a batch a line of the body.

    https://www.rfc-editor.org/rfc/rfc9110#name-etag
    """
    if if_match and not ETAG_SHAPE.fullmatch(if_match):
        raise InvalidArgument("if_match is no etag: give the one that include_etag showed, unchanged.")


def rehearsed(change: Change) -> ChangeResult:
    result = ChangeResult(entity_set=change.entity.entity_set, outcome="checked, nothing sent", request=change.shown())
    return with_notes(result, change.notes)


def record_key(entity: DataEntity, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a record says of its key."""
    return tidy({prop.name: record[prop.name] for prop in entity.key if record and prop.name in record}, entity)


def look_for(entity: DataEntity, body: Mapping[str, Any]) -> str:
    """Say how to find out whether a create went through: F&O has no idempotency key."""
    telling = [name for name, value in body.items() if isinstance(value, str) and value and name != COMPANY][:3]
    how = " and ".join(f"{name} eq '{str(body[name])[:60]}'" for name in telling) or "the newest records"
    where = f" in company {key_company(body)}" if key_company(body) else ""
    return f"Query {entity.entity_set}{where} for {how} before trying again."


def differences(sent: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """Return a note for each value F&O stored differently (cut to length, defaulted anew)."""
    changed = [
        name
        for name, value in sent.items()
        if name in record and isinstance(value, str) and str(record[name]).casefold() != value.casefold()
    ]
    return [f"F&O stored another {name} than was sent: read it back" for name in changed]


def with_notes(result: ChangeResult, notes: Sequence[str]) -> ChangeResult:
    if notes:
        result["notes"] = list(notes)
    return result


def with_batch_notes(result: BatchResult, notes: Sequence[str]) -> BatchResult:
    if notes:
        result["notes"] = list(notes)
    return result
