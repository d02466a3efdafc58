"""What a statement says that cannot be meant, and what to write instead: each is refused before anything is read. Pure."""

import re
from collections.abc import Iterator

from sqlglot import exp

from d365mcp.d365.filters.literals import CLOCK, member_of, read_clock, seconds_of
from d365mcp.d365.models import EntityProperty, Enumeration
from d365mcp.errors import InvalidArgument, or_list
from d365mcp.sql.blocks import Block, Blocks, Compared, comparisons
from d365mcp.sql.types import NUMBERS, column_type

ORDERED = (exp.GT, exp.GTE, exp.LT, exp.LTE)
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
TRUTHS = ("true", "false", "yes", "no", "t", "f", "y", "n", "1", "0")
# What people write who come from F&O's own database.
OTHER_DIALECTS = (
    "This is DuckDB's SQL: LIMIT 5, not TOP 5; coalesce, not ISNULL; strftime(d, '%Y-%m'), not FORMAT; "
    'd + INTERVAL 1 DAY, not DATEADD; "Name", not [Name].'
)
# Functions of other databases, and what to write instead.
INSTEAD = {
    **dict.fromkeys(("dateadd", "add_months"), "d + INTERVAL 7 DAY"),
    **dict.fromkeys(("getdate", "sysdatetime", "getutcdate", "sysdate", "curdate"), "current_date"),
    **dict.fromkeys(("datename",), "monthname(d) or dayname(d)"),
    **dict.fromkeys(("date_format", "to_char", "formatdatetime"), "strftime(d, '%Y-%m')"),
    **dict.fromkeys(("convert", "try_convert"), "CAST(x AS DATE)"),
    **dict.fromkeys(("isnumeric", "to_number"), "TRY_CAST(x AS DOUBLE) IS NOT NULL"),
    "isnull": "coalesce(x, 0)",
    "nvl2": "CASE WHEN x IS NULL THEN a ELSE b END",
    "decode": "CASE x WHEN a THEN b ELSE c END",
    "eomonth": "last_day(d)",
    "to_date": "strptime(x, '%d.%m.%Y')::DATE",
    "datefromparts": "make_date(2026, 7, 14)",
    "patindex": "strpos(x, 'a')",
    "charindex": "strpos(x, 'a')",
    "replicate": "repeat(x, 3)",
    "months_between": "date_diff('month', a, b)",
    "square": "x * x",
    "newid": "the key of the entity",
}
UNITS_IN_QUOTES = ("datepart", "date_part", "datetrunc", "date_trunc", "date_diff", "datesub", "date_sub")


def refuse_foreign(tree: exp.Query) -> None:
    """Raise InvalidArgument for functions of other databases, with what does the same here."""
    for node in tree.find_all(exp.Func):
        name = str(node.this).lower() if isinstance(node, exp.Anonymous) else node.sql_names()[0].lower()
        if name in INSTEAD and isinstance(node, exp.Anonymous | exp.ToChar):
            raise InvalidArgument(f"DuckDB has no {name.upper()}: write {INSTEAD[name]}.", hint=OTHER_DIALECTS)
        if name in UNITS_IN_QUOTES and isinstance(node, exp.Anonymous) and is_bare_unit(node):
            unit = node.expressions[0].name.lower()
            raise InvalidArgument(f"The unit stands in quotes: write {name}('{unit}', …).")
        if isinstance(node, exp.Cast) and node.to.this == exp.DataType.Type.USERDEFINED:
            raise InvalidArgument(
                f"There is no type {node.to.sql()[:40]}: write CAST(x AS DATE), not CONVERT(DATE, x)."
            )


def is_bare_unit(node: exp.Anonymous) -> bool:
    first = node.expressions[0] if node.expressions else None
    return (
        isinstance(first, exp.Column)
        and not first.table
        and first.name.lower() in ("year", "month", "day", "quarter", "week")
    )


def refuse_mistakes(blocks: Blocks) -> None:
    """Put members' names right, and raise InvalidArgument for values that a column never has."""
    for block in blocks:
        for each in constants(block):
            check(each, each.other.unnest(), each.origins[0].prop, blocks)


def constants(block: Block) -> Iterator[Compared]:
    """Yield comparisons of columns of one type with a literal."""
    for each in [*comparisons(block)]:
        one_type = len({(origin.prop.type_name, origin.prop.data_type) for origin in each.origins}) == 1
        if one_type and isinstance(each.other.unnest(), exp.Literal | exp.Boolean | exp.Neg):
            yield each


def check(compared: Compared, literal: exp.Expr, prop: EntityProperty, blocks: Blocks) -> None:
    kind = column_type(prop)
    if prop.enumeration:
        entity = blocks.entities[compared.origins[0].table.name]
        check_member(compared, literal, prop, entity.enumerations.get(prop.enumeration))
    elif (
        kind in NUMBERS
        and isinstance(literal, exp.Literal)
        and literal.is_string
        and not NUMBER.fullmatch(literal.name)
    ):
        raise InvalidArgument(f"{prop.name} is a number, which {literal.sql()} is not{in_seconds(prop, literal.name)}.")
    elif kind == "BOOLEAN" and isinstance(literal, exp.Literal) and literal.name.lower() not in TRUTHS:
        raise InvalidArgument(f"{prop.name} is true or false, which {literal.sql()} is not.")


def in_seconds(prop: EntityProperty, text: str) -> str:
    """Return how a time of day is written, where that was meant."""
    if prop.data_type != "Time" or not CLOCK.fullmatch(text):
        return ""
    return f": F&O keeps a time of day as seconds since midnight, write {seconds_of(read_clock(text))}"


def check_member(compared: Compared, literal: exp.Expr, prop: EntityProperty, enumeration: Enumeration | None) -> None:
    """Raise InvalidArgument for what is no member's name; put right a name that is written in another way."""
    members = [member.name for member in enumeration.members] if enumeration else []
    listed = or_list(members) if len(members) <= 15 else ", ".join([*members[:15], "…"])
    hint = f"Its members are {listed}." if members else "d365fo_get_enumeration_fields lists its members."
    if compared.operator in ORDERED:
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
