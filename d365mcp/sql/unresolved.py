"""What a column means that its table has not, and what to write instead. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.scope import Scope, traverse_scope

from d365mcp.d365.filters.names import place_of_company
from d365mcp.d365.models import COMPANY, DataEntity
from d365mcp.errors import InvalidArgument, UnknownName, close_names, or_list
from d365mcp.sql.statement import is_catalog_table

_MOST_LISTED = 20


class UnknownColumn(UnknownName):
    """No such column in these entities, where it was looked for."""

    def __init__(self, name: str, close: Sequence[str], entities: Sequence[DataEntity], hint: str) -> None:
        super().__init__("column", name, close, hint=hint)
        self.entities = entities


@dataclass(frozen=True)
class _Source:
    """What FROM reads under an alias: an entity, or a block, whose column names may not be known."""

    alias: str
    names: Mapping[str, str] | None  # by their folded form
    entity: DataEntity | None = None

    @property
    def place(self) -> str:
        if self.entity is None or self.entity.entity_set.casefold() == self.alias.casefold():
            return self.alias
        return f"{self.alias} ({self.entity.entity_set})"

    @property
    def is_in_catalog(self) -> bool:
        return self.entity is not None and is_catalog_table(self.entity.entity_set)

    def listed(self) -> str:
        """Return its columns, as many as are quickly read."""
        names = [*(self.names or {}).values()]
        name = self.entity.entity_set if self.entity else self.alias
        return f"{name} has {', '.join([*names[:_MOST_LISTED], '…'] if names[_MOST_LISTED:] else names)}."


def unresolved(tree: exp.Query, by_table: Mapping[str, DataEntity], complaint: str) -> InvalidArgument:
    """Return the error for a statement with a column that cannot be resolved; the complaint has its name."""
    if not by_table:
        return InvalidArgument("The statement reads no entity set: name one after FROM.")
    for join in tree.find_all(exp.Join):
        for name in join.args.get("using") or ():
            if _is_about(complaint, name.name) and complaint.startswith("Cannot automatically join"):
                return InvalidArgument(f"{name.name} is not in both tables: write ON with the columns that are equal.")
    with suppress(OptimizeError):  # the complaint is about something else
        for column, here, around in _columns(tree, by_table):
            if _is_about(complaint, column.name) and (error := _error(column, here, around)):
                return error
    return InvalidArgument(f"{complaint.rstrip('.')}.")


def _is_about(complaint: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name.casefold())}\b", complaint.casefold()) is not None


def _columns(
    tree: exp.Query, by_table: Mapping[str, DataEntity]
) -> Iterator[tuple[exp.Column, list[_Source], list[_Source]]]:
    """Yield each column with the sources of its SELECT, and those of the SELECTs around it."""
    for scope in traverse_scope(tree):
        here, around, outer = [*_sources(scope, by_table)], list[_Source](), scope.parent
        while outer is not None:
            around += _sources(outer, by_table)
            outer = outer.parent
        yield from ((column, here, around) for column in scope.columns)


def _sources(scope: Scope, by_table: Mapping[str, DataEntity]) -> Iterator[_Source]:
    for alias, _ in scope.references:
        source = scope.sources.get(alias)
        if isinstance(source, exp.Table) and source.name in by_table:
            entity = by_table[source.name]
            yield _Source(alias, {name.casefold(): name for name in entity.properties}, entity)
        else:
            yield _Source(alias, _names(source, by_table) if isinstance(source, Scope) else None)


def _names(scope: Scope, by_table: Mapping[str, DataEntity]) -> Mapping[str, str] | None:
    """Return the names of a block's columns, None where they are not known."""
    node = scope.expression
    if not isinstance(node, exp.Query) or (node.is_star and not isinstance(node, exp.Select)):
        return None
    names = {name.casefold(): name for name in node.named_selects if name != "*"}
    for source in _sources(scope, by_table) if node.is_star else ():
        if source.names is None:
            return None
        names |= source.names
    return names


def _error(column: exp.Column, here: Sequence[_Source], around: Sequence[_Source]) -> InvalidArgument | None:
    """Return what is wrong with a column, None where that is not known."""
    folded, every = column.name.casefold(), [*here, *around]
    holding = [each for each in every if folded in (each.names or ())]
    proper = (holding[0].names or {})[folded] if holding else column.name
    if column.table:
        source = next((each for each in every if each.alias.casefold() == column.table.casefold()), None)
        if source is None:
            reads = ", ".join(each.place for each in every)
            return InvalidArgument(f'No table "{column.table}" here.', hint=f"This SELECT reads {reads}.")
        if source.names is None or source in holding:
            return None
        if holding:
            return InvalidArgument(f"{proper} is in {_listed(holding)}, not in {source.place}.")
        return _unknown(column.name, [source])
    if len([each for each in here if each in holding]) > 1:
        choices = or_list([f"{each.alias}.{proper}" for each in here if each in holding])
        return InvalidArgument(f"{proper} is in several tables: write {choices}.")
    if holding or any(each.names is None for each in every):
        return None
    return _unknown(column.name, every)


def _listed(sources: Sequence[_Source]) -> str:
    return or_list([each.place for each in sources]).replace(" or ", " and ")


def _unknown(name: str, sources: Sequence[_Source]) -> UnknownColumn:
    names = [each for source in sources for each in (source.names or {}).values()]
    found = {each.entity.entity_set: each.entity for each in sources if each.entity and not each.is_in_catalog}
    if name.casefold() == COMPANY.casefold() and found:
        hints = [f"{place_of_company(entity)}." for entity in found.values()]
    else:
        hints = [f"d365fo_get_entity_schema lists the columns of {or_list([*found])}."] if found else []
        hints += [each.listed() for each in sources if each.is_in_catalog or not each.entity]
    return UnknownColumn(name, close_names(name, names), [*found.values()], " ".join(hints))
