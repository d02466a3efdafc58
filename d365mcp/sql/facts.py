"""What predicates say, and what follows from them for other columns. Pure.

A fact is a predicate that holds for every row that matters. Its columns are keyed by source and name, and what is computed
by a subquery is never carried.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from sqlglot import exp

Facts = list[exp.Expr]
ColumnKey = tuple[str, str]

# What is NULL where its argument is, and so never true of a row that an outer join made up.
STRICT = (exp.Lower, exp.Upper, exp.Trim, exp.Year, exp.TimestampTrunc, exp.Cast, exp.Neg, exp.Add, exp.Sub, exp.Mul)
# Alternatives are kept up to this size: those of nested CTEs grow by powers of two.
MAX_NODES = 500
# The name of a predicate that is true of a column which has one of the values that a table's column has, or none.
HAS_PARTNER = "has_partner"
COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.ILike)
EQUALITIES = (exp.EQ, exp.NullSafeEQ)


def conjuncts(condition: exp.Expr | None) -> Facts:
    """Return the parts of a condition that all have to be true."""
    if condition is None:
        return []
    node = condition.unnest()
    match node:
        case exp.And():
            return [part for each in node.flatten() for part in conjuncts(each)]
        case exp.EQ(this=exp.Tuple() as one, expression=exp.Tuple() as other):
            places = zip(one.expressions, other.expressions, strict=False)
            return [exp.EQ(this=each.copy(), expression=there.copy()) for each, there in places]
    return [node]


def join_of(joins: Iterable[exp.Join], column: exp.Expr) -> exp.Join | None:
    """Return the join that a column comes in with."""
    return next((join for join in joins if join.this.alias_or_name == column.text("table")), None)


def equates(on: Iterable[exp.Expr], one: exp.Expr, other: exp.Expr) -> bool:
    """Return whether conditions ask for one column to equal another."""
    return any(_is_equality(fact) and (fact.this, fact.expression) in ((one, other), (other, one)) for fact in on)


def merged(node: exp.Expr, joins: Sequence[exp.Join]) -> list[exp.Expr]:
    """Return the columns that USING, or a COALESCE that comes to it, makes one of; none for another expression."""
    columns = [node.this, *node.expressions] if isinstance(node, exp.Coalesce) else []
    for column in columns[1:]:
        join = join_of(joins, column)
        on = conjuncts(join.args.get("on")) if join is not None else []
        if not any(equates(on, each, column) for each in columns if each is not column):
            return []
    return columns if all(isinstance(column, exp.Column) for column in columns) else []


def one_of(groups: Sequence[Facts]) -> Facts:
    """Return that all of one group is true, whichever it is; nothing where that would be too long to be of use."""
    if not groups or not all(groups):
        return []
    if len(groups) == 1:
        return groups[0]
    groups = [[fact for fact in facts if partner_of(fact) is None] for facts in groups]
    if not all(groups):
        return []
    if sum(1 for facts in groups for fact in facts for _ in fact.walk()) > MAX_NODES:
        return []
    return [exp.or_(*(exp.and_(*facts) for facts in groups))]


def has_partner(column: exp.Expr, table: exp.Table, name: str) -> exp.Expr:
    """Return the predicate that a column has a value of a column of this table, which is not said before it is read."""
    place = [exp.Literal.number(id(table)), exp.Literal.string(name)]
    return exp.Anonymous(this=HAS_PARTNER, expressions=[column, *place])


def partner_of(fact: exp.Expr) -> tuple[str, int, str] | None:
    """Return a partner predicate's column, table (the `id` of its node) and that table's column; None for another fact."""
    if not isinstance(fact, exp.Anonymous) or fact.this != HAS_PARTNER:
        return None
    column, table, name = fact.expressions
    return column.name, int(table.this), name.this


def key_of(column: exp.Column) -> ColumnKey:
    return (column.table, column.name)


def _is_equality(fact: exp.Expr) -> bool:
    """Return whether a fact is that two columns are equal."""
    return isinstance(fact, EQUALITIES) and all(isinstance(each, exp.Column) for each in (fact.this, fact.expression))


def touches(fact: exp.Expr, names: frozenset[str]) -> bool:
    return any(column.table in names for column in fact.find_all(exp.Column))


def rejects(fact: exp.Expr, names: frozenset[str]) -> bool:
    """Return whether a predicate is never true where all columns of these sources are NULL."""
    match fact:
        case exp.Paren():
            return rejects(fact.this, names)
        case exp.And():
            return any(rejects(each, names) for each in fact.flatten())
        case exp.Or():
            return all(rejects(each, names) for each in fact.flatten())
        case exp.Not(this=exp.Is(this=inner, expression=exp.Null())):
            return _is_strict(inner, names)
        case exp.Not():
            inner = fact.this.unnest()
            listed = isinstance(inner, exp.In) and bool(inner.expressions)
            return (listed or isinstance(inner, (*COMPARISONS, exp.Between))) and rejects(inner, names)
        case exp.In() | exp.Between():
            return _is_strict(fact.this, names)
    if not isinstance(fact, COMPARISONS) or isinstance(fact.expression, exp.All):  # true of ALL of nothing
        return False
    return _is_strict(fact.this, names) or _is_strict(fact.expression, names)


def _is_strict(node: exp.Expr, names: frozenset[str]) -> bool:
    node = node.unnest()
    if isinstance(node, exp.Column):
        return node.table in names
    return isinstance(node, STRICT) and any(_is_strict(each, names) for each in node.iter_expressions())


def equal_columns(
    facts: Iterable[exp.Expr], alike: Callable[[ColumnKey, ColumnKey], bool]
) -> dict[ColumnKey, frozenset[ColumnKey]]:
    """Return for each column that equals others all that equal it; `alike` says whose predicates mean the same."""
    classes: dict[ColumnKey, frozenset[ColumnKey]] = {}
    for fact in facts:
        if _is_equality(fact):
            one, other = key_of(fact.this), key_of(fact.expression)
            if alike(one, other):
                whole = classes.get(one, frozenset({one})) | classes.get(other, frozenset({other}))
                classes |= dict.fromkeys(whole, whole)
    return classes


def carried(facts: Sequence[exp.Expr], name: str, alike: Callable[[ColumnKey, ColumnKey], bool]) -> Facts:
    """Return what facts say about the columns of one source alone, each once."""
    places: dict[ColumnKey, exp.Column] = {}
    for key, group in equal_columns(facts, alike).items():
        own = [member for member in sorted(group) if member[0] == name]
        if own and key not in own:
            places[key] = own_column(own[0])
    return [*dict.fromkeys(fact for each in facts if (fact := implied(each, places, name)) is not None)]


def own_column(key: ColumnKey) -> exp.Column:
    return exp.column(key[1], key[0], quoted=True)


def implied(fact: exp.Expr, places: Mapping[ColumnKey, exp.Column], name: str) -> exp.Expr | None:
    """Return a fact in terms of the columns at hand, as much of it as can be; None where that is nothing."""
    match fact:
        case exp.Paren():
            return implied(fact.this, places, name)
        case exp.And():
            parts = [implied(each, places, name) for each in fact.flatten()]
            kept = [each for each in parts if each is not None]
            return exp.and_(*kept) if kept else None
        case exp.Or():
            parts = [implied(each, places, name) for each in fact.flatten()]
            return exp.or_(*parts) if None not in parts else None
    columns = [*fact.find_all(exp.Column)]
    if not columns or fact.find(exp.Query):
        return None
    if not all(column.table == name or key_of(column) in places for column in columns):
        return None
    if all(column.table == name and key_of(column) not in places for column in columns):
        return fact
    placed = fact.transform(lambda node: _place_of(node, places) if isinstance(node, exp.Column) else node)
    return None if _is_equality(placed) and placed.this == placed.expression else placed


def _place_of(column: exp.Column, places: Mapping[ColumnKey, exp.Column]) -> exp.Column:
    found = places.get(key_of(column))
    return found.copy() if found is not None else column
