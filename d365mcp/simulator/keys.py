"""Path segments: an entity set, its key predicate, and what a record's key means in SQL. Performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from d365mcp.simulator.errors import Refusal
from d365mcp.simulator.filters import Values, text_equals
from d365mcp.simulator.literals import Literal, Token, tokens
from d365mcp.simulator.model import Entity, Enumeration, Property
from d365mcp.simulator.store import quoted
from d365mcp.simulator.values import empty_value

_NO_SECONDS = re.compile(r"[\d-]+T\d\d:\d\d(Z|[+-]\d\d:\d\d)")
_INTEGERS = ("Edm.Int32", "Edm.Int64")
_ACCEPTED = {"Edm.Int64": _INTEGERS, "Edm.Decimal": (*_INTEGERS, "Edm.Decimal")}  # of numbers without a suffix


@dataclass(frozen=True)
class Segment:
    """`Name`, or `Name(…)` with its key predicate still as written."""

    name: str
    predicate: str | None


def segment(text: str) -> Segment:
    """Split a segment that is already percent-decoded."""
    name, opened, rest = text.partition("(")
    if not opened:
        return Segment(name, None)
    if not rest.endswith(")"):
        raise _bad_syntax()
    return Segment(name, rest[:-1])


def key_values(entity: Entity, predicate: str, enumerations: dict[str, Enumeration]) -> dict[str, object]:
    """Read a key predicate: every part named and typed, or a single key's value alone."""
    literals = key_parts(predicate, enumerations, alone=entity.keys[0] if len(entity.keys) == 1 else "")
    if set(literals) != set(entity.keys):
        raise Refusal(
            "The number of keys specified in the URI does not match number of key properties "
            f"for the resource '{entity.type_name}'."
        )
    return {name: _typed(entity.properties[name], literals[name]) for name in entity.keys}


def key_condition(entity: Entity, values: Mapping[str, object]) -> tuple[str, Values]:
    """The SQL that finds the record with this key, comparing text without case."""
    sqls: list[str] = []
    parameters: Values = ()
    for name, value in values.items():
        if isinstance(value, str) and entity.properties[name].edm_type == "Edm.String":
            sql, found = text_equals(quoted(name), value)
        else:
            sql, found = f"{quoted(name)} IS ?", (value,)
        sqls.append(sql)
        parameters += found
    return " AND ".join(sqls), parameters


def key_predicate(entity: Entity, record: Mapping[str, object]) -> str:
    """Write the key of a record as URLs do, before percent-encoding."""
    return ",".join(f"{prop.name}={_written(prop, record[prop.name])}" for prop in entity.key_properties)


def key_parts(predicate: str, enumerations: dict[str, Enumeration], alone: str) -> dict[str, Literal]:
    """Read `Name=literal,…`; a literal without a name is the part called `alone`, if there is one."""
    found = tokens(predicate, enumerations)
    if len(found) == 2 and found[0].literal is not None and alone:
        return {alone: found[0].literal}
    parts: dict[str, Literal] = {}
    while True:
        match found[:4]:
            case [
                Token("word", name),
                Token("mark", "="),
                Token(literal=Literal() as literal),
                Token(kind=("mark" | "end"), text=("," | "")) as after,
            ] if name not in parts:
                parts[name] = literal
            case _:
                raise _bad_syntax()
        if after.kind == "end":
            return parts
        found = found[4:]


def _typed(prop: Property, literal: Literal) -> object:
    promoted = literal.type in _ACCEPTED.get(prop.edm_type, ()) and literal.text[-1].isdigit()
    if literal.type != prop.edm_type and not promoted:
        raise _bad_syntax()
    if _NO_SECONDS.fullmatch(literal.text):  # a filter takes such a time, a key does not
        raise _bad_syntax()
    return literal.value


def _written(prop: Property, value: object) -> str:
    if prop.edm_type == "Edm.String":
        return "'" + str(value).replace("'", "''") + "'"
    if prop.enumeration is not None:
        return f"{prop.edm_type}'{value or empty_value(prop)}'"
    return str(value)


def _bad_syntax() -> Refusal:
    return Refusal("Bad Request - Error in query syntax.")
