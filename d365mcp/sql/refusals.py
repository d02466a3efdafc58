"""What a statement says that cannot be meant, and what to write instead: each is refused before anything is read. Pure."""

import re
from collections.abc import Iterator

from sqlglot import exp

from d365mcp.d365.filters.literals import CLOCK, member_of, read_clock, seconds_of
from d365mcp.d365.models import EntityProperty, Enumeration
from d365mcp.errors import InvalidArgument, or_list
from d365mcp.sql.blocks import Block, Blocks, Compared, comparisons
from d365mcp.sql.types import NUMBERS, column_type

_ORDERED = (exp.GT, exp.GTE, exp.LT, exp.LTE)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_TRUTHS = ("true", "false", "yes", "no", "t", "f", "y", "n", "1", "0")


def refuse_mistakes(blocks: Blocks) -> None:
    """Put members' names right, and raise InvalidArgument for values that a column never has."""
    for block in blocks:
        for each in _constants(block):
            _check(each, each.other.unnest(), each.origins[0].prop, blocks)


def _constants(block: Block) -> Iterator[Compared]:
    """Yield comparisons of columns of one type with a literal."""
    for each in [*comparisons(block)]:
        one_type = len({(origin.prop.type_name, origin.prop.data_type) for origin in each.origins}) == 1
        if one_type and isinstance(each.other.unnest(), exp.Literal | exp.Boolean | exp.Neg):
            yield each


def _check(compared: Compared, literal: exp.Expr, prop: EntityProperty, blocks: Blocks) -> None:
    kind = column_type(prop)
    if prop.enumeration:
        entity = blocks.entities[compared.origins[0].table.name]
        _check_member(compared, literal, prop, entity.enumerations.get(prop.enumeration))
    elif (
        kind in NUMBERS
        and isinstance(literal, exp.Literal)
        and literal.is_string
        and not _NUMBER.fullmatch(literal.name)
    ):
        raise InvalidArgument(
            f"{prop.name} is a number, which {literal.sql()} is not{_in_seconds(prop, literal.name)}."
        )
    elif kind == "BOOLEAN" and isinstance(literal, exp.Literal) and literal.name.lower() not in _TRUTHS:
        raise InvalidArgument(f"{prop.name} is true or false, which {literal.sql()} is not.")


def _in_seconds(prop: EntityProperty, text: str) -> str:
    """Return how a time of day is written, where that was meant."""
    if prop.data_type != "Time" or not CLOCK.fullmatch(text):
        return ""
    return f": F&O keeps a time of day as seconds since midnight, write {seconds_of(read_clock(text))}"


def _check_member(compared: Compared, literal: exp.Expr, prop: EntityProperty, enumeration: Enumeration | None) -> None:
    """Raise InvalidArgument for what is no member's name; put right a name that is written in another way."""
    members = [member.name for member in enumeration.members] if enumeration else []
    listed = or_list(members) if len(members) <= 15 else ", ".join([*members[:15], "…"])
    hint = f"Its members are {listed}." if members else "d365fo_get_enumeration_fields lists its members."
    if compared.operator in _ORDERED:
        raise InvalidArgument(f"{prop.name} is an enumeration, which has no order: compare it with = or IN.", hint=hint)
    if isinstance(literal, exp.Boolean):
        if not str(prop.enumeration).startswith("NoYes"):
            raise InvalidArgument(
                f"{prop.name} is an enumeration, not true or false: compare it with a member.", hint=hint
            )
    elif not literal.is_string:
        value = (
            next((each.name for each in enumeration.members if str(each.value) == literal.sql()), "")
            if enumeration
            else ""
        )
        meant = f": write '{value}', not {literal.sql()}" if value else f", and {literal.sql()} is none of its members"
        raise InvalidArgument(f"{prop.name} is an enumeration{meant}.", hint=hint)
    elif enumeration is not None:
        member = member_of(literal.name, prop, {enumeration.name: enumeration})
        literal.replace(exp.Literal.string(member.name))
