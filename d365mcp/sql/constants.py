"""Which expressions of a statement are constants that may be evaluated beforehand. Pure."""

from collections.abc import Iterator

from sqlglot import exp

DIALECT = "duckdb"
CLOCKS = (exp.CurrentDate, exp.CurrentTimestamp, exp.Localtimestamp)
CLOCK_NAMES = ("now", "get_current_timestamp", "transaction_timestamp")
# What makes one value of the values within it, and the same one however often it is asked in a statement: no aggregates, no
# chance, nothing that makes rows. What is not named here is for DuckDB alone.
STEADY = (
    *CLOCKS, exp.Literal, exp.Boolean, exp.Null, exp.Paren, exp.Neg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod,
    exp.Cast, exp.TryCast, exp.DataType, exp.DataTypeParam, exp.Interval, exp.IntervalSpan, exp.Var, exp.Lower, exp.Upper,
    exp.Trim, exp.DPipe, exp.Concat, exp.Length, exp.Substring, exp.StrPosition, exp.Left, exp.Right, exp.Replace, exp.Year,
    exp.Month, exp.Day, exp.Quarter, exp.Extract, exp.TimestampTrunc, exp.DateTrunc, exp.LastDay, exp.DateAdd, exp.DateSub,
    exp.DateDiff, exp.DateFromParts, exp.Date, exp.StrToTime, exp.TimeToStr, exp.Abs, exp.Round, exp.Floor, exp.Ceil, exp.Coalesce,
    exp.Nullif, exp.Case, exp.If, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.And, exp.Or, exp.Not, exp.Is,
)  # fmt: skip


def constants_of(tree: exp.Expr) -> Iterator[str]:
    """Yield the SQL of each constant expression that is more than a literal, the outermost of those within another."""
    for node in tree.walk(
        prune=lambda node: _is_constant(node) or isinstance(node, exp.Limit | exp.Offset | exp.Order)
    ):
        if _is_constant(node) and not _is_plain(node):
            yield node.sql(DIALECT)


def _is_plain(node: exp.Expr) -> bool:
    """Return whether a constant can be read as it stands."""
    if isinstance(node, exp.Cast) and node.to.is_type("date", "timestamp"):
        return isinstance(node.this, exp.Literal)
    node = node.this if isinstance(node, exp.Neg) else node
    return isinstance(node, exp.Literal | exp.Boolean | exp.Null | exp.Interval)


def _is_constant(node: exp.Expr) -> bool:
    """Return whether an expression is made of what is known to be steady, and of no column."""
    if not isinstance(node, exp.Condition | exp.Func | exp.Paren) or isinstance(node, exp.DataType | exp.Var):
        return False
    return all(type(each) in STEADY for each in node.walk())
