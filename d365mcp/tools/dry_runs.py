"""What a write would meet and change, for a dry run: reads the record, and sends nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from d365mcp.d365.bodies import missing
from d365mcp.d365.keys import key_predicate
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import D365McpError, NotFound
from d365mcp.tools.keys import record_by_key
from d365mcp.tools.policy import bound_of
from d365mcp.tools.results import ETAG, tidy
from d365mcp.tools.tool import ToolContext
from d365mcp.tools.writing import Change

NOTHING_SENT = "checked, nothing sent"
NOT_CHECKED = "not checked: what F&O's business logic and security roles say, and other records that refer to this one"


@dataclass
class Preview:
    """What a change would meet: whether its record exists, None where that cannot be said, and what would change."""

    exists: bool | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


async def preview_of(context: ToolContext, change: Change) -> Preview:
    """Read the record that a change is about, and say what would become of it."""
    found = Preview()
    body = change.body or {}
    if change.kind == "create" and (names := missing(body, change.entity)):
        found.notes.append(
            f"mandatory and not given: {', '.join(names)}; F&O refuses the record unless it has defaults"
        )
    if change.key and len(change.key) == len(change.entity.key):
        await _look(context, change, found)
    return found


async def _look(context: ToolContext, change: Change, found: Preview) -> None:
    entity, key = change.entity, change.key or {}
    names = (prop.name for prop in entity.key), (change.body or {} if change.kind == "update" else ())
    options = QueryOptions(
        select=tuple(dict.fromkeys(name for group in names for name in group)), cross_company=entity.has_company
    )
    try:
        record = await record_by_key(context, entity, key, key_predicate(entity, key), options, bound_of(context))
    except NotFound as missed:
        found.exists = False
        found.notes += [] if change.kind == "create" else [missed.message]
        return
    except D365McpError as error:
        found.notes.append(f"not checked whether the record exists, it could not be read: {error.message}")
        return
    found.exists = True
    if change.kind == "create":
        found.notes.append(f"a {entity.entity_set} record with this key exists: F&O refuses a second one")
    if change.kind == "update":
        _compare(change, record, found)
    if change.if_match not in (None, "*", record.get(ETAG)):
        found.notes.append("if_match is not the record's etag any more: F&O refuses the change")


def _compare(change: Change, record: Mapping[str, Any], found: Preview) -> None:
    """Tell old from new, property by property."""
    body = change.body or {}
    same = [name for name, value in body.items() if name in record and record[name] == value]
    old, new = tidy(record, change.entity), tidy(body, change.entity)
    found.changes = {name: {"old": old.get(name), "new": new[name]} for name in body if name not in same}
    if same:
        found.notes.append(f"{', '.join(same)} would stay as it is")
