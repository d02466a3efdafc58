"""Whose records a statement reads: the companies of each table, and joins that say nothing about the company. Pure.

Each table is read from the companies the statement names for it, by itself or through what it is joined on, else from those
the caller gave, else from the default company. A statement that would read two tables in different companies without
saying so is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from d365mcp.d365.companies import CompanyBound, CompanyScope, scope_read
from d365mcp.d365.filters.translate import Translation, translate_filter
from d365mcp.d365.filters.tree import never_holds, restricted_to
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.errors import InvalidArgument, or_list
from d365mcp.sql.blocks import Block, Origin, all_pairs
from d365mcp.sql.facts import ColumnKey, Facts, equal_columns
from d365mcp.sql.joins import joins_of
from d365mcp.sql.query_shapes import is_lateral
from d365mcp.sql.relevance import Relevance, SelectPart
from d365mcp.sql.semi_joins import Partner

COLUMN = COMPANY.lower()


# What a statement does with companies


@dataclass(frozen=True)
class CompanyUse:
    """What a statement does with the company of a table's records: whether it chooses them by it, which companies it
    compares it with, in whatever place, and whether it uses it in another way than for a join. `computed` are companies
    that only the database knows."""

    chosen: bool = False
    compared: frozenset[str] = frozenset()
    computed: bool = False
    used: bool = False

    def and_also(self, other: "CompanyUse") -> "CompanyUse":
        compared, computed = self.compared | other.compared, self.computed or other.computed
        return CompanyUse(self.chosen or other.chosen, compared, computed, self.used or other.used)


def company_uses(relevance: Relevance) -> dict[int, CompanyUse]:
    """Return what is done with each table's company, by the `id` of its node."""
    found: dict[int, CompanyUse] = {}
    for block in relevance.blocks:
        compared = [*all_pairs(block)]
        for column in block.scope.find_all(exp.Column):
            if _is_company(origins := block.origins(column)):
                others = [other for _, one, other in compared if any(node is column for node in one.walk())]
                use = _use_of(block, column, others)
                for origin in origins:
                    found[id(origin.table)] = found.get(id(origin.table), CompanyUse()).and_also(use)
    for table, facts in relevance.facts.items():
        if any(column.name == COLUMN for fact in facts for column in fact.find_all(exp.Column)):
            found[table] = replace(found.get(table, CompanyUse()), chosen=True)
    return found


def _use_of(block: Block, column: exp.Column, others: Sequence[exp.Expr]) -> CompanyUse:
    """Return what is done with a company column that is compared with `others`."""
    if not others:
        is_handed_on = isinstance(column.parent, exp.Alias) and _is_read_by_statement(block.query)
        return CompanyUse(used=not is_handed_on and not isinstance(column.parent, exp.Tuple))
    rest = [other for each in others if not _is_company(block.origins(other := each.unnest()))]
    named = frozenset(other.name.lower() for other in rest if isinstance(other, exp.Literal) and other.is_string)
    computed = any(_is_computed(block, other) for other in rest)
    return CompanyUse(compared=named, computed=computed, used=bool(rest))


def _is_computed(block: Block, node: exp.Expr) -> bool:
    """Return whether a value comes from a query, or a list of values, that is not about companies of records."""
    if isinstance(node, exp.Query | exp.Subquery):
        inner = block.blocks.by_query.get(id(node.unnest()))
        return inner is None or not all(_is_company(inner.output(name)) for name in inner.names)
    if not isinstance(node, exp.Column) or block.origins(node) or (holder := block.holder(node.table)) is None:
        return False
    source = holder.source(node.table)
    made_of = source.outputs.get(node.name) if isinstance(source, Block) else None
    is_handed_on = isinstance(source, Block) and isinstance(made_of, exp.Column) and _is_computed(source, made_of)
    return not isinstance(source, Block) or is_handed_on or isinstance(made_of, exp.Literal)


def _is_read_by_statement(query: exp.Expr) -> bool:
    """Return whether a query's columns are read by another part of the statement, rather than its reader."""
    node = query
    while isinstance(node.parent, exp.Subquery | exp.SetOperation | exp.Paren):
        node = node.parent
    return node.parent is not None


def _is_company(origins: Sequence[Origin]) -> bool:
    return bool(origins) and all(origin.prop.name == COMPANY for origin in origins)


def joined_apart(relevance: Relevance) -> Iterator[tuple[exp.Table, exp.Table]]:
    """Yield tables of companies that are joined, also by IN or EXISTS, without a word about the company."""
    for part in relevance.selects():
        facts: Facts = [*part.true, *(fact for join in joins_of(part.tree) for fact in join.on)]
        places = [*_company_places(part)]
        for inner in part.subqueries:
            if isinstance(inner, SelectPart) and (id(inner) in part.listed or inner.block.scope.external_columns):
                facts += [*inner.true, *inner.definitions(), *part.listed.get(id(inner), ())]
                places += _company_places(inner)
        for leaf in part.tree.leaves if part.tree else ():
            source = relevance.part(leaf.source) if isinstance(leaf.source, Block) else None
            if isinstance(source, SelectPart) and is_lateral(source.query):
                facts += [*source.true, *source.definitions()]
        classes = equal_columns(facts, relevance.blocks.alike)
        groups: dict[frozenset[ColumnKey], exp.Table] = {}
        for table, key in places:
            groups.setdefault(classes.get(key, frozenset({key})), table)
        tables = [*groups.values()]
        yield from ((tables[0], other) for other in tables[1:])


def _company_places(part: SelectPart) -> Iterator[tuple[exp.Table, ColumnKey]]:
    """Yield for each source of FROM that has companies a table, and the column that says which company."""
    for leaf in part.tree.leaves if part.tree else ():
        if isinstance(leaf.source, exp.Table):
            if part.block.blocks.entities[leaf.source.name].has_company:
                yield leaf.source, (leaf.name, COLUMN)
        elif isinstance(leaf.source, Block):
            columns = [name for name in leaf.source.names if _is_company(leaf.source.output(name))]
            if (table := _table_of(leaf.source)) is not None:
                yield table, (leaf.name, columns[0] if columns else "")


def _table_of(block: Block) -> exp.Table | None:
    """Return a table of companies that a block reads, directly or through others."""
    waiting, looked_at = [block], set[int]()
    while waiting:
        block = waiting.pop()
        if id(block) in looked_at:
            continue
        looked_at.add(id(block))
        sources = [block.source(alias) for alias in block.aliases] if not block.arms else []
        for source in sources:
            if isinstance(source, exp.Table) and block.blocks.entities[source.name].has_company:
                return source
        waiting += [*block.arms, *(source for source in sources if isinstance(source, Block))]
    return None


# What is read


@dataclass(frozen=True)
class CompaniesAsked:
    """What the caller says about companies; `default` is the default one, where it has to be named."""

    company: str | None
    cross_company: bool
    bound: CompanyBound
    default: str = ""


@dataclass(frozen=True)
class TableReading:
    """One scan as F&O is asked for it."""

    entity: DataEntity
    use: CompanyUse
    filters: tuple[str, ...]
    scope: CompanyScope

    @property
    def companies(self) -> str:
        """Return in words whose records are read."""
        if self.is_open:
            return "the default company"
        return ", ".join(sorted(self.scope.companies)) if self.scope.companies else "all companies"

    @property
    def is_open(self) -> bool:
        """Return whether it is left to F&O which company is the default one: the records say it."""
        return self.scope.is_default and self.scope.companies is None

    @property
    def is_shared(self) -> bool:
        """Return whether its records are of no company."""
        return not self.entity.company_columns


def reading_of(
    entity: DataEntity, filter: str, use: CompanyUse, partners: Sequence[Partner], asked: CompaniesAsked
) -> TableReading:
    """Return how a scan is read. Raises InvalidArgument where it is not said plainly whose records, NotAllowed outside the
    bound."""
    translation = translate_filter(filter, entity) if filter else None
    if asked.company and not entity.has_company:
        _check_other_columns(entity, translation, partners, asked.company)
    scope = scope_read(
        entity,
        asked.bound,
        company=asked.company if entity.has_company else None,
        cross_company=entity.has_company and (asked.cross_company or (use.chosen and not asked.company)),
        translation=translation,
    )
    if scope.is_default and asked.default:
        scope = scope.named(asked.bound, asked.default)
    return TableReading(entity, use, translation.filters if translation else ("",), scope)


def _check_other_columns(
    entity: DataEntity, translation: Translation | None, partners: Sequence[Partner], company: str
) -> None:
    """Raise InvalidArgument where the company that is asked for is in a column that the statement does not restrict to it."""
    columns, name = entity.company_columns, entity.entity_set
    if translation and never_holds(translation.expression, dict.fromkeys(columns, company)):
        raise InvalidArgument(
            f'company says "{company}", but the statement leaves it out of {name}: give the company in one of the two places.'
        )
    is_said = translation and any(restricted_to(translation.expression, column) is not None for column in columns)
    # Joined on a dataAreaId, which is of the company that is asked for.
    is_joined = any(partner.column in columns and partner.its_column == COMPANY for partner in partners)
    if columns and not is_said and not is_joined:
        raise InvalidArgument(
            f"{name} has no dataAreaId; its company is in {columns[0]}: add the condition {columns[0]} = '{company}'."
        )


def must_name_default(readings: Sequence[TableReading], bound: CompanyBound) -> bool:
    """Return whether the default company has to be known beforehand: other companies are read or compared, or bounded."""
    if not any(reading.is_open for reading in readings):
        return False
    others = any(reading.entity.has_company and not reading.is_open for reading in readings)
    return bool(bound.allowed) or others or any(reading.use.compared or reading.use.computed for reading in readings)


def refuse_unread(readings: Sequence[TableReading], default: str) -> None:
    """Raise InvalidArgument where the statement compares a table with companies that are not read of it."""
    for reading in readings:
        others = sorted(reading.use.compared - {default})
        if reading.scope.is_default and (others or reading.use.computed):
            raise InvalidArgument(
                f"{reading.entity.entity_set} would be read in {default} alone, the default company, but the statement "
                f"compares its dataAreaId with {or_list(others) if others else 'what it reads elsewhere'}.",
                hint="Say whose records to read: WHERE dataAreaId IN (…), company, or cross_company.",
            )


def refuse_mixture(readings: Sequence[TableReading]) -> None:
    """Raise InvalidArgument where one table would be read in the default company and another elsewhere."""
    of_companies = [reading for reading in readings if reading.entity.has_company]
    plain = next((reading for reading in of_companies if reading.scope.is_default), None)
    for reading in of_companies:
        if plain is not None and reading.scope.companies != plain.scope.companies:
            name, other = plain.entity.entity_set, reading.entity.entity_set
            here = " and in another place" if other == name else f", but {name}"
            raise InvalidArgument(
                f"{other} would be read in {reading.companies}{here} in {plain.companies}, the default company.",
                hint=f"Join them on dataAreaId too, filter the dataAreaId of {name}, or give company or cross_company.",
            )
