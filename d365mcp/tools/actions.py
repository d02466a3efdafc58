"""Invokes F&O's operations: OData actions, and JSON services."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.filters.names import MOST_SUGGESTIONS, identifier
from d365mcp.d365.keys import key_predicate
from d365mcp.d365.models import NAMESPACE, Action, DataEntity
from d365mcp.errors import InvalidArgument, NotFound, OutcomeUnknown, UnknownName, close_names, or_list
from d365mcp.tools.common import ENVELOPE_CHARS, with_notes
from d365mcp.tools.keys import complete_key
from d365mcp.tools.parameters import EntityName, RecordKey
from d365mcp.tools.policy import audited, bound_of, check_action, check_service, check_writes_allowed
from d365mcp.tools.results import compact, tidy_value
from d365mcp.tools.tool import ToolContext

_NO_UNBOUND = "Most actions belong to an entity: give entity_name. d365fo_get_entity_schema lists an entity's actions."
_LOOK_FIRST = "Look for what it changes in the records it acts on before invoking it again."
_NO_SERVICE = "Leave names out from the right, and what there is comes back instead."

_Parameters = Annotated[dict[str, Any] | None, Field(description='e.g. {"_invoiceId":"CIV-1"}: often with _')]


class _Returned(TypedDict, total=False):
    """What an operation returned."""

    left_out: int
    notes: list[str]


class ActionResult(_Returned, total=False):
    action: str
    request: dict[str, Any]
    result: Any


class ServiceResult(_Returned, total=False):
    service: str
    offers: list[str]
    result: Any


_R = TypeVar("_R", ActionResult, ServiceResult)


async def call_action(
    context: ToolContext,
    action: Annotated[str, Field(description="e.g. GetApplicationVersion", max_length=200)],
    entity_name: EntityName | None = None,
    key: RecordKey | None = None,
    parameters: _Parameters = None,
    dry_run: bool = False,
) -> ActionResult:
    """Invoke an OData action (post, confirm, release): on an entity set (entity_name), on a record (with key), or unbound."""
    check_writes_allowed(context)
    name = identifier(action, "action")
    entity = await context.catalog.entity(entity_name) if entity_name else None
    given = parameters or {}
    is_void = False
    if entity is not None:
        found = _named_action(entity, name)
        is_void = found.is_void
        _check_binding(found, entity, key)
        _check_parameters(found, given)
    elif key:
        raise InvalidArgument("A key needs its entity: give entity_name.")
    entity_set = entity.entity_set if entity else None
    check_action(context, entity_set, name)
    bound_of(context).refuse_unless_free(f"The action {name}", "which companies it touches cannot be proved")
    place, notes = await _address_of(context, entity, key)
    if dry_run:
        return with_notes(ActionResult(action=name, request=_request(place, name, given)), notes)
    async with audited(context, "d365fo_call_action", f"{entity_set or ''}.{name}", key):
        with _with_hints(None if entity_set else _NO_UNBOUND):
            returned = await context.d365.invoke(
                name,
                given,
                entity_set=place.entity_set,
                key_predicate=place.predicate,
                cross_company=place.cross_company,
                is_void=is_void,
            )
    return _fitted(ActionResult(action=name), returned, context, notes)


@dataclass(frozen=True)
class _Address:
    """Where an action is: at an entity set, at one of its records, or at neither."""

    entity_set: str | None = None
    predicate: str = ""
    cross_company: bool = False


async def _address_of(
    context: ToolContext, entity: DataEntity | None, key: Mapping[str, Any] | None
) -> tuple[_Address, tuple[str, ...]]:
    """Return where an action is; like any record, one of another company is found across companies only."""
    if entity is None or not key:
        return _Address(entity.entity_set if entity else None), ()
    key, notes = await complete_key(context, entity, key, None)
    return _Address(entity.entity_set, key_predicate(entity, key), entity.has_company), notes


@contextmanager
def _with_hints(if_missing: str | None) -> Iterator[None]:
    """Say what to do about an operation that F&O does not have, or of which nobody knows whether it was done."""
    try:
        yield
    except NotFound as missing:
        missing.hint = if_missing or missing.hint
        raise
    except OutcomeUnknown as unknown:
        unknown.hint = _LOOK_FIRST
        raise


def _named_action(entity: DataEntity, name: str) -> Action:
    by_folded = {each.name.casefold(): each for each in entity.actions}
    if (found := by_folded.get(name.casefold())) is None:
        close = close_names(name, [each.name for each in entity.actions])
        known = or_list([each.name for each in entity.actions][:10]) if entity.actions else "none"
        raise UnknownName(f"action of {entity.entity_set}", name, close, hint=f"Its actions: {known}.")
    return found


def _check_binding(action: Action, entity: DataEntity, key: Any) -> None:
    if action.binding == "BoundToEntityInstance" and not key:
        raise InvalidArgument(f"{action.name} acts on one record of {entity.entity_set}: give its key.")
    if action.binding == "BoundToEntitySet" and key:
        raise InvalidArgument(f"{action.name} acts on {entity.entity_set} as a whole: leave key out.")


def _check_parameters(action: Action, given: dict[str, Any]) -> None:
    """Raise InvalidArgument naming all parameters that are unknown or missing."""
    known = [parameter.name for parameter in action.parameters]
    problems = []
    unknown = [name for name in given if name not in known]
    for name in unknown[:MOST_SUGGESTIONS]:
        close = close_names(name, known)
        problems.append(f'no parameter "{name[:80]}"' + (f" (did you mean {or_list(close)}?)" if close else ""))
    if len(unknown) > MOST_SUGGESTIONS:
        problems.append(f"nor by {len(unknown) - MOST_SUGGESTIONS} other names")
    problems += [f"{name} is missing" for name in known if name not in given]
    if problems:
        raise InvalidArgument(f"{action.name}: {'; '.join(problems)}. It takes {', '.join(known) or 'none'}.")


def _request(place: _Address, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
    owner = f"{place.entity_set}{place.predicate}/" if place.entity_set else ""
    flag = "?cross-company=true" if place.cross_company else ""
    return {"method": "POST", "path": f"/data/{owner}{NAMESPACE}{action}{flag}", "body": parameters}


async def call_json_service(
    context: ToolContext,
    service_group: Annotated[str | None, Field(max_length=200)] = None,
    service_name: Annotated[str | None, Field(max_length=200)] = None,
    operation_name: Annotated[str | None, Field(max_length=200)] = None,
    parameters: _Parameters = None,
) -> ServiceResult:
    """Call a JSON (custom) service of F&O. With names left out from the right, lists what is there instead."""
    path = [service_group, service_name, operation_name]
    given = [identifier(part, "service name") for part in path if part]
    if any(path[place] for place in range(len(given), 3)):
        raise InvalidArgument("Give service_group before service_name, and both before operation_name.")
    if len(given) < 3:
        with _with_hints(_NO_SERVICE):
            return ServiceResult(service="/".join(given), offers=await context.d365.services(*given))
    group, service, operation = given
    check_service(context, group, service, operation)
    bound_of(context).refuse_unless_free("A JSON service", "which companies it touches cannot be proved")
    async with audited(context, "d365fo_call_json_service", "/".join(given)):
        with _with_hints(_NO_SERVICE):
            result = await context.d365.call_service(group, service, operation, parameters or {})
    return _fitted(ServiceResult(service="/".join(given)), result, context)


def _fitted(answer: _R, result: Any, context: ToolContext, notes: Sequence[str] = ()) -> _R:
    """Add what an operation returned, as far as the budget allows: it cannot be asked for again in parts."""
    tidied = tidy_value(result)
    text, room = compact(tidied), context.result_chars - ENVELOPE_CHARS
    answer["result"] = tidied
    if len(text) > room:
        answer["result"] = text[: room // 2]  # as text within the answer its quotes take twice their room
        answer["left_out"] = len(text) - room // 2
        notes = [*notes, "the result is too long: the answer has the beginning of its JSON, as text"]
    return with_notes(answer, notes)
