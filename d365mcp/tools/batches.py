"""Creates, updates and deletes several records in one request. Everything is checked before anything is sent."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.batch import BatchAnswer, BatchOperation, PartResult
from d365mcp.errors import InvalidArgument, OutcomeUnknown
from d365mcp.tools.changes import Data, DryRun
from d365mcp.tools.common import key_company, with_notes
from d365mcp.tools.dry_runs import NOT_CHECKED, NOTHING_SENT, Preview, preview_of
from d365mcp.tools.parameters import RecordKey
from d365mcp.tools.policy import DONE, audited, check_writes_allowed
from d365mcp.tools.tool import ToolContext
from d365mcp.tools.writing import Change, checked_create, checked_delete, checked_update, explain_failure, record_key

_MAX_OPERATIONS = 200
# How many records a dry run reads at once.
_READS_AT_ONCE = 8
_LOOK_FIRST = "Look for the records (or your own reference in them) before trying again."


class BatchResult(TypedDict, total=False):
    outcome: str
    error: dict[str, Any]
    notes: list[str]
    parts: list[dict[str, Any]]
    requests: list[dict[str, Any]]


class _BatchPart(TypedDict):
    operation: Literal["create", "update", "delete"]
    entity_name: str
    key: NotRequired[RecordKey]
    data: NotRequired[Data]
    if_match: NotRequired[str]


async def batch(
    context: ToolContext,
    operations: Annotated[list[_BatchPart], Field(min_length=1, max_length=_MAX_OPERATIONS)],
    atomic: Annotated[bool, Field(description="All or nothing")] = True,
    confirm: Annotated[bool, Field(description="Must be true when one deletes")] = False,
    dry_run: DryRun = False,
) -> BatchResult:
    """Create, update and delete several records in one request, such as an order with its lines; by default all or nothing."""
    check_writes_allowed(context)
    if any("key" in part and key_company(part["key"]) is None for part in operations):
        await context.d365.session(fresh=True)  # keys without a company take the default one: as it is now
    changes = [await _checked_part(context, place, part) for place, part in enumerate(operations, 1)]
    notes = [f"{place}: {note}" for place, change in enumerate(changes, 1) for note in change.notes]
    if dry_run:
        return await _dry_run(context, changes, notes)
    if not confirm and any(change.kind == "delete" for change in changes):
        raise InvalidArgument("This batch deletes records for good: repeat it with confirm true.")
    answer = await _sent(context, changes, atomic=atomic)
    parts = [_result_of(change, part) for change, part in zip(changes, answer.parts, strict=True)]
    result = BatchResult(outcome=_outcome_of(answer.parts, atomic=atomic), parts=parts)
    if answer.error:
        result["error"] = answer.error.describe()
    return with_notes(result, notes)


async def _sent(context: ToolContext, changes: Sequence[Change], *, atomic: bool) -> BatchAnswer:
    """Send a batch, and audit each part by its own outcome."""
    operations = [
        BatchOperation(change.method, change.path, change.write, change.body, if_match=change.if_match)
        for change in changes
    ]
    async with AsyncExitStack() as stack:
        targets = [
            await stack.enter_async_context(audited(context, "d365fo_batch", change.entity.entity_set, change.key))
            for change in changes
        ]
        try:
            answer = await context.d365.batch(operations, atomic=atomic)
        except OutcomeUnknown as unknown:
            unknown.hint = _LOOK_FIRST
            raise
        for change, part, target in zip(changes, answer.parts, targets, strict=True):
            if part.error:
                explain_failure(part.error, change)
            target.outcome = _audit_outcome(part)
            target.key = record_key(change.entity, part.record) or change.key
    return answer


def _audit_outcome(part: PartResult) -> str:
    if part.outcome == "done":
        return DONE
    return part.error.code if part.error else part.outcome.replace(" ", "_")


def _outcome_of(parts: Sequence[PartResult], *, atomic: bool) -> str:
    """Return what became of a batch as a whole, the parts counted by their outcome."""
    counts = Counter(part.outcome for part in parts)
    if counts["done"] == len(parts):
        return "done"
    if atomic and not (counts["done"] or counts["unknown"]):
        return "failed: nothing was changed"
    others = [f"{count} {outcome}" for outcome, count in counts.items() if outcome != "done"]
    return ", ".join([f"{counts['done']} of {len(parts)} done", *others])


def _result_of(change: Change, part: PartResult) -> dict[str, Any]:
    result: dict[str, Any] = {
        "operation": change.kind,
        "entity_set": change.entity.entity_set,
        "status": part.status,
        "outcome": part.outcome,
        "key": record_key(change.entity, part.record) or dict(change.key or {}),
        "error": part.error.describe() if part.error else None,
    }
    return {name: value for name, value in result.items() if value}


async def _checked_part(context: ToolContext, place: int, part: _BatchPart) -> Change:
    """Check one operation of a batch; its place in the batch goes into every complaint."""
    try:
        entity = await context.catalog.entity(part["entity_name"])
        key, data, if_match = part.get("key"), part.get("data"), part.get("if_match")
        if part["operation"] == "create":
            return await checked_create(context, entity, _given(data, "data"), None)
        key = _given(key, "key")
        if part["operation"] == "update":
            return await checked_update(context, entity, key, _given(data, "data"), if_match, fresh=False)
        return await checked_delete(context, entity, key, if_match, fresh=False)
    except InvalidArgument as error:
        error.message = f"Operation {place}: {error.message}"
        error.args = (error.message,)
        raise


def _given(value: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if not value:
        raise InvalidArgument(f"{name} is missing.")
    return value


async def _dry_run(context: ToolContext, changes: Sequence[Change], notes: Sequence[str]) -> BatchResult:
    """Say of each operation what it would send, meet and change."""
    gate = asyncio.Semaphore(_READS_AT_ONCE)

    async def one(change: Change) -> Preview:
        async with gate:
            return await preview_of(context, change)

    found = await asyncio.gather(*map(one, changes))
    requests = [
        change.request()
        | ({} if each.exists is None else {"exists": each.exists})
        | ({"changes": each.changes} if each.changes else {})
        for change, each in zip(changes, found, strict=True)
    ]
    added = [f"{place}: {note}" for place, each in enumerate(found, 1) for note in each.notes]
    return with_notes(BatchResult(outcome=NOTHING_SENT, requests=requests), [*notes, *added, NOT_CHECKED])
