"""FROM as a tree of joins, and what each kind of join does with rows that have no partner. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from d365mcp.sql.blocks import Block
from d365mcp.sql.facts import Facts

JOIN_PARTS = frozenset({"this", "on", "side", "kind", "method"})


@dataclass(frozen=True, eq=False)
class Leaf:
    """A table or a block in FROM."""

    name: str
    source: exp.Table | Block | None

    @property
    def leaves(self) -> tuple["Leaf", ...]:
        return (self,)


@dataclass(frozen=True, eq=False)
class Join:
    """Two sides; `kind` is inner, left, right, full, semi, anti, asof or other."""

    left: "Tree"
    right: "Tree"
    kind: str
    on: Facts

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return (*self.left.leaves, *self.right.leaves)


Tree = Leaf | Join


def joins_of(tree: Tree | None) -> Iterator[Join]:
    """Yield every join of a tree."""
    if isinstance(tree, Join):
        yield tree
        yield from joins_of(tree.left)
        yield from joins_of(tree.right)


def join_kind(join: exp.Join) -> str:
    """Return what a join does with rows that have no partner; `other` for what is not known here."""
    given = {name for name, value in join.args.items() if value}
    if given - JOIN_PARTS:
        return "other"
    side, kind, method = join.side, join.kind, join.method
    if method == "ASOF" and side in ("", "LEFT") and kind in ("", "INNER", "OUTER"):
        return "asof"
    if method or (side and kind not in ("", "OUTER")):
        return "other"
    if side:
        return side.lower()
    return {"": "inner", "INNER": "inner", "CROSS": "inner", "SEMI": "semi", "ANTI": "anti"}.get(kind, "other")


def narrowed_join(kind: str, *, left: bool, right: bool) -> str:
    """Return what an outer join comes to where rows without one side do not matter."""
    loose = {"left": (False, right), "right": (left, False), "full": (left, right)}[kind]
    match kind, loose:
        case ("left", (_, True)) | ("right", (True, _)) | ("full", (True, True)):
            return "inner"
        case "full", (True, False):
            return "left"
        case "full", (False, True):
            return "right"
    return kind


def is_comma(join: exp.Join) -> bool:
    return not any(join.args.get(part) for part in ("on", "side", "kind", "method", "using"))


def is_in_join(query: exp.Expr) -> bool:
    """Return whether a subquery stands in ON."""
    around = query.find_ancestor(exp.Join, exp.Select, exp.SetOperation)
    return isinstance(around, exp.Join)
