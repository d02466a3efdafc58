"""Creates, updates and deletes several records in one request. Everything is checked before anything is sent."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.errors import InvalidArgument, OutcomeUnknown
from d365mcp.tools.changes import Data, DryRun
from d365mcp.tools.common import key_company, with_notes
from d365mcp.tools.dry_runs import NOT_CHECKED, NOTHING_SENT, Preview, preview_of
from d365mcp.tools.parameters import RecordKey
from d365mcp.tools.policy import DONE, audited, check_writes_allowed
from d365mcp.tools.tool import ToolContext
from d365mcp.tools.writing import Change, checked_create, checked_delete, checked_update, explain_failure, record_key

if TYPE_CHECKING:
    from d365mcp.d365.batch import BatchAnswer, PartResult

_MAX_OPERATIONS = 200
# How many records a dry run reads at once.
_READS_AT_ONCE = 8
_LOOK_FIRST = "Look for the records (or your own reference in them) before trying again."


class BatchResult(TypedDict, total=False):
    outcome: str
    count: int
    error: dict[str, Any]
    notes: list[str]
    keys: list[dict[str, Any]]
    parts: list[dict[str, Any]]
    in_all: dict[str, Any]
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
    notes = _numbered_notes([change.notes for change in changes])
    if dry_run:
        return await _dry_run(context, changes, notes)
    if not confirm and any(change.kind == "delete" for change in changes):
        raise InvalidArgument("This batch deletes records for good: repeat it with confirm true.")
    answer = await _sent(context, changes, atomic=atomic)
    result = BatchResult(outcome=_outcome_of(answer.parts, atomic=atomic))
    if result["outcome"] == "done":
        keys = [_key_of(change, part) for change, part in zip(changes, answer.parts, strict=True)]
        result |= BatchResult(count=len(keys), keys=keys)
    else:
        result["parts"] = [_result_of(numbers, changes, answer.parts) for numbers in _alike(changes, answer.parts)]
    if answer.error:
        result["error"] = answer.error.describe()
    return with_notes(result, notes)


def _numbered_notes(notes: Sequence[Sequence[str]]) -> list[str]:
    """Return the operations' notes, each once, with the places of the operations that it is about."""
    places: dict[str, list[int]] = {}
    for place, each in enumerate(notes, 1):
        for note in each:
            places.setdefault(note, []).append(place)
    return [f"{_ranges(found)}: {note}" for note, found in places.items()]


def _ranges(places: Sequence[int]) -> str:
    """Return ascending numbers as people write them: 1-3, 5."""
    texts: list[str] = []
    start = end = places[0]
    for place in [*places[1:], 0]:
        if place != end + 1:
            texts.append(f"{start}-{end}" if end > start else str(start))
            start = place
        end = place
    return ", ".join(texts)


async def _sent(context: ToolContext, changes: Sequence[Change], *, atomic: bool) -> "BatchAnswer":
    """Send a batch, and audit each part by its own outcome."""
    from d365mcp.d365.batch import BatchOperation

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


def _audit_outcome(part: "PartResult") -> str:
    if part.outcome == "done":
        return DONE
    return part.error.code if part.error else part.outcome.replace(" ", "_")


def _outcome_of(parts: "Sequence[PartResult]", *, atomic: bool) -> str:
    """Return what became of a batch as a whole, the parts counted by their outcome."""
    counts = Counter(part.outcome for part in parts)
    if counts["done"] == len(parts):
        return "done"
    if atomic and not (counts["done"] or counts["unknown"]):
        return "failed: nothing was changed"
    others = [f"{count} {outcome}" for outcome, count in counts.items() if outcome != "done"]
    return ", ".join([f"{counts['done']} of {len(parts)} done", *others])


def _alike(changes: Sequence[Change], parts: "Sequence[PartResult]") -> list[list[int]]:
    """Return the numbers of the operations that are reported together; one with an error stands alone."""
    found: dict[object, list[int]] = {}
    for number, (change, part) in enumerate(zip(changes, parts, strict=True), 1):
        same = number if part.error else (change.kind, change.entity.entity_set, part.status, part.outcome)
        found.setdefault(same, []).append(number)
    return list(found.values())


def _result_of(numbers: Sequence[int], changes: Sequence[Change], parts: "Sequence[PartResult]") -> dict[str, Any]:
    change, part = changes[numbers[0] - 1], parts[numbers[0] - 1]
    keys = [_key_of(changes[number - 1], parts[number - 1]) for number in numbers]
    result: dict[str, Any] = {
        "numbers": _ranges(numbers),
        "operation": change.kind,
        "entity_set": change.entity.entity_set,
        "status": part.status,
        "outcome": part.outcome,
        "keys": keys if part.outcome == "done" else None,
        "key": keys[0] if part.error else None,
        "error": part.error.describe() if part.error else None,
    }
    return {name: value for name, value in result.items() if value}


def _key_of(change: Change, part: "PartResult") -> dict[str, Any]:
    return record_key(change.entity, part.record) or dict(change.key or {})


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
        error.reword(f"Operation {place}: {error.message}")
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
    in_all = _in_all(requests)
    result = BatchResult(outcome=NOTHING_SENT)
    if in_all:
        result["in_all"] = in_all
    result["requests"] = [{name: value for name, value in each.items() if name not in in_all} for each in requests]
    return with_notes(result, [*notes, *_numbered_notes([each.notes for each in found]), NOT_CHECKED])


def _in_all(requests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what is the same in all of several requests, their bodies and changes apart."""
    first, *others = requests
    return {
        name: value
        for name, value in first.items()
        if others and name not in ("body", "changes") and all(each.get(name) == value for each in others)
    }
