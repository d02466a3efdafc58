"""Why a query found nothing: what was asked where, and what near it there is, if one cheap look tells."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from d365mcp.d365.companies import scope_read
from d365mcp.d365.filters.translate import and_filters, translate_filter
from d365mcp.d365.filters.tree import And, Comparison, Expression, FunctionCall, Literal, Membership, Or, Property
from d365mcp.d365.filters.write import has_wildcard
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.d365.odata import QueryOptions
from d365mcp.d365.page_set import glance
from d365mcp.errors import or_list
from d365mcp.tools.environment import unknown_companies
from d365mcp.tools.planning import Plan
from d365mcp.tools.policy import bound_of
from d365mcp.tools.tool import ToolContext

Records = Sequence[Mapping[str, Any]]

LOOKED_AT = 50
NAMED = 3
ALIKE = 0.6
MAX_TEXT = 60
MAX_START = 6  # letters that the beginnings have in common
NUMBER_AT_END = re.compile(r"0*([1-9][0-9]*)$", re.ASCII)
SIGNS = re.compile(r"[\W_]+")
ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


async def why_empty(context: ToolContext, plan: Plan) -> list[str]:
    """Return what the caller should know of a query without a record, in one line."""
    if doubts := await unknown_companies(context, plan.named) if plan.named else []:
        return doubts
    asked = next(equalities(plan), None)
    if asked is None:
        return []
    name, value = asked
    entity = plan.query.entity
    company = plan.scope.company or ((await context.d365.session()).company if plan.scope.is_default else "")
    where = f" in {company}" if company else " in any company" if plan.scope.cross_company else ""
    nothing = f"no {entity.entity_set}{where}"
    if name == COMPANY:
        return [nothing]
    found = await look_near(context, entity, name, value) if name in entity.properties else ()
    same = [record for record in found if str(record.get(name)).casefold() == value.casefold()]
    homes = sorted({str(record.get(COMPANY)) for record in same} if company else ())
    if same and (not company or company in homes):
        return [f"{nothing} meets all conditions, although {name} {quoted(value)} is there"]
    if homes:
        return [f"{nothing} with {name} {quoted(value)}: it is in {or_list(homes[:NAMED])}"]
    near = closest([str(record.get(name)) for record in found if not company or record.get(COMPANY) == company], value)
    hint = f": near it {'is' if len(near) == 1 else 'are'} {', '.join(map(quoted, near))}" if near else ""
    return [f"{nothing} with {name} {quoted(value)}{hint}"]


def equalities(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the texts that every record had to have, a company's last."""
    expression = plan.translation.expression if plan.translation else None
    conjuncts = expression.operands if isinstance(expression, And) else (expression,)
    found = [each for conjunct in conjuncts if conjunct for each in equality(conjunct)]
    yield from sorted(found, key=lambda each: each[0] == COMPANY)


def equality(condition: Expression) -> Iterator[tuple[str, str]]:
    match condition:
        case Comparison("eq", Property(path), Literal(str(value))) if value:
            yield path, value
        case Membership(Property(path), (Literal(str(value)), *_)) if value:
            yield path, value


async def look_near(context: ToolContext, entity: DataEntity, name: str, value: str) -> Records:
    """Return some records whose text is like the one asked for, of whichever company; none where a look does not tell."""
    condition = likely(name, value)
    if condition is None:
        return ()
    bound = bound_of(context)
    translation = translate_filter(condition, entity)
    scope = scope_read(entity, bound, company=None, cross_company=entity.has_company, translation=None)
    options = QueryOptions(
        select=(*((COMPANY,) if entity.has_company else ()), name),
        filter=and_filters(scope.filter, *translation.filters),
        order_by=(name,),
        top=LOOKED_AT,
        cross_company=scope.cross_company,
    )
    page = await glance(context.d365.query(entity.entity_set, options))
    records = page.records if page else []
    bound.check_records(entity, records)
    return records


def likely(name: str, value: str) -> Expression | None:
    """Return what finds the text in another company, what it is a part of, what begins like it, and its number with
    other zeros before it."""
    core = value.strip()
    number = NUMBER_AT_END.search(core)
    if has_wildcard(Literal(core)) or (len(core) < 2 and not number):
        return None
    found: list[Expression] = [Comparison("eq", Property(name), Literal(value))]
    if number:
        found.append(call("endswith", name, f"0{number[1]}"))
    if number is None or number[0] != core:
        found += [call("contains", name, core), call("startswith", name, core[: max(2, min(len(core) - 3, MAX_START))])]
    elif number[1] != core:
        found.append(Comparison("eq", Property(name), Literal(number[1])))
    return Or(tuple(found))


def call(function: str, name: str, text: str) -> FunctionCall:
    return FunctionCall(function, (Property(name), Literal(text)))


def closest(texts: Iterable[str], value: str) -> list[str]:
    """Return the texts that come near: those that differ in signs and zeros alone, else those that look alike."""
    known = dict.fromkeys(texts)
    wanted = bare(value)
    if equal := [text for text in known if bare(text) == wanted]:
        return equal[:NAMED]
    ranked = sorted(known, key=lambda text: -likeness(text, value))
    return [text for text in ranked if likeness(text, value) >= ALIKE or wanted in bare(text)][:NAMED]


def bare(text: str) -> str:
    """Return a text without what people get wrong in it: case, signs, blanks, and zeros before numbers."""
    return ZEROS.sub("", SIGNS.sub("", text.casefold()))


def likeness(text: str, value: str) -> float:
    return SequenceMatcher(None, text.casefold(), value.casefold()).ratio()


def quoted(text: str) -> str:
    return f"'{text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + '…'}'"
