"""The blocks of a statement, its SELECTs and set operations, and where each of their columns comes from. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from d365mcp.d365.models import DataEntity, EntityProperty
from d365mcp.sql.facts import merged
from d365mcp.sql.types import NUMBERS, column_type

OPPOSITE: dict[type[exp.Expr], type[exp.Binary]] = {
    exp.GT: exp.LTE, exp.GTE: exp.LT, exp.LT: exp.GTE, exp.LTE: exp.GT, exp.EQ: exp.NEQ, exp.NEQ: exp.EQ
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Origin:
    """A table of the statement, and the property of its entity that a column is."""

    table: exp.Table
    prop: EntityProperty

    @property
    def kind(self) -> tuple[str, str]:
        """Return what has to be alike for a predicate on one column to hold for an equal one."""
        kind = column_type(self.prop)
        return ("number", "") if kind in NUMBERS else (kind, self.prop.type_name)


class Block:
    """One SELECT or set operation. Its sources get names that nothing else in the statement has."""

    def __init__(self, number: int, scope: Scope, blocks: "Blocks") -> None:
        self.scope = scope
        self.blocks = blocks
        self.name = f"#{number}"
        self.query: exp.Query = cast(exp.Query, scope.expression)
        self.aliases = [alias for alias, _ in scope.references]
        self.known: dict[tuple[object, ...], tuple[Origin, ...]] = {}

    @property
    def arms(self) -> list["Block"]:
        """Return the two sides of a set operation, none for a SELECT."""
        return [block for scope in self.scope.set_operation_scopes if (block := self.blocks.of(scope))]

    @property
    def names(self) -> list[str]:
        """Return the names of its columns."""
        return [each.alias_or_name for each in self.query.selects]

    @cached_property
    def outputs(self) -> dict[str, exp.Expr]:
        """Return what each column of a SELECT is; those whose name is not their own are left out."""
        names = self.names
        columns = zip(names, self.query.selects, strict=True)
        return {name: each.unalias() for name, each in columns if names.count(name) == 1}

    def source(self, alias: str) -> "exp.Table | Block | None":
        """Return what an alias of FROM stands for: an entity's table, or another block."""
        found = self.scope.sources.get(alias)
        if isinstance(found, Scope) and isinstance(found.expression, exp.Lateral):
            return self.blocks.by_query.get(id(found.expression.this.unnest()))
        if isinstance(found, exp.Table):
            return found if found.name in self.blocks.entities else None
        return self.blocks.of(found) if found is not None else None

    def holder(self, alias: str) -> "Block | None":
        """Return the block whose FROM an alias belongs to: this one, or one around it."""
        scope: Scope | None = self.scope
        while scope is not None:
            block = self.blocks.of(scope)
            if block is not None and alias in block.aliases:
                return block
            scope = scope.parent
        return None

    def named(self, alias: str) -> str:
        """Return the name that is this alias's alone."""
        holder = self.holder(alias)
        return f"{alias}{holder.name}" if holder else alias

    def origins(self, node: exp.Expr, *, partly: bool = False) -> tuple[Origin, ...]:
        """Return the tables and properties a bare column stands for, none for what is computed, or may be unless `partly`."""
        node = node.unnest()
        if columns := merged(node, self.query.args.get("joins") or ()):
            found = [self.origins(column, partly=partly) for column in columns]
            return tuple(dict.fromkeys(origin for each in found for origin in each)) if partly or all(found) else ()
        if not isinstance(node, exp.Column) or (holder := self.holder(node.table)) is None:
            return ()
        return holder.column(node.table, node.name, partly=partly)

    def column(self, alias: str, name: str, *, partly: bool = False) -> tuple[Origin, ...]:
        """Return the origins of a column of one of its sources."""
        return self.once((alias, name, partly), lambda: self.looked_up(alias, name, partly=partly))

    def looked_up(self, alias: str, name: str, *, partly: bool) -> tuple[Origin, ...]:
        source = self.source(alias)
        if isinstance(source, exp.Table):
            entity = self.blocks.entities[source.name]
            proper = entity.names_by_folded.get(name.casefold())
            return (Origin(source, entity.properties[proper]),) if proper else ()
        return source.output(name, partly=partly) if source else ()

    def output(self, output: str, *, partly: bool = False) -> tuple[Origin, ...]:
        """Return the origins of one of this block's own columns."""
        names = self.names
        return self.nth(names.index(output), partly=partly) if names.count(output) == 1 else ()

    def nth(self, place: int, *, partly: bool = False) -> tuple[Origin, ...]:
        """Return the origins of its column at a place."""
        return self.once((place, partly), lambda: self.at(place, partly=partly))

    def at(self, place: int, *, partly: bool) -> tuple[Origin, ...]:
        if not self.arms:
            selects = self.query.selects
            return self.origins(selects[place].unalias(), partly=partly) if place < len(selects) else ()
        found = [arm.nth(place, partly=partly) for arm in self.arms] if not self.query.args.get("by_name") else []
        origins = dict.fromkeys(origin for each in found for origin in each)
        return tuple(origins) if partly or all(found) else ()

    def once(self, key: tuple[object, ...], look: Callable[[], tuple[Origin, ...]]) -> tuple[Origin, ...]:
        """Look something up once: nested unions lead to the same columns over and over."""
        if key not in self.known:
            self.known[key] = look()
        return self.known[key]


class Blocks:
    """All blocks of a qualified statement, the innermost first. Tables go by the names of `entities`."""

    def __init__(self, tree: exp.Query, entities: Mapping[str, DataEntity]) -> None:
        self.entities = entities
        self.by_scope: dict[int, Block] = {}
        self.by_query: dict[int, Block] = {}
        self.by_name: dict[str, Block] = {}
        for number, scope in enumerate(traverse_scope(tree)):
            if isinstance(scope.expression, exp.Select | exp.SetOperation):
                block = Block(number, scope, self)
                self.by_scope[id(scope)] = self.by_query[id(block.query)] = self.by_name[block.name] = block

    def of(self, scope: Scope) -> Block | None:
        return self.by_scope.get(id(scope))

    def __iter__(self) -> Iterator[Block]:
        return iter(self.by_scope.values())

    def alike(self, one: tuple[str, str], other: tuple[str, str]) -> bool:
        """Return whether a predicate on one column means the same on another that is equal to it."""
        kinds = {origin.kind for key in (one, other) for origin in self.origins(key)}
        return len(kinds) == 1 and all(self.origins(key) for key in (one, other))

    def origins(self, key: tuple[str, str]) -> tuple[Origin, ...]:
        """Return the origins of a column whose source goes by a name of its own."""
        alias, sign, number = key[0].rpartition("#")
        block = self.by_name.get(sign + number)
        if block is None:
            return ()
        return block.column(alias, key[1]) if alias else block.output(key[1])


@dataclass(frozen=True, eq=False)
class Compared:
    """A column, or a function of one, and what it is compared with, as it stands in the statement."""

    operator: type[exp.Expr]
    column: exp.Expr
    other: exp.Expr
    origins: tuple[Origin, ...]


def comparisons(block: Block) -> Iterator[Compared]:
    """Yield every comparison of one of the entities' columns in a block, wherever it stands."""
    for operator, one, other in all_pairs(block):
        if origins := block.origins(one):
            yield Compared(operator, one.unnest(), other, origins)


MIRRORED: dict[type[exp.Expr], type[exp.Expr]] = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE}


def all_pairs(block: Block) -> Iterator[tuple[type[exp.Expr], exp.Expr, exp.Expr]]:
    """Yield what `_pairs` yields of every comparison in a block."""
    for node in block.scope.find_all(*OPPOSITE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In, exp.Case):
        yield from _pairs(node)


def _pairs(node: exp.Expr) -> Iterator[tuple[type[exp.Expr], exp.Expr, exp.Expr]]:
    """Yield each (operator, one side, the other side) of a comparison, both ways round; of rows, each of their parts."""
    for operator, one, other in _whole_pairs(node):
        rows = [each.unnest() for each in (one, other)]
        if all(isinstance(row, exp.Tuple) for row in rows):
            yield from ((operator, *parts) for parts in zip(*(row.expressions for row in rows), strict=False))
        else:
            yield operator, one, other


def _whole_pairs(node: exp.Expr) -> Iterator[tuple[type[exp.Expr], exp.Expr, exp.Expr]]:
    match node:
        case exp.Between():
            yield exp.GTE, node.this, node.args["low"]
            yield exp.LTE, node.this, node.args["high"]
        case exp.In():
            query = node.args.get("query")
            yield from ((exp.EQ, node.this, each) for each in (node.expressions if query is None else [query]))
        case exp.Case():
            yield from ((exp.EQ, node.this, each.this) for each in node.args["ifs"] if node.this is not None)
        case _:
            kind = type(node)
            yield kind, node.this, node.expression
            yield MIRRORED.get(kind, kind), node.expression, node.this


def joined_columns(blocks: Blocks) -> dict[int, dict[str, None]]:
    """Return, by the `id` of each table's node, the columns that are compared with those of others, or of a subquery."""
    found: dict[int, dict[str, None]] = {}
    for block in blocks:
        for operator, one, other in all_pairs(block):
            if operator not in (exp.EQ, exp.NullSafeEQ):
                continue
            here, there = ([*_origins_of(block, node)] for node in (one, other))
            for origin in (*here, *there) if here and there else ():
                found.setdefault(id(origin.table), {})[origin.prop.name.lower()] = None
    return found


def _origins_of(block: Block, node: exp.Expr) -> Iterator[Origin]:
    """Yield what a column, each of a row's, or each of a subquery's may stand for."""
    node = node.unnest()
    if isinstance(node, exp.Tuple):
        yield from (origin for each in node.expressions for origin in block.origins(each, partly=True))
    elif isinstance(node, exp.Query):
        inner = block.blocks.by_query.get(id(node))
        yield from (origin for place in range(len(node.selects)) if inner for origin in inner.nth(place, partly=True))
    else:
        yield from block.origins(node, partly=True)
