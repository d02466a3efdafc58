"""A change to a record: checked before anything is sent, and what it means for the record when it fails."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from d365mcp.d365.bodies import check_body
from d365mcp.d365.keys import key_predicate
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.outcomes import Write
from d365mcp.errors import D365McpError, InvalidArgument, NotFound, OutcomeUnknown
from d365mcp.tools.common import key_company, with_company, with_enumerations
from d365mcp.tools.keys import complete_key, no_record
from d365mcp.tools.policy import check_record_company, check_writable, in_bounds
from d365mcp.tools.results import tidy
from d365mcp.tools.suggestions import explain_all_unknown
from d365mcp.tools.tool import ToolContext

_ETAG_SHAPE = re.compile(r'\*|(W/)?"[ !#-~]*"', re.ASCII)


@dataclass(frozen=True)
class Change:
    """A checked change, ready to be sent."""

    kind: Literal["create", "update", "delete"]
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

    @property
    def write(self) -> Write:
        return Write(self.kind, tuple(prop.name for prop in self.entity.key))

    def request(self) -> dict[str, Any]:
        """Return the request as it would be sent."""
        request: dict[str, Any] = {"method": self.method, "path": f"/data/{self.path}"}
        if self.body is not None:
            request["body"] = dict(self.body)
        if self.if_match is not None:
            request["if_match"] = self.if_match
        return request


async def checked_create(
    context: ToolContext, entity: DataEntity, data: Mapping[str, Any], company: str | None
) -> Change:
    check_writable(context, entity)
    entity = await with_enumerations(context, entity, data)
    record, added = await in_bounds(context, entity, with_company(entity, data, company))
    body, notes = await _checked_body(context, record, entity)
    return Change("create", entity, "POST", body=body, key=record_key(entity, body), notes=(*added, *notes))


async def _checked_body(
    context: ToolContext, record: Mapping[str, Any], entity: DataEntity, *, key: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    try:
        return check_body(record, entity, key=key)
    except InvalidArgument as error:
        await explain_all_unknown(context, entity, record, error)
        raise


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
    entity, key, predicate, added = await _addressed(context, entity, key, data, if_match, company, fresh=fresh)
    body, notes = await _checked_body(context, data, entity, key=key)
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
    entity, key, predicate, added = await _addressed(context, entity, key, {}, if_match, company, fresh=fresh)
    await check_record_company(context, entity, key, {})
    return Change("delete", entity, "DELETE", predicate, None, key, entity.has_company, if_match=if_match, notes=added)


async def _addressed(
    context: ToolContext,
    entity: DataEntity,
    key: Mapping[str, Any],
    data: Mapping[str, Any],
    if_match: str | None,
    company: str | None,
    *,
    fresh: bool,
) -> tuple[DataEntity, Mapping[str, Any], str, tuple[str, ...]]:
    """Check who may change a record; return its entity with the enumerations used, its whole key, its predicate, notes."""
    check_writable(context, entity)
    _check_etag(if_match)
    key, added = await complete_key(context, entity, key, company, fresh=fresh)
    entity = await with_enumerations(context, entity, {**key, **data})
    return entity, key, key_predicate(entity, key), tuple(added)


def _check_etag(if_match: str | None) -> None:
    """Raise InvalidArgument for what is no entity tag: it becomes a header, in a batch a line of the body.

    https://www.rfc-editor.org/rfc/rfc9110#name-etag
    """
    if if_match is not None and not _ETAG_SHAPE.fullmatch(if_match):
        raise InvalidArgument("if_match is no etag: give the one that include_etag showed, unchanged.")


def record_key(entity: DataEntity, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a record says of its key."""
    return tidy({prop.name: record[prop.name] for prop in entity.key if record and prop.name in record}, entity)


@contextmanager
def with_outcome_hints(change: Change) -> Iterator[None]:
    """Say of a failed write what it means for its record."""
    try:
        yield
    except D365McpError as error:
        explain_failure(error, change)
        raise


def explain_failure(error: D365McpError, change: Change) -> None:
    if isinstance(error, OutcomeUnknown):
        error.hint = _how_to_look(change)
    elif isinstance(error, NotFound) and change.kind != "create":
        error.message = no_record(change.entity)


def _how_to_look(change: Change) -> str:
    """Say how to find out whether a write went through."""
    match change.kind:
        case "create":
            return _look_for(change.entity, change.body or {})
        case "update":
            return "Read the record with d365fo_get_entity_record and compare before trying again."
    return "Look for the record with d365fo_get_entity_record before trying again: not found means it was deleted."


def _look_for(entity: DataEntity, body: Mapping[str, Any]) -> str:
    """Say how to find out whether a create went through: F&O has no idempotency key."""
    telling = [name for name, value in body.items() if isinstance(value, str) and value and name != COMPANY][:3]
    how = " and ".join(f"{name} eq '{str(body[name])[:60]}'" for name in telling) or "the newest records"
    where = f" in company {key_company(body)}" if key_company(body) else ""
    return f"Query {entity.entity_set}{where} for {how} before trying again."
