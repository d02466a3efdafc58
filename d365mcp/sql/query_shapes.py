"""What the form of a query does with its rows: groups, windows, limits, recursion. Pure."""

from sqlglot import exp


def is_recursive(query: exp.Expr) -> bool:
    around = query.find_ancestor(exp.With)
    return around is not None and bool(around.args.get("recursive"))


def is_lateral(query: exp.Expr) -> bool:
    """Return whether a query in FROM sees the tables before it."""
    node = query.parent
    return isinstance(node, exp.Subquery) and isinstance(node.parent, exp.Lateral)


def is_aggregate(query: exp.Query) -> bool:
    """Return whether a SELECT makes groups of its rows, by GROUP BY or by an aggregate alone."""
    having = query.args.get("having")
    parts = [*query.selects, *([having] if having is not None else [])]
    return bool(query.args.get("group")) or any(
        not _is_windowed(each) for part in parts for each in part.find_all(exp.AggFunc)
    )


def _is_windowed(node: exp.Expr) -> bool:
    """Return whether an aggregate has a window of its own."""
    while isinstance(node.parent, exp.Filter | exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup):
        node = node.parent
    return isinstance(node.parent, exp.Window) and node.arg_key == "this"


def is_rolled_up(query: exp.Expr) -> bool:
    group = query.args.get("group")
    return group is not None and any(group.args.get(part) for part in ("rollup", "cube", "grouping_sets"))


def bounded(query: exp.Expr) -> bool:
    """Return whether a query keeps some rows by their number or their place: others must not be left out before."""
    node: exp.Expr | None = query
    while node is not None:
        distinct = node.args.get("distinct")
        if any(node.args.get(part) for part in ("limit", "offset", "fetch", "sample")):
            return True
        if isinstance(distinct, exp.Distinct) and distinct.args.get("on"):
            return True
        node = node.parent if isinstance(node.parent, exp.Subquery) else None
    return False
