"""Arguments as clients write them, read as a tool's schema means them. Performs no I/O.

What no conversion reads stays as it is, for the check to refuse.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from d365mcp.errors import InvalidArgument
from d365mcp.wire import MAX_CALLER_VALUES, MAX_DEPTH, TooDeep, read_caller_json

Schema = Mapping[str, Any]

# What clients put among the arguments of any tool: n8n, Gemini CLI and SiYuan; and what they put where a tool takes nothing.
# Every other unknown name is refused.
# https://github.com/n8n-io/n8n/issues/21500 https://github.com/MemPalace/mempalace/issues/816
# https://github.com/siyuan-note/siyuan/issues/17927
ADDED = frozenset({"toolCallId", "sessionId", "action", "chatInput", "tool", "wait_for_previous", "_sessionID"})
ADDED |= {"random_string", "dummy"}
# Earlier names of parameters, read until 1.2.
RENAMED = {"properties": "columns", "format": "rows_as"}
# What says of a write which record it is about, under which condition, and whether it is done at all. As text it says
# what its value says, so that is read. Empty, it is refused: left out, the write could reach further than was meant.
DECISIVE = frozenset({"dry_run", "company", "key", "filter", "if_match"})

# What ends a name, and what a comma may stand in without: a text, and the parentheses of Lines($select=ItemNumber,Quantity).
STOP = re.compile(r"""'[^']*'|"[^"]*"|[(),]""")
QUOTED = re.compile(r"""(['"])((?:(?!\1).)*)\1""")
BARE = re.compile(r"""[^"\[\]{}]+""")
WHOLE = re.compile(r"-?\d{1,15}(?:\.0*)?", re.ASCII)
MARKS = ",{["


def read(arguments: Mapping[str, Any], schema: Schema, *, writes: bool) -> dict[str, Any]:
    """Return a call's arguments as the tool's schema means them.

    Raises InvalidArgument for texts that should be JSON and are not, and for what a write must not go without.
    """
    properties = schema["properties"]
    given = {name: value for name, value in arguments.items() if name in properties or name not in ADDED}
    return Reading(DECISIVE if writes else frozenset()).members(renamed(given, properties), schema)


def renamed(given: Mapping[str, Any], properties: Mapping[str, Schema]) -> Mapping[str, Any]:
    """Return the arguments under the names their parameters have today."""
    found = dict(given)
    for old, new in RENAMED.items():
        if old not in given or old in properties or new not in properties:
            continue
        value = found.pop(old)
        if is_left_out(value, properties[new]):
            continue
        if not is_left_out(given.get(new), properties[new]):
            raise InvalidArgument(f'"{old}" is called {new} now: give it once.')
        found[new] = value
    return found


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
    room: int = MAX_CALLER_VALUES

    def members(self, given: Mapping[str, Any], schema: Schema, prefix: str = "") -> dict[str, Any]:
        """Return an object's members without those that mean "left out"; names the schema has not stay."""
        found = {}
        for name, value in given.items():
            inner = schema["properties"].get(name)
            if inner is None:
                found[name] = value
                continue
            optional = name not in schema.get("required", ())
            if not is_left_out(value, inner):
                value = self.value(value, inner, prefix + name)
            left_out = is_left_out(value, inner)
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
        self.take(sum(map(text.count, MARKS)), place)
        try:
            return read_caller_json(text)
        except TooDeep:
            raise InvalidArgument(f'The argument "{place}" is nested more than {MAX_DEPTH} levels deep.') from None
        except ValueError as problem:
            raise InvalidArgument(f'The argument "{place}" is text, and no JSON: {str(problem)[:200]}.') from None

    def bracketed(self, text: str, items: Schema, place: str) -> Any:
        """Return the list of a JSON text, or what stands between brackets that are no JSON's: ['A', 'B'] or [A, B]."""
        try:
            return self.json(text, place)
        except InvalidArgument:
            inner = text.strip()[1:-1]
            if items["type"] == "string" and text.rstrip().endswith("]") and BARE.fullmatch(inner):
                return inner
            raise

    def names(self, value: Any, place: str) -> list[Any]:
        """Return the names in a text, with or without quotes and brackets, as people and Python write lists."""
        if not isinstance(value, str):
            return [] if value is None else [value]
        self.take(sum(map(value.count, "(,)")), place)
        whole = unquoted(value)
        return [name for each in split(whole) if (name := unquoted(each))]

    def take(self, count: int, place: str) -> None:
        self.room -= count
        if self.room < 0:
            raise InvalidArgument(f'The argument "{place}" has too many values for one call: send less at once.')


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
    items = schema["items"]
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = reading.bracketed(value, items, place)
    values = value if isinstance(value, list) else [value] if isinstance(value, str | dict) else None
    if values is None:
        return value
    if items["type"] == "string":
        return [name for each in values for name in reading.names(each, place)]
    return [reading.value(each, items, f"{place}.{number}") for number, each in enumerate(values)]


def split(text: str) -> list[str]:
    """Return the pieces between commas; one in a text or in parentheses parts nothing."""
    pieces, start, depth = [], 0, 0
    for stop in STOP.finditer(text):
        depth += {"(": 1, ")": -1}.get(stop[0], 0)
        if stop[0] == "," and depth <= 0:
            pieces.append(text[start : stop.start()])
            start = stop.end()
    return [*pieces, text[start:]]


def unquoted(text: str) -> str:
    quoted = QUOTED.fullmatch(text.strip())
    return (quoted[2] if quoted else text).strip()


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
