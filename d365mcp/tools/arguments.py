"""Arguments as clients write them, read as a tool's schema means them. Performs no I/O.

What no conversion reads stays as it is, for the check to refuse.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from d365mcp.errors import InvalidArgument
from d365mcp.wire import MAX_DEPTH, MAX_TOKENS, parsed, too_deep

Schema = Mapping[str, Any]

# What clients put among the arguments of any tool: n8n, Gemini CLI and SiYuan. Every other unknown name is refused.
# https://github.com/n8n-io/n8n/issues/21500 https://github.com/MemPalace/mempalace/issues/816
# https://github.com/siyuan-note/siyuan/issues/17927
ADDED = frozenset({"toolCallId", "sessionId", "action", "chatInput", "tool", "wait_for_previous", "_sessionID"})
# What they put where a tool takes nothing.
FILLERS = frozenset({"random_string", "dummy"})
# Earlier names of parameters, read until 1.2.
RENAMED = {"properties": "columns", "format": "rows_as"}
# What says of a write which record it is about, under which condition, and whether it is done at all. As text it says
# what its value says, so that is read. Empty, it is refused: left out, the write could reach further than was meant.
DECISIVE = frozenset({"dry_run", "company", "key", "filter", "if_match"})

COMMA = re.compile(r",(?![^()]*\))")  # none within the parentheses of Lines($select=ItemNumber,Quantity)
WHOLE = re.compile(r"-?\d{1,15}(?:\.0*)?", re.ASCII)
MARKS = (b'"', b",", b"{", b"[")


def read(arguments: Mapping[str, Any], schema: Schema, *, writes: bool) -> dict[str, Any]:
    """Return a call's arguments as the tool's schema means them.

    Raises InvalidArgument for texts that should be JSON and are not, and for what a write must not go without.
    """
    properties = schema["properties"]
    ignored = (ADDED if properties else ADDED | FILLERS) - properties.keys()
    given = {name: value for name, value in arguments.items() if name not in ignored}
    return Reading(DECISIVE if writes else frozenset()).members(renamed(given, properties), schema)


def renamed(given: Mapping[str, Any], properties: Mapping[str, Schema]) -> Mapping[str, Any]:
    """Return the arguments under the names their parameters have today."""
    old = {name: RENAMED[name] for name in RENAMED.keys() & given.keys() - properties.keys()}
    old = {name: new for name, new in old.items() if new in properties}
    if twice := [name for name, new in old.items() if new in given]:
        raise InvalidArgument(f'"{twice[0]}" is called {old[twice[0]]} now: give it once.')
    return {old.get(name, name): value for name, value in given.items()}


def object_in(value: Any) -> Mapping[str, Any] | None:
    """Return an object that was sent as one or as JSON text, None where neither is."""
    try:
        found = Reading(frozenset()).value(value, {"type": "object"}, "")
    except InvalidArgument:
        return None
    return found if isinstance(found, dict) else None


@dataclass
class Reading:
    """The reading of one call: what must not be empty, and how much its JSON texts may hold together."""

    decisive: frozenset[str]
    room: int = MAX_TOKENS

    def members(self, given: Mapping[str, Any], schema: Schema, prefix: str = "") -> dict[str, Any]:
        """Return an object's members without those that mean "left out"; names the schema has not stay."""
        found = {}
        for name, value in given.items():
            inner = schema["properties"].get(name)
            if inner is None:
                found[name] = value
                continue
            optional = name not in schema.get("required", ())
            left_out = is_left_out(value, inner)
            if not left_out:
                value = self.value(value, inner, prefix + name)
            if name in self.decisive and (left_out or (value == {} and not prefix)):  # in a batch, a create has no key
                raise empty(prefix + name, optional=optional)
            if not (left_out and optional):
                found[name] = value
        return found

    def value(self, value: Any, schema: Schema, place: str) -> Any:
        conversion = CONVERSIONS.get(schema["type"])
        return conversion(self, value, schema, place) if conversion else value

    def json(self, text: str, place: str) -> Any:
        """Return the value of a JSON text, which is held to the bounds of a request's body."""
        try:
            document = text.encode()
            self.room -= sum(map(document.count, MARKS))
            found = parsed(document) if self.room >= 0 else None
        except ValueError as problem:
            raise InvalidArgument(f'The argument "{place}" is text, and no JSON: {str(problem)[:200]}.') from None
        if self.room < 0:
            raise InvalidArgument(f'The argument "{place}" has too many values for one call: send less at once.')
        if too_deep(found):
            raise InvalidArgument(f'The argument "{place}" is nested more than {MAX_DEPTH} levels deep.')
        return found


def is_left_out(value: Any, schema: Schema) -> bool:
    """Return whether a value is what clients write for an argument that was left out."""
    if isinstance(value, str):
        return value.strip() in ("", "null")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value == 0 and schema.get("minimum", 0) > 0
    return value is None


def empty(place: str, *, optional: bool) -> InvalidArgument:
    otherwise = ", or leave it out" if optional else ""
    return InvalidArgument(f'The argument "{place}" is empty, and a write depends on it: give its value{otherwise}.')


def as_array(reading: Reading, value: Any, schema: Schema, place: str) -> Any:
    """Read a list that is JSON text, a single value, or names with commas between them."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = reading.json(value, place)
    values = value if isinstance(value, list) else [value] if isinstance(value, str | dict) else None
    if values is None:
        return value
    if schema["items"]["type"] == "string":
        return [name for each in values for name in names_in(each)]
    return [reading.value(each, schema["items"], f"{place}.{number}") for number, each in enumerate(values)]


def names_in(value: Any) -> list[Any]:
    if not isinstance(value, str):
        return [] if value is None else [value]
    return [name.strip() for name in COMMA.split(value) if name.strip()]


def as_object(reading: Reading, value: Any, schema: Schema, place: str) -> Any:
    """Read an object that is JSON text; what a free-form one holds is the caller's."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = reading.json(value, place)
    if isinstance(value, dict) and schema.get("properties"):
        return reading.members(value, schema, f"{place}.")
    return value


def as_integer(reading: Reading, value: Any, schema: Schema, place: str) -> Any:
    """Read 5.0, which is an integer too, and "5".

    https://json-schema.org/draft/2020-12/json-schema-validation#section-6.1.1
    """
    if isinstance(value, str) and WHOLE.fullmatch(value.strip()):
        return int(float(value))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def as_boolean(reading: Reading, value: Any, schema: Schema, place: str) -> Any:
    """Read "true" and "false", in any case."""
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


def as_word(reading: Reading, value: Any, schema: Schema, place: str) -> Any:
    """Read a word of an enumeration in any case."""
    words = {word.casefold(): word for word in schema.get("enum", ())}
    return words.get(value.strip().casefold(), value) if isinstance(value, str) else value


# How a value is read that is to be of a type.
CONVERSIONS: Mapping[str, Callable[[Reading, Any, Schema, str], Any]] = {
    "array": as_array,
    "object": as_object,
    "integer": as_integer,
    "boolean": as_boolean,
    "string": as_word,
}
