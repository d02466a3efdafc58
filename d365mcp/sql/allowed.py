"""What a statement may be made of: its parts, operators, types and functions, by name. All else is refused. Pure.

DuckDB's own word is that SQL is code: https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview. A list
of what may not be called is never complete, so this is one of what may.
"""

from sqlglot import exp

from d365mcp.errors import InvalidArgument

_MAX_SCANS = 16
_MAX_NODES = 8_000
_MAX_TEXT_CHARS = 4_000


def _named(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


_FUNCTIONS = _named(
    # aggregates
    "count count_if countif sum avg mean min max min_by max_by arg_min arg_max argmin argmax any_value arbitrary first last"
    " median mode quantile quantile_cont quantile_disc percentile_cont percentile_disc approx_count_distinct approx_quantile"
    " stddev stddev_pop stddev_samp variance var_pop var_samp corr covar_pop covar_samp regr_slope regr_intercept regr_r2"
    " skewness kurtosis mad geomean favg bool_and bool_or logical_and logical_or string_agg group_concat listagg product"
    " fsum kahan_sum sumkahan grouping grouping_id list array_agg",
    # windows
    "row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value",
    # dates
    "current_date current_timestamp localtimestamp now today get_current_timestamp transaction_timestamp date_part datepart"
    " extract date_trunc datetrunc timestamp_trunc date_diff datediff date_sub datesub date_add age make_date make_timestamp"
    " date_from_parts timestamp_from_parts last_day year quarter month week weekday weekofyear week_of_year day dayofmonth"
    " day_of_month dayofweek day_of_week dayofweek_iso isodow dayofyear day_of_year isoyear yearweek hour minute second epoch"
    " epoch_ms monthname dayname strftime strptime try_strptime str_to_time time_to_str time_bucket to_timestamp to_days"
    " to_months to_years to_weeks to_hours to_minutes to_seconds to_quarters date timestamp era decade century millennium"
    " julian time_to_unix ts_or_ds_to_date unix_to_time date_bin",
    # text
    "lower upper lcase ucase trim ltrim rtrim length len char_length character_length strlen left right substr substring"
    " replace translate concat concat_ws contains starts_with startswith prefix ends_with endswith suffix strpos instr"
    " str_position position reverse split_part string_split str_split split regexp_matches regexp_like regexp_replace"
    " regexp_extract regexp_full_match like_escape ilike_escape not_like_escape levenshtein jarowinkler_similarity"
    " damerau_levenshtein strip_accents ascii chr unicode ord md5",
    # numbers
    "abs round ceil ceiling floor trunc sign mod power pow sqrt cbrt exp ln log log2 log10 greatest least isnan isinf"
    " isfinite is_nan is_inf even fdiv fmod divide add subtract multiply pi random rand",
    # conditions
    "case if coalesce nullif ifnull cast try_cast try exists and or xor typeof collate",
    # lists, as an aggregate makes them
    "array_to_string list_contains array_contains list_distinct array_distinct list_sort array_sort list_reverse_sort"
    " list_unique array",
)
_PARTS = _named(
    # statements
    "Select Union Except Intersect Subquery With CTE Table TableAlias Alias Column Identifier Star From Join Where Group"
    " Having Qualify Order Ordered Limit Offset Fetch Distinct Values Lateral Cube Rollup GroupingSets Window WindowSpec Filter"
    " WithinGroup IgnoreNulls RespectNulls",
    # operators
    " Paren Tuple Neg Not Add Sub Mul Div IntDiv Mod DPipe EQ NEQ GT GTE LT LTE NullSafeEQ NullSafeNEQ Is Between In Like ILike"
    " SimilarTo Glob Escape Any All Collate AtTimeZone Overlaps BitwiseAnd BitwiseOr BitwiseXor BitwiseNot",
    # values
    " Literal Boolean Null Interval IntervalSpan Var DataType DataTypeParam Array",
)
_TYPES = _named(
    "BOOLEAN TINYINT SMALLINT INT BIGINT INT128 UTINYINT USMALLINT UINT UBIGINT UINT128 DECIMAL FLOAT DOUBLE DATE TIME TIMETZ"
    " TIMESTAMP TIMESTAMPTZ TIMESTAMPNTZ TIMESTAMPLTZ TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS DATETIME DATETIME2 SMALLDATETIME"
    " INTERVAL YEAR MONTH DAY HOUR MINUTE SECOND CHAR VARCHAR NVARCHAR NCHAR TEXT NAME UUID USERDEFINED UNKNOWN",
)
# What people write who come from F&O's own database.
OTHER_DIALECTS = (
    "This is DuckDB's SQL: LIMIT 5, not TOP 5; coalesce, not ISNULL; strftime(d, '%Y-%m'), not FORMAT; "
    'd + INTERVAL 1 DAY, not DATEADD; "Name", not [Name].'
)
# Functions of other databases, and what to write instead.
_FOREIGN = {
    **dict.fromkeys(("dateadd", "add_months"), "d + INTERVAL 7 DAY"),
    **dict.fromkeys(("getdate", "sysdatetime", "getutcdate", "sysdate", "curdate"), "current_date"),
    **dict.fromkeys(("datename",), "monthname(d) or dayname(d)"),
    **dict.fromkeys(("date_format", "to_char", "formatdatetime"), "strftime(d, '%Y-%m')"),
    **dict.fromkeys(("convert", "try_convert"), "CAST(x AS DATE)"),
    **dict.fromkeys(("isnumeric", "to_number"), "TRY_CAST(x AS DOUBLE) IS NOT NULL"),
    "isnull": "coalesce(x, 0)",
    "nvl2": "CASE WHEN x IS NULL THEN a ELSE b END",
    "decode": "CASE x WHEN a THEN b ELSE c END",
    "eomonth": "last_day(d)",
    "to_date": "strptime(x, '%d.%m.%Y')::DATE",
    "datefromparts": "make_date(2026, 7, 14)",
    **dict.fromkeys(("patindex", "charindex"), "strpos(x, 'a')"),
    "replicate": "the text itself",
    "months_between": "date_diff('month', a, b)",
    "square": "x * x",
    "newid": "the key of the entity",
}
# Functions of DuckDB's that make rows, long texts or chance, and what to write instead.
_REFUSED = {
    **dict.fromkeys(
        ("generate_series", "range"), "Join the entity that has the dates, or group by date_trunc('month', d)."
    ),
    **dict.fromkeys(("unnest", "explode"), "Join the entity that has the rows: F&O's columns hold no lists."),
    **dict.fromkeys(("uuid", "setseed"), "random() is a number between 0 and 1."),
    "lpad": "Write right('000' || x, 3).",
    "rpad": "Write left(x || '   ', 3).",
    **dict.fromkeys(("pad", "repeat", "space", "bar"), "Write the text itself."),
    **dict.fromkeys(("format", "printf", "number_to_str"), "Write x || ' of ' || y, or round(x, 2)."),
    **dict.fromkeys(("query", "query_table"), "Write the SELECT itself."),
    "histogram": "Write count(*) with GROUP BY.",
}
_FUNCTION_HINT = "Aggregates, windows, and functions of dates, text and numbers are run. " + OTHER_DIALECTS
_PART_WORDS = {
    "TableSample": "SAMPLE",
    "Pivot": "PIVOT",
    "Unnest": "UNNEST",
    "Lambda": "A lambda",
    "Struct": "A struct",
    "Bracket": "An element of a list",
    "Slice": "A part of a list",
    "Map": "A map",
    "Comprehension": "A list comprehension",
}
_PART_HINTS = {
    "Pivot": "Write sum(x) FILTER (WHERE …) for each column.",
    "TableSample": "Write ORDER BY a column, and LIMIT.",
    "Unnest": "Join the entity that has the rows: F&O's columns hold no lists.",
}
_UNITS = ("year", "month", "day", "quarter", "week")
_UNITS_IN_QUOTES = ("datepart", "date_part", "datetrunc", "date_trunc", "date_diff", "datesub", "date_sub")


def refuse_others(tree: exp.Query) -> None:
    """Raise InvalidArgument for what a statement may not be made of, with what to write instead."""
    nodes = scans = 0
    for node in tree.walk():
        nodes, scans = nodes + 1, scans + isinstance(node, exp.Table)
        if nodes > _MAX_NODES or scans > _MAX_SCANS:
            raise InvalidArgument(
                f"The statement is too large: {_MAX_SCANS} tables and {_MAX_NODES:,} parts are the most.",
                hint="Ask in several statements.",
            )
        if isinstance(node, exp.Literal) and len(node.this) > _MAX_TEXT_CHARS:
            raise InvalidArgument(f"A text in the statement is longer than {_MAX_TEXT_CHARS:,} characters.")
        if isinstance(node, exp.DataType):
            _refuse_type(node)
        elif isinstance(node, exp.Func):
            _refuse_function(node)
        elif type(node).__name__ not in _PARTS:
            _refuse_part(node)


def _refuse_function(node: exp.Func) -> None:
    names = _names(node)
    written = names[0]
    if written in _FOREIGN and isinstance(node, exp.Anonymous | exp.ToChar):
        raise InvalidArgument(f"DuckDB has no {written.upper()}: write {_FOREIGN[written]}.", hint=OTHER_DIALECTS)
    if written in _UNITS_IN_QUOTES and isinstance(node, exp.Anonymous) and (unit := _bare_unit(node)):
        raise InvalidArgument(f"The unit stands in quotes: write {written}('{unit}', …).")
    if _FUNCTIONS.isdisjoint(names):
        hint = next((_REFUSED[name] for name in names if name in _REFUSED), _FUNCTION_HINT)
        raise InvalidArgument(f"The function {written} is not run here.", hint=hint)


def _names(node: exp.Func) -> list[str]:
    """Return the names of a function: the parser knows many by a class, whose names are one function's."""
    if isinstance(node, exp.Anonymous):
        return [str(node.name).lower()]
    return [str(name).lower() for name in type(node).sql_names()]


def _bare_unit(node: exp.Anonymous) -> str:
    first = node.expressions[0] if node.expressions else None
    unit = first.name.lower() if isinstance(first, exp.Column) and not first.table else ""
    return unit if unit in _UNITS else ""


def _refuse_type(node: exp.DataType) -> None:
    if node.this == exp.DataType.Type.USERDEFINED:
        raise InvalidArgument(f"There is no type {node.sql()[:40]}: write CAST(x AS DATE), not CONVERT(DATE, x).")
    if isinstance(node.this, exp.DataType.Type) and node.this.name not in _TYPES:
        raise InvalidArgument(
            f"The type {node.sql('duckdb')[:40]} is not used here.",
            hint="Write VARCHAR, DOUBLE, DECIMAL(18, 2) or DATE.",
        )


def _refuse_part(node: exp.Expr) -> None:
    name = type(node).__name__
    text = node.sql("duckdb")[:60]
    raise InvalidArgument(
        f"{_PART_WORDS.get(name, name.upper())} is not run here: {text}", hint=_PART_HINTS.get(name, OTHER_DIALECTS)
    )
