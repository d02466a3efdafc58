"""Which rows of each table can matter to a statement: what it says is carried to every table it narrows. Pure.

A row does not matter where the answer is the same without it. What WHERE, ON and HAVING say is carried through joins,
equalities, CTEs and subqueries; what is found may keep too many rows of a table, never too few.

Sources in facts go by the names of `Block.named`; a block's own columns by its `name`.
"""

from collections.abc import Iterable, Sequence

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from d365mcp.sql.blocks import Block, Blocks, joined_columns
from d365mcp.sql.facts import (
    ColumnKey,
    Facts,
    carried,
    conjuncts,
    equates,
    has_partner,
    implied,
    join_of,
    key_of,
    merged,
    one_of,
    own_column,
    partner_of,
    rejects,
    touches,
)
from d365mcp.sql.joins import Join, Leaf, Tree, is_comma, is_in_join, join_kind, narrowed_join
from d365mcp.sql.query_shapes import bounded, is_aggregate, is_lateral, is_recursive, is_rolled_up


def relevance(blocks: Blocks) -> "Relevance":
    """Return what is true of the rows that matter."""
    found = Relevance(blocks)
    for part in reversed(found.parts.values()):
        part.carry()
    return found


class Relevance:
    """The blocks of a statement with what is true in each. `facts` are those about a table, by the `id` of its node.

    `partners` are the columns of other tables that its columns have to share a value with: (column, table, its column).
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.joined = joined_columns(blocks)
        self.facts: dict[int, Facts] = {}
        self.partners: dict[int, list[tuple[str, int, str]]] = {}
        self.parts: dict[int, Part] = {}
        for block in blocks:
            self.parts[id(block)] = (
                Arms(block, self) if isinstance(block.query, exp.SetOperation) else SelectPart(block, self)
            )

    def part(self, block: Block | None) -> "Part | None":
        return self.parts.get(id(block))

    def selects(self) -> Iterable["SelectPart"]:
        return (part for part in self.parts.values() if isinstance(part, SelectPart))

    def carried(self, facts: Sequence[exp.Expr], name: str) -> Facts:
        return carried(facts, name, self.blocks.alike)


class Part:
    """A block while facts are gathered: upwards what is true of its rows, then downwards what is wanted of them."""

    def __init__(self, block: Block, whole: Relevance) -> None:
        self.block = block
        self.whole = whole
        self.name = block.name
        self.query = block.query
        self.shut = is_recursive(block.query)
        self.exports: Facts = []  # true of every row of its own
        self.uses: list[Facts] = []  # what each place that reads this block wants of its rows
        self.around: Facts = []  # true of the row outside, where a subquery is evaluated

    def carry(self) -> None:
        raise NotImplementedError

    def wanted(self) -> Facts:
        """Return what a row is like that matters to some use."""
        return [] if self.shut or bounded(self.query) else one_of(self.uses)


class Arms(Part):
    """A set operation."""

    def __init__(self, block: Block, whole: Relevance) -> None:
        super().__init__(block, whole)
        self.sides = [part for arm in block.arms if (part := whole.part(arm)) is not None]
        self.shut |= bool(self.query.args.get("by_name")) or len(self.sides) != 2
        if self.shut:
            return
        left, right = (self.renamed(side.exports, side, self) for side in self.sides)
        match self.query:
            case exp.Union():
                self.exports = one_of([left, right])
            case exp.Intersect():
                self.exports = [*left, *right]
            case exp.Except():
                self.exports = left

    def carry(self) -> None:
        wanted = self.wanted()
        for side in self.sides:
            side.uses.append(self.renamed(wanted, self, side))
            side.around = self.around

    @staticmethod
    def renamed(facts: Facts, part: Part, other: Part) -> Facts:
        """Return facts about the columns of one block as facts about those in the same places of another."""
        names, others = part.block.names, other.block.names
        places = {
            (part.name, name): own_column((other.name, others[place]))
            for place, name in enumerate(names)
            if names.count(name) == 1 and place < len(others) and others.count(others[place]) == 1
        }
        return [fact for each in facts if (fact := implied(each, places, other.name)) is not None]


class SelectPart(Part):
    """A SELECT."""

    def __init__(self, block: Block, whole: Relevance) -> None:
        super().__init__(block, whole)
        self.joins: list[exp.Join] = list(self.query.args.get("joins") or ())
        self.known: dict[str, Facts] = {}  # by source
        self.tree = self.from_clause()
        self.where = _conjuncts_of(self.query.args.get("where"))
        self.subqueries = [part for scope in block.scope.subquery_scopes if (part := self.of(scope)) is not None]
        self.listed = self.in_subqueries()
        filters = [*map(self.renamed, self.where), *self.key_facts(), *self.subquery_facts()]
        self.true = [*(self.true_of(self.tree, filters) if self.tree else ()), *filters]
        if not self.shut and not is_rolled_up(self.query):
            self.exports = whole.carried([*self.true, *self.definitions()], self.name)

    def of(self, scope: Scope) -> Part | None:
        return self.whole.part(self.block.blocks.of(scope))

    # FROM

    def from_clause(self) -> Tree | None:
        """Return FROM as a tree: a comma binds less than JOIN does."""
        clause = self.query.args.get("from_")
        groups = [self.tree_of(clause.this)] if clause is not None else []
        for join in self.joins:
            if is_comma(join):
                groups.append(self.tree_of(join.this))
            else:
                groups[-1] = self.joined(groups[-1], join)
        tree = groups[0] if groups else None
        for other in groups[1:]:
            tree = Join(tree, other, "inner", []) if tree else other
        return tree

    def tree_of(self, node: exp.Expr) -> Tree:
        while isinstance(node, exp.Subquery) and not node.alias and not isinstance(node.this, exp.UNWRAPPED_QUERIES):
            node = node.this  # parentheses about a join
        tree: Tree = Leaf(self.block.named(node.alias_or_name), self.block.source(node.alias_or_name))
        for join in node.args.get("joins") or () if isinstance(node, exp.Table) else ():
            tree = self.joined(tree, join)
        return tree

    def joined(self, tree: Tree, join: exp.Join) -> Join:
        on = [self.renamed(each) for each in conjuncts(join.args.get("on"))]
        return Join(tree, self.tree_of(join.this), join_kind(join), on)

    def true_of(self, tree: Tree, given: Facts) -> Facts:
        """Return what is true of every combination a tree yields for which `given` is true too."""
        if isinstance(tree, Leaf):
            return self.exported_by(tree)
        match self.kind(tree, given):
            case "inner" | "semi":
                given = _once(given, tree.on)
                return _once(self.true_of(tree.left, given), self.true_of(tree.right, given), tree.on)
            case "left" | "anti" | "asof":
                return self.true_of(tree.left, given)
            case "right":
                return self.true_of(tree.right, given)
        return []

    def exported_by(self, leaf: Leaf) -> Facts:
        """Return what is true of every row of a source."""
        if leaf.name not in self.known:
            part = self.whole.part(leaf.source) if isinstance(leaf.source, Block) else None
            self.known[leaf.name] = [_about(fact, leaf.name) for fact in part.exports] if part is not None else []
            if isinstance(table := leaf.source, exp.Table) and (names := self.whole.joined.get(id(table))):
                self.known[leaf.name] = [has_partner(own_column((leaf.name, name)), table, name) for name in names]
        return self.known[leaf.name]

    def kind(self, join: Join, given: Facts) -> str:
        """Return what a join comes to where `given` is true of what it yields."""
        if join.kind not in ("left", "right", "full"):
            return join.kind
        return narrowed_join(join.kind, left=self.needs(given, join.left), right=self.needs(given, join.right))

    def needs(self, given: Facts, tree: Tree) -> bool:
        """Return whether a combination without a row of `tree` cannot be."""
        names = frozenset(leaf.name for leaf in tree.leaves)
        if any(rejects(fact, names) for fact in given):
            return True
        # Any other equality rejects by itself.
        defined = {
            each.table for fact in given if isinstance(fact, exp.NullSafeEQ) for each in fact.find_all(exp.Column)
        }
        return any(rejects(fact, names) for name in names & defined for fact in self.whole.carried(given, name))

    # Clauses

    def renamed(self, node: exp.Expr) -> exp.Expr:
        """Return a copy in which every column has its source's own name; the COALESCE of USING is one column."""

        def one(node: exp.Expr) -> exp.Expr:
            if isinstance(node, exp.Coalesce):
                node = self.survivor(merged(node, self.joins)) or node
            if isinstance(node, exp.Column) and node.table:
                return own_column((self.block.named(node.table), node.name))
            return node

        return node.transform(one)

    def survivor(self, columns: Sequence[exp.Expr]) -> exp.Column | None:
        """Return the one of merged columns that has the value of all: the others are equal or NULL."""
        kept = columns[0] if columns else None
        for column in columns[1:]:
            join = join_of(self.joins, column)
            kind = join_kind(join) if join is not None else "other"
            if kind not in ("inner", "left", "right"):
                return None
            kept = column if kind == "right" else kept
        return kept if isinstance(kept, exp.Column) else None

    def key_facts(self) -> Facts:
        """Return what HAVING asks of columns that groups are made by: it may as well be asked of the rows."""
        keys = self.keys() or frozenset()
        asked = [self.renamed(each) for each in _conjuncts_of(self.query.args.get("having"))]
        return [
            fact
            for fact in asked
            if not fact.find(exp.AggFunc, exp.Anonymous, exp.Query)
            and all(key_of(column) in keys for column in fact.find_all(exp.Column))
        ]

    def keys(self) -> frozenset[ColumnKey] | None:
        """Return the columns that groups are made by, None where there are no groups."""
        group = self.query.args.get("group")
        if group is None and not is_aggregate(self.query):
            return None
        if group is None or is_rolled_up(self.query):
            return frozenset()
        made_by = [*group.expressions, *(self.block.outputs.values() if group.args.get("all") else ())]
        return frozenset(key_of(column) for each in made_by if isinstance(column := self.renamed(each), exp.Column))

    # Its own columns

    def definitions(self, names: Iterable[str] | None = None) -> Facts:
        """Return of each column what it is: another one, or a constant."""
        return [
            exp.NullSafeEQ(this=own_column((self.name, name)), expression=inner)
            if isinstance(inner, exp.Column)
            else exp.EQ(this=own_column((self.name, name)), expression=inner)
            for name, node in self.block.outputs.items()
            if (names is None or name in names) and isinstance(inner := self.renamed(node), exp.Column | exp.Literal)
        ]

    def open_columns(self) -> list[str]:
        """Return the columns by which rows may be left out before this SELECT rather than after it."""
        windows = [self.partition(window) for window in self.block.scope.find_all(exp.Window)]
        bounds = [keys for keys in (self.keys(), *windows) if keys is not None]
        return [
            name
            for name, node in self.block.outputs.items()
            if isinstance(inner := self.renamed(node), exp.Column) and all(key_of(inner) in bound for bound in bounds)
        ]

    def partition(self, window: exp.Window) -> frozenset[ColumnKey]:
        """Return the columns that rows of one partition have in common."""
        made_by = [self.renamed(each) for each in window.args.get("partition_by") or ()]
        return frozenset(key_of(each) for each in made_by if isinstance(each, exp.Column))

    # Subqueries

    def in_subqueries(self) -> dict[int, Facts]:
        """Return, by subquery, that what stands before IN equals its columns, where WHERE asks for that."""
        found: dict[int, Facts] = {}
        for each in self.where:
            part = self.subquery(each.args.get("query")) if isinstance(each, exp.In) else None
            if part is not None:
                found[id(part)] = self.equal(
                    each.this.expressions if isinstance(each.this, exp.Tuple) else [each.this], part
                )
        return found

    def equal(self, asked: Sequence[exp.Expr], part: Part) -> Facts:
        """Return that columns equal those of a subquery."""
        return [
            exp.EQ(this=self.renamed(one), expression=own_column((part.name, name)))
            for one, name in zip(asked, part.block.names, strict=False)
            if isinstance(one, exp.Column) and part.block.names.count(name) == 1
        ]

    def subquery(self, node: exp.Expr | None) -> Part | None:
        return self.whole.part(self.block.blocks.by_query.get(id(node.unnest()))) if node is not None else None

    def subquery_facts(self) -> Facts:
        """Return what IN, EXISTS and = in WHERE make true of the row outside."""
        found: Facts = []
        for each in self.where:
            match each:
                case exp.In() if (part := self.subquery(each.args.get("query"))) is not None:
                    found += [*self.listed[id(part)], *part.exports]
                case exp.EQ() if isinstance(part := self.subquery(each.expression), SelectPart):
                    found += [*self.equal([each.this], part), *part.exports]
                case exp.Exists() if (
                    isinstance(part := self.subquery(each.this), SelectPart) and not part.always_yields()
                ):
                    found += part.true
        return found

    def always_yields(self) -> bool:
        """Return whether there may be a row even where nothing was found: an aggregate without groups."""
        if self.query.args.get("group"):
            return self.keys() == frozenset()
        aggregates = any(each.find(exp.AggFunc, exp.Anonymous) for each in self.query.selects)
        return aggregates or bool(self.query.args.get("having"))

    # Downwards

    def carry(self) -> None:
        wanted = self.wanted()
        context = [*self.around, *wanted, *(self.definitions(self.open_columns()) if wanted else ()), *self.true]
        if self.tree is not None:
            self.push(self.tree, context)
        for part in self.subqueries:
            part.around = context if not is_in_join(part.query) else []
            part.uses.append(self.whole.carried([*part.around, *self.listed.get(id(part), ())], part.name))

    def push(self, tree: Tree, context: Facts) -> None:
        """Carry down what is true of every combination that matters and has a row of `tree`."""
        if isinstance(tree, Leaf):
            self.reach(tree, context)
            return
        kind = self.kind(tree, context)
        left, right = (tree.right, tree.left) if kind == "right" else (tree.left, tree.right)
        of_right = self.true_of(right, tree.on)
        hidden = frozenset(leaf.name for leaf in right.leaves)
        outer = [fact for fact in context if not touches(fact, hidden)]
        beside = _once(outer, self.true_of(left, _once(outer, tree.on)), of_right)  # true of a row and its partner
        match kind:
            case "inner" | "semi":
                whole = _once(context, beside, tree.on)
                self.push(left, whole)
                self.push(right, whole)
            case "left" | "right" | "anti" | "asof":
                self.push(left, outer)
                self.push(right, _once(beside, tree.on))
            case "full":
                for side in (left, right):
                    self.push(side, [fact for each in context if (fact := self.of_side(each, tree, side)) is not None])
            case _:
                self.push(left, [])
                self.push(right, [])

    def of_side(self, fact: exp.Expr, join: Join, side: Tree) -> exp.Expr | None:
        """Return what a fact about columns that a full join makes one of says of a row of one side: it has that value."""
        names = frozenset(leaf.name for leaf in side.leaves)

        def one(node: exp.Expr) -> exp.Expr:
            pair = [node.this, *node.expressions] if isinstance(node, exp.Coalesce) else []
            own = [each for each in pair if isinstance(each, exp.Column) and each.table in names]
            are_two = len(pair) == 2 and len(own) == 1
            return own[0].copy() if are_two and equates(join.on, *pair) else node

        placed = fact.transform(one)
        is_own = placed.find(exp.Column) and all(column.table in names for column in placed.find_all(exp.Column))
        return placed if is_own and placed != fact and not placed.find(exp.Query) else None

    def reach(self, leaf: Leaf, context: Facts) -> None:
        facts = self.whole.carried(_once(context, self.exported_by(leaf)), leaf.name)
        if isinstance(leaf.source, exp.Table):
            found = [partner for fact in facts if (partner := partner_of(fact)) and partner[1] != id(leaf.source)]
            self.whole.facts[id(leaf.source)] = [fact for fact in facts if partner_of(fact) is None]
            self.whole.partners[id(leaf.source)] = found
        elif isinstance(leaf.source, Block) and (part := self.whole.part(leaf.source)) is not None:
            part.uses.append([_about(fact, part.name) for fact in facts])
            if is_lateral(part.query):
                part.around = context


def _once(*groups: Facts) -> Facts:
    """Join facts, each once."""
    return list({id(fact): fact for group in groups for fact in group}.values())


def _conjuncts_of(clause: exp.Expr | None) -> Facts:
    return conjuncts(clause.this) if clause is not None else []


def _about(fact: exp.Expr, name: str) -> exp.Expr:
    """Return a fact about the columns of one source as one about those of another."""
    return fact.transform(lambda node: own_column((name, node.name)) if isinstance(node, exp.Column) else node)
