"""What this server may do to F&O at all: the operator's limits, checked before anything is sent."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from d365mcp.d365.companies import CompanyBound
from d365mcp.d365.filters.names import IDENTIFIER
from d365mcp.d365.keys import key_predicate
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import D365McpError, InvalidArgument, NotAllowed, OutcomeUnknown
from d365mcp.events import Audit, Caller, Listener, Trace, current_operation
from d365mcp.tools.arguments import object_in
from d365mcp.tools.keys import record_by_key
from d365mcp.tools.tool import ToolContext

DONE = "done"


def bound_of(context: ToolContext) -> CompanyBound:
    return CompanyBound(context.settings.companies)


def check_writes_allowed(context: ToolContext) -> None:
    """Raise NotAllowed where this server, this request or this caller only reads."""
    if context.read_only:
        raise NotAllowed(
            "Only reading is allowed here. The operator sets MCP_READ_ONLY=false to let tools write; who signs in needs the role D365.Write, too."
        )


def check_writable(context: ToolContext, entity: DataEntity) -> None:
    """Raise NotAllowed or InvalidArgument where the entity may not, or cannot, be written."""
    check_writes_allowed(context)
    if entity.is_read_only:
        raise InvalidArgument(f"{entity.entity_set} is read-only in F&O.")
    allowed = context.settings.writable_entities
    if allowed and not _matches(entity.entity_set, allowed):
        raise NotAllowed(
            f"{entity.entity_set} may not be written here: D365FO_WRITABLE_ENTITIES has {', '.join(allowed)}."
        )


def check_named_companies(context: ToolContext, entity: DataEntity, *records: Mapping[str, Any]) -> bool:
    """Return whether the records name their company. Raises NotAllowed where it lies outside of what may be touched."""
    columns = {name.casefold() for name in entity.company_columns}
    named = [str(value) for record in records for name, value in record.items() if name.casefold() in columns]
    bound_of(context).check(named)
    return bool(named)


async def in_bounds(
    context: ToolContext, entity: DataEntity, record: Mapping[str, Any]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return a new record that stays in the companies this server may touch, and a note. Raises NotAllowed.

    The default company is put into it: left to F&O, it would be whichever is the user's by then.
    """
    bound = bound_of(context)
    if check_named_companies(context, entity, record) or not bound.allowed or not entity.company_columns:
        return record, ()
    if not entity.has_company:
        bound.refuse_unless_free(f"Writing {entity.entity_set}", "the record does not say its company")
    default = (await context.d365.session()).company
    bound.check([default])
    return {COMPANY: default, **record}, (f"{COMPANY} {default}, the user's default company, was added",)


async def check_record_company(
    context: ToolContext, entity: DataEntity, key: Mapping[str, Any], data: Mapping[str, Any]
) -> None:
    """Raise NotAllowed where a record to be changed lies, or would lie, outside the companies this server may touch."""
    bound = bound_of(context)
    check_named_companies(context, entity, data)
    if check_named_companies(context, entity, key) or not bound.columns(entity):
        return
    # The key does not tell, so the record has to.
    options = QueryOptions(select=entity.company_columns, cross_company=entity.has_company)
    await record_by_key(context, entity, key, key_predicate(entity, key), options, bound)


def check_action(context: ToolContext, entity_set: str | None, action: str) -> None:
    """Raise NotAllowed for an action that D365FO_ALLOWED_ACTIONS does not have."""
    check_writes_allowed(context)
    name = f"{entity_set}.{action}" if entity_set else action
    if not _matches(name, context.settings.allowed_actions):
        raise NotAllowed(
            f"The action {name} may not be invoked here: the operator adds it (or a pattern) to D365FO_ALLOWED_ACTIONS."
        )


def check_service(context: ToolContext, group: str, service: str, operation: str) -> None:
    """Raise NotAllowed for a service that D365FO_ALLOWED_SERVICES does not have."""
    check_writes_allowed(context)
    name = f"{group}/{service}/{operation}"
    if not _matches(name, context.settings.allowed_services):
        raise NotAllowed(
            f"The service {name} may not be called here: the operator adds it (or a pattern) to D365FO_ALLOWED_SERVICES."
        )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name fits one of the patterns (`*` and `?`), whatever its case."""
    return any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)


@dataclass
class Target:
    """The record a write is about, whose key may be F&O's to give, and what became of it."""

    key: Mapping[str, Any] | None
    outcome: str


@asynccontextmanager
async def audited(
    context: ToolContext, tool: str, entity: str | None, key: Mapping[str, Any] | None = None
) -> AsyncIterator["Target"]:
    """Emit an audit event for a write, however it ends, be it by cancellation."""
    target, operation = Target(key, DONE), current_operation()
    if operation:
        operation.activity_id = None  # what was read before is not the write
    try:
        yield target
    except BaseException as error:
        target.outcome = error.code if isinstance(error, D365McpError) else OutcomeUnknown.code
        raise
    finally:
        activity_id = operation.activity_id if operation else None
        emit_audit(context.emit, context.caller, tool, entity, target.key, target.outcome, activity_id)


def emit_audit(
    emit: Listener,
    caller: Caller,
    tool: str,
    entity: str | None,
    key: Mapping[str, Any] | None,
    outcome: str,
    activity_id: str | None = None,
) -> None:
    """Emit an audit event; of the key only a hash leaves."""
    operation = current_operation()
    trace = operation.trace.child() if operation else Trace.continued(None)
    emit(Audit(caller.name, tool, entity, _key_hash(key) if key else None, outcome, trace, activity_id))


def target_of(arguments: Any) -> tuple[str | None, Mapping[str, Any] | None]:
    """Return the entity, where it can be one's name, and the key that unchecked arguments name."""
    given = arguments if isinstance(arguments, Mapping) else {}
    entity = given.get("entity_name")
    named = isinstance(entity, str) and IDENTIFIER.fullmatch(entity)
    return (entity if named else None), object_in(given.get("key"))


def _key_hash(key: Mapping[str, Any]) -> str:
    """Return the digest of a key, the same for the same record whatever the order of its parts.

    What is stored is made from it with a key: as it is, likely keys could be tried out on it.
    """
    text = json.dumps({name.casefold(): str(value).casefold() for name, value in key.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
