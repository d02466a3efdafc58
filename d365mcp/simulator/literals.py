"""OData's tokens and literals, as filters and keys write them. Performs no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

from d365mcp.simulator.errors import Refusal
from d365mcp.simulator.model import Enumeration
from d365mcp.simulator.values import timestamp

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<guid>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?![\w-])
    | (?P<date>\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?)(?![\w:])
    | (?P<number>-?\d+(?P<fraction>\.\d+)?(?P<exponent>[eE][+-]?\d+)?[mMdDfFlL]?)(?![\w.])
    | (?P<text>'(?:[^']|'')*')
    | (?P<member>(?P<type>[A-Za-z_][\w.]*)'(?P<name>[^']*)')
    | (?P<word>[A-Za-z_@$][\w.]*)
    | (?P<mark>[(),/=*-])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    position: int
    literal: Literal | None = None


@dataclass(frozen=True)
class Literal:
    """A value with its EDM type, and how it was written; null has the type ""."""

    type: str
    value: object
    text: str = ""


NULL = Literal("", None)
LARGEST_DECIMAL = 79228162514264337593543950335  # .NET's, which OData's decimals are read into
_WORDS = {"true": Literal("Edm.Boolean", 1), "false": Literal("Edm.Boolean", 0), "null": NULL}


def tokens(text: str, enumerations: dict[str, Enumeration]) -> list[Token]:
    """Split an expression into tokens; the last one has the kind "end". Enumerations go by their qualified names."""
    found: list[Token] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise syntax_error(position, text)
        found.append(_token(match, enumerations))
        position = match.end()
    found.append(Token("end", "", end))
    return found


def syntax_error(position: int, text: str) -> Refusal:
    return Refusal(f"Syntax error at position {position} in '{text}'.")


def _token(match: re.Match[str], enumerations: dict[str, Enumeration]) -> Token:
    kind = match.lastgroup or ""
    for kind in ("guid", "date", "number", "text", "member", "word", "mark"):
        if match[kind] is not None:
            break
    text = match[kind]
    literal = _literal(kind, match, enumerations)
    return Token("literal" if literal else kind, text, match.start(kind), literal)


def _literal(kind: str, match: re.Match[str], enumerations: dict[str, Enumeration]) -> Literal | None:
    text = match[kind]
    match kind:
        case "word":
            return _WORDS.get(text)
        case "text":
            return Literal("Edm.String", text[1:-1].replace("''", "'"))
        case "guid":
            return Literal("Edm.Guid", text.lower())
        case "date":
            return _instant(text)
        case "number":
            return _number(match)
        case "member":
            return _member(match["type"], match["name"], enumerations)
    return None


def _instant(text: str) -> Literal:
    value = timestamp(text)
    if value is None:
        raise Refusal(f"Unrecognized 'Edm.DateTimeOffset' literal '{text}' at '0' in '{text}'.")
    return Literal("Edm.DateTimeOffset", value, text)


def _number(match: re.Match[str]) -> Literal:
    """Type a number by its suffix; one without is of the smallest type that holds it."""
    text = match["number"]
    digits = text.rstrip("mMdDfFlL")
    suffix = text[len(digits) :].lower()
    if suffix in ("d", "f"):
        return Literal("Edm.Double", float(digits), text)
    if suffix == "m" or match["fraction"] or match["exponent"]:
        return Literal("Edm.Decimal", _decimal(digits), text)
    value = int(digits)
    if not -(1 << 63) <= value < 1 << 63:
        raise Refusal(f"Unrecognized 'Edm.Int64' literal '{text}' at '0' in '{text}'.")
    small = suffix != "l" and -(1 << 31) <= value < 1 << 31
    return Literal("Edm.Int32" if small else "Edm.Int64", value, text)


def _decimal(digits: str) -> float:
    value = float(digits)
    if abs(value) >= LARGEST_DECIMAL:
        raise Refusal("Value was either too large or too small for a Decimal.")
    return value


def _member(type_name: str, name: str, enumerations: dict[str, Enumeration]) -> Literal:
    enumeration = enumerations.get(type_name)
    if enumeration is None or name not in enumeration.members:
        raise Refusal(f"The string '{type_name}'{name}'' is not a valid enumeration type constant.")
    return Literal(type_name, name)
