"""Puts a filter right for one data entity: names, types, and what F&O can be asked at all. Performs no I/O.

F&O's subset: https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/odata
"""

from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from uuid import UUID

from d365mcp.d365.filters.dates import join_months, midnight_advice, noon_comparison, time_comparison, year_comparison
from d365mcp.d365.filters.literals import (
    DECIMALS,
    INTEGERS,
    Value,
    checked_date,
    day_of,
    decimal_of,
    empty_value,
    typed_value,
    value_kind,
    value_text,
)
from d365mcp.d365.filters.names import displayed, identifier, navigation_named, property_named
from d365mcp.d365.filters.normalize import CASE_FUNCTIONS, SEARCHES, all_of, any_of, push_not, uncased
from d365mcp.d365.filters.tree import (
    And,
    Arithmetic,
    Comparison,
    Expression,
    FunctionCall,
    Literal,
    Membership,
    Not,
    Or,
    Property,
    filter_text,
)
from d365mcp.d365.filters.write import fo_text, has_wildcard
from d365mcp.d365.models import NAMESPACE, DataEntity, EntityProperty
from d365mcp.errors import InvalidArgument, UnknownName, close_names

_MIRRORED = {"eq": "eq", "ne": "ne", "gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}
_ORDERED = frozenset({"text", "number", "date", "unknown"})
_MAX_NOTES = 10
_NOTE_LENGTH = 70

_SEARCH_HINT = "contains(Name,'x'), startswith(Name,'x') and endswith(Name,'x') work"
_RANGE_HINT = "write a range, such as {0} ge 2026-07-01 and {0} lt 2026-08-01"
# What F&O has no function for, and what to write instead; {0} is the property.
_HINTS = {
    **dict.fromkeys(("month", "day", "hour", "minute", "second", "time", "fractionalseconds"), _RANGE_HINT),
    **dict.fromkeys(("matchespattern", "indexof", "substring", "concat", "trim"), _SEARCH_HINT),
    "length": "compare with '' to find what is empty",
    **dict.fromkeys(("now", "mindatetime", "maxdatetime"), "write the date itself, such as 2026-07-14"),
    **dict.fromkeys(("round", "floor", "ceiling"), "write a range, such as {0} ge 10 and {0} lt 11"),
    **dict.fromkeys(("cast", "isof"), "compare the property itself"),
}
_FUNCTIONS = SEARCHES | CASE_FUNCTIONS | _HINTS.keys() | {"date", "year"}
WILDCARD_ADVICE = "a * is taken literally; to search by pattern use contains, startswith or endswith"
_CONDITION_HINT = "A condition was expected, such as Name eq 'x'"


@dataclass
class Checker:
    """Checks one filter against one entity and collects what the caller should know."""

    entity: DataEntity
    changes: list[str] = field(default_factory=list)
    advice: dict[str, None] = field(default_factory=dict)
    floors: set[str] = field(default_factory=set)
    ceilings: set[str] = field(default_factory=set)

    def checked(self, expression: Expression) -> Expression:
        """Return the filter with names and types put right. Raises InvalidArgument for what F&O cannot be asked."""
        whole = self.condition(push_not(expression))
        if has_wildcard(whole) and any("/" in column for column in whole.columns()):
            hint = "leave the * or the navigation path out"
            raise InvalidArgument(f"A value with * is checked here, which a navigation path cannot be: {hint}.")
        return whole

    def notes(self) -> tuple[str, ...]:
        """Return a short line per change, and what else the caller would be surprised by."""
        lines = list(dict.fromkeys(self.changes))
        if len(lines) > _MAX_NOTES:
            lines = [*lines[: _MAX_NOTES - 1], f"and {len(lines) - _MAX_NOTES + 1} more changes like these"]
        for path in sorted(self.ceilings - self.floors):
            self.advice[f"{path}: no date counts as 1900-01-01; add {path} ne null to leave such records out"] = None
        return (*lines, *self.advice)

    def condition(self, expression: Expression) -> Expression:
        match expression:
            case And(operands):
                return all_of([self.condition(operand) for operand in join_months(operands)])
            case Or(operands):
                return any_of([self.condition(operand) for operand in operands])
        checked = self.leaf(expression)
        self.note(expression, checked)
        return checked

    def note(self, before: Expression, after: Expression) -> None:
        was, now = (text.replace(NAMESPACE, "") for text in (filter_text(before), fo_text(after)))
        if has_wildcard(after):
            self.advice[WILDCARD_ADVICE] = None
        if now and was != now:
            self.changes.append(f"{_clipped(was)} → {_clipped(now)}")

    def leaf(self, expression: Expression) -> Expression:
        match expression:
            case Comparison(operator, left, right):
                return self.comparison(operator, left, right)
            case Membership(item, values):
                return any_of([self.comparison("eq", item, value) for value in values])
            case Not(Membership(item, values)):
                return all_of([self.comparison("ne", item, value) for value in values])
            case FunctionCall():
                return self.search(expression)
            case Not(FunctionCall() as call):
                return Not(self.search(call))
            case Property(path):
                return self.flag(path, value=True)
            case Not(Property(path)):
                return self.flag(path, value=False)
        raise InvalidArgument(f"{_CONDITION_HINT}, instead of {_clipped(filter_text(expression))}.")

    def flag(self, path: str, *, value: bool) -> Expression:
        """Check a property that stands for itself as a condition."""
        column, prop = self.column(path)
        if prop is not None and value_kind(prop) not in ("boolean", "enumeration"):
            raise InvalidArgument(f"{_CONDITION_HINT}: {column.path} alone is none.")
        return self.with_value("eq", column, prop, Literal(value))

    def comparison(self, operator: str, left: Expression, right: Expression) -> Expression:
        if operator == "has":
            raise InvalidArgument("F&O has no has: compare an enumeration with eq, or with in and several members.")
        left, right = uncased(left), uncased(right)
        if isinstance(left, Literal) and not isinstance(right, Literal):
            operator, left, right = _MIRRORED[operator], right, left
        if isinstance(left, FunctionCall):
            return self.by_function(operator, left, right)
        if isinstance(left, Property):
            column, prop = self.column(left.path)
            if (value := self.value_beside(prop, right)) is not None:
                return self.with_value(operator, column, prop, value)
        return self.computed(operator, left, right)

    def column(self, path: str) -> tuple[Property, EntityProperty | None]:
        """Return a property with its name put right, and what is known of it behind a navigation property."""
        if "/" not in path:
            prop = property_named(path, self.entity)
            return Property(prop.name), prop
        name, _, rest = path.partition("/")
        link = navigation_named(name, self.entity)
        if link.cardinality == "Multiple":
            hint = f"query {link.related_entity} itself"
            raise InvalidArgument(f"{link.name} leads to many records, through which F&O cannot filter: {hint}.")
        related = self.entity.related.get(link.name)
        if related is None or "/" in rest:
            return Property(f"{link.name}/{identifier(rest, 'property')}"), None
        prop = property_named(rest, related)
        return Property(f"{link.name}/{prop.name}"), prop

    def value_beside(self, prop: EntityProperty | None, right: Expression) -> Literal | None:
        """Return the value a property is compared with; a bare word may be a member of its enumeration."""
        if isinstance(right, Literal):
            return right
        if not isinstance(right, Property) or prop is None or "/" in right.path:
            return None
        known = right.path.casefold() in self.entity.names_by_folded
        if prop.enumeration and not (known and self.is_enumeration(right.path, prop.enumeration)):
            return Literal(right.path)
        if not known:
            close = close_names(right.path, self.entity.properties)
            hint = f"A text is written in single quotes: '{right.path[:40]}'."
            raise UnknownName("property", right.path, close, hint=hint)
        return None

    def is_enumeration(self, path: str, enumeration: str) -> bool:
        """Return whether a word that names a property means it, rather than a member of the same name."""
        known = self.entity.enumerations.get(enumeration)
        is_member = known is not None and path.casefold() in known.names_by_folded
        return property_named(path, self.entity).enumeration == enumeration and not is_member

    def with_value(self, operator: str, column: Property, prop: EntityProperty | None, literal: Literal) -> Expression:
        if literal.value is None and operator not in ("eq", "ne"):
            raise InvalidArgument(f"{column.path}: null is compared with eq or ne only.")
        if prop is None:
            return self.with_unknown(operator, column, literal)
        kind = value_kind(prop)
        _refuse_order(operator, kind, column.path)
        if kind == "date":
            return self.with_date(operator, column, prop, literal.value)
        if kind == "enumeration" and literal.value is None:
            return Comparison(operator, column, literal)  # what F&O shows where the number it keeps has no member
        value = typed_value(_source_text(literal) if kind == "text" else literal.value, prop, self.entity.enumerations)
        return Comparison(operator, column, Literal(value))

    def with_unknown(self, operator: str, column: Property, literal: Literal) -> Expression:
        """Compare a property of another entity, whose type is not known here, with a value as it was written."""
        if literal.value is None:
            hint = "compare with '', or with 1900-01-01 for a date"
            raise InvalidArgument(f"F&O has no null, and the type of {column.path} is not known here: {hint}.")
        if isinstance(literal.value, date):
            # Right for dates at noon and for times alike.
            return time_comparison(operator, column, literal.value)
        if isinstance(literal.value, time):
            raise InvalidArgument(f"{column.path}: F&O keeps a time of day as seconds since midnight.")
        return Comparison(operator, column, Literal(literal.value))

    def with_date(self, operator: str, column: Property, prop: EntityProperty, value: Value) -> Expression:
        (self.ceilings if operator in ("lt", "le") else self.floors).add(column.path)
        if value is None:
            return Comparison(operator, column, Literal(empty_value(prop)))
        when = checked_date(value, prop)
        if prop.data_type != "Date":
            return time_comparison(operator, column, when)
        if advice := midnight_advice(operator, column, when):
            self.advice[advice] = None
        return noon_comparison(operator, column, when)

    def by_function(self, operator: str, call: FunctionCall, right: Expression) -> Expression:
        """Compare what date() or year() of a property is; F&O has no functions."""
        match call:
            case FunctionCall("date" | "year", (Property(path),)):
                named, prop = self.column(path)
            case _:
                raise _no_function(call)
        if prop is not None and value_kind(prop) != "date":
            raise InvalidArgument(f"{call.name}() is for dates; {named.path} is of type {prop.type_name}.")
        if not isinstance(right, Literal):
            raise InvalidArgument(f"{call.name}({named.path}) is compared with a value only.")
        if call.name == "date":
            return self.comparison(operator, named, Literal(_whole_day(right.value, named.path)))
        return self.span(year_comparison(operator, named, right.value))

    def span(self, expression: Expression) -> Expression:
        match expression:
            case And(operands):
                return all_of([self.span(operand) for operand in operands])
            case Or(operands):
                return any_of([self.span(operand) for operand in operands])
            case Comparison(operator, left, right):
                return self.comparison(operator, left, right)
        raise TypeError(expression)

    def search(self, call: FunctionCall) -> FunctionCall:
        """Check contains, startswith or endswith."""
        if call.name not in SEARCHES:
            raise _no_function(call)
        if len(call.arguments) != 2:
            raise InvalidArgument(f"{call.name} takes a property and a text: {call.name}(Name,'x').")
        item, part = (uncased(argument) for argument in call.arguments)
        name = "contains" if call.name == "substringof" else call.name
        if call.name == "substringof":
            item, part = part, item
        if not isinstance(item, Property) or not isinstance(part, Literal):
            raise InvalidArgument(f"{name} takes a property first and then a text: {name}(Name,'x').")
        column, prop = self.column(item.path)
        if prop is not None and value_kind(prop) != "text":
            raise InvalidArgument(f"{name} is for text; {column.path} is of type {prop.type_name}.")
        text = _source_text(part)
        if not isinstance(text, str) or not text:
            raise InvalidArgument(f"{name}({column.path},…) needs a text to look for.")
        return FunctionCall(name, (column, Literal(text)))

    def computed(self, operator: str, left: Expression, right: Expression) -> Expression:
        """Compare two properties, or what is computed from them."""
        if not (left.columns() | right.columns()):
            raise InvalidArgument("A comparison needs a property, such as Name eq 'x'.")
        (one, kind), (other, other_kind) = self.operand(left), self.operand(right)
        if kind != other_kind and "unknown" not in (kind, other_kind):
            pair = f"{filter_text(one)} ({kind}) and {filter_text(other)} ({other_kind})"
            raise InvalidArgument(f"{_clipped(pair)} cannot be compared.")
        _refuse_order(operator, kind, filter_text(one))
        return Comparison(operator, one, other)

    def operand(self, expression: Expression) -> tuple[Expression, str]:
        """Return a checked operand and its kind."""
        expression = uncased(expression)
        match expression:
            case Property(path):
                column, prop = self.column(path)
                return column, "unknown" if prop is None else prop.enumeration or value_kind(prop)
            case Arithmetic(operator, left, right):
                return self.arithmetic(operator, self.number(left), self.number(right)), "number"
            case Literal(int() | Decimal() as number) if _fits(number):
                return Literal(number), "number"
            case FunctionCall():
                raise _no_function(expression)
        raise InvalidArgument(f"{_clipped(filter_text(expression))} can be neither compared nor computed with.")

    def arithmetic(self, operator: str, left: Expression, right: Expression) -> Expression:
        """Return what is computed; `div` stays between whole numbers, every other division is `divby`.

        F&O documents divby, which its OData library cannot read: it is written as a div with a fraction in it.
        """
        has_fraction = self.has_fraction(left) or self.has_fraction(right)
        if operator == "divby" and not has_fraction:
            return Arithmetic("divby", Arithmetic("mul", left, Literal(Decimal("1.0"))), right)
        return Arithmetic("divby" if operator == "div" and has_fraction else operator, left, right)

    def has_fraction(self, expression: Expression) -> bool:
        """Return whether F&O computes a value with fractions, as far as its type is known here."""
        match expression:
            case Property(path):
                _, prop = self.column(path)
                return prop is not None and prop.type_name in DECIMALS
            case Literal(Decimal() as number):
                return "." in value_text(number)
        return any(map(self.has_fraction, expression.parts))

    def number(self, expression: Expression) -> Expression:
        operand, kind = self.operand(expression)
        if kind not in ("number", "unknown"):
            raise InvalidArgument(f"{_clipped(filter_text(operand))} is no number to compute with.")
        return operand


def _refuse_order(operator: str, kind: str, what: str) -> None:
    """Raise InvalidArgument where F&O knows equal and not equal only, or nothing at all."""
    if kind == "other":
        raise InvalidArgument(f"{what} is of a type that F&O cannot compare.")
    if operator not in ("eq", "ne") and kind not in _ORDERED:
        hint = "list members with in" if kind not in ("boolean", "guid") else "use eq or ne"
        raise InvalidArgument(f"{what} is compared with eq and ne only: {hint}.")


def _no_function(call: FunctionCall) -> InvalidArgument:
    """Return the error for a function that F&O lacks, with what to write instead."""
    if call.name not in _FUNCTIONS:
        return UnknownName("function", call.name, close_names(call.name, _FUNCTIONS), hint=f"{_SEARCH_HINT}.")
    columns = sorted(call.columns())
    hint = _HINTS.get(call.name, "compare the property itself").format(columns[0] if columns else "Name")
    return InvalidArgument(f"F&O cannot filter by {call.name}() here: {hint}.")


def _source_text(literal: Literal) -> Value:
    """Return a value meant for a text: what was written without quotes is taken as it was written."""
    if isinstance(literal.value, int | Decimal | date | time | UUID) and not isinstance(literal.value, bool):
        return literal.text or str(literal.value)
    return literal.value


def _whole_day(value: Value, path: str) -> date:
    """Return the day that date() is compared with."""
    when = checked_date(value, EntityProperty(path, "Edm.DateTimeOffset"))
    day = day_of(when)
    if day is None:
        raise InvalidArgument(
            f"date({path}) is compared with a day: write {when:%Y-%m-%d} instead of {displayed(value)}."
        )
    return day


def _fits(number: int | Decimal) -> bool:
    if isinstance(number, bool):
        return False
    return number in INTEGERS["Edm.Int64"] if isinstance(number, int) else decimal_of(number) is not None


def _clipped(text: str) -> str:
    return text if len(text) <= _NOTE_LENGTH else text[: _NOTE_LENGTH - 1] + "…"
