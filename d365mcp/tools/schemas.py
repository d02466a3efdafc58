"""JSON Schemas as every client takes them: nothing to look up, one type for each value, free-form objects open. Pure.

Which client needs what: tests/tools/portable.py.
"""

from collections.abc import Mapping
from typing import Any

_Schema = Mapping[str, Any]

# Limits are checked, and a message names the one that is passed: in every list they would be read for nothing.
_UNSAID = frozenset({"maxLength", "minLength", "maxItems", "minItems", "maxProperties", "maximum"})
# Unknown arguments are refused, whether or not a schema says so; half of the clients fail at the word.
_DROPPED = _UNSAID | {"title", "additionalProperties", "$defs"}
# Left out, some clients close an object without properties to {}; as true, others fail at it.
_OPEN: Mapping[str, _Schema] = {"additionalProperties": {}}
# What some clients take for a keyword of the schema where it is a member's name.
_KEYWORDS = frozenset({"properties", "items", "required", "type", "enum", "format", "title", "description", "default"})

# What any result may have: said in each list, it would be read a dozen times for nothing.
_EVERYWHERE = frozenset({"notes"})


def input_schema(schema: _Schema) -> dict[str, Any]:
    """Return the schema of a tool's arguments, from pydantic's."""
    members = _portable(schema, schema.get("$defs", {}))
    return {"type": "object", "properties": {}, **{name: each for name, each in members.items() if name not in _OPEN}}


def _portable(schema: _Schema, definitions: Mapping[str, _Schema]) -> dict[str, Any]:
    found = _resolved(schema, definitions)
    kept = {name: value for name, value in found.items() if name not in _DROPPED}
    if not kept.get("default", True):
        del kept["default"]
    if "items" in kept:
        kept["items"] = _portable(kept["items"], definitions)
    if members := kept.pop("properties", {}):
        return {**kept, "properties": {name: _portable(each, definitions) for name, each in members.items()}}
    return {**kept, **_OPEN} if kept.get("type") == "object" else kept


def _resolved(schema: _Schema, definitions: Mapping[str, _Schema]) -> dict[str, Any]:
    """Return a schema with what it refers to in place, and "this or null" as "this": null is read as left out."""
    outer = dict(schema)
    if reference := outer.pop("$ref", None):
        return _resolved({**definitions[reference.rpartition("/")[2]], **outer}, definitions)
    choices = [each for each in outer.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) != 1:
        return outer
    del outer["anyOf"]
    return _resolved({**choices[0], **outer}, definitions)


def output_schema(schema: _Schema) -> dict[str, Any]:
    """Return the schema of a tool's result: its members and their kinds; what is inside is for the data to show."""
    definitions = schema.get("$defs", {})
    members = {name: _kind(each, definitions) for name, each in schema.get("properties", {}).items()}
    named = {name: each for name, each in members.items() if each and name not in _KEYWORDS | _EVERYWHERE}
    return {"type": "object", "properties": named}


def _kind(schema: _Schema, definitions: Mapping[str, _Schema]) -> dict[str, Any]:
    """Return a member's type, and that of a list's items; nothing for what may be of any."""
    found = _resolved(schema, definitions)
    inner = _kind(found["items"], definitions) if "items" in found else {}
    if "type" not in found or (found["type"] == "array" and not inner):
        return {}
    return {"type": found["type"], **({"items": {"type": inner["type"]}} if inner else {})}
