"""Reads one SELECT, and refuses what is more than reading entity sets."""

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import ParseError, TokenError

from d365mcp.errors import InvalidArgument
from d365mcp.sql.allowed import OTHER_DIALECTS, refuse_others

T = TypeVar("T")

DIALECT = "duckdb"
CATALOG_SCHEMA = "metadata"
_MAX_SQL_CHARS = 20_000
_READ_ONE_SELECT = (
    "Give one SELECT over entity sets, for example: SELECT CustomerGroupId, count(*) FROM CustomersV3 GROUP BY 1"
)
WRITTEN = "written"  # how a column of the statement was written
_OPENING = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_CLOSING = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)
_TABLE_PARTS = frozenset({"this", "alias", "joins"})
# One statement after the other: the parser holds the GIL, and several at once would keep it from the event loop.
_PLANNER = ThreadPoolExecutor(1, thread_name_prefix="sql")


async def in_planner(work: Callable[..., T], *arguments: Any) -> T:
    """Do a piece of planning off the event loop. Raises InvalidArgument for a statement that is nested too deeply."""
    try:
        return await asyncio.get_running_loop().run_in_executor(_PLANNER, work, *arguments)
    except RecursionError:
        raise InvalidArgument("The statement is nested too deeply.", hint="Name its parts with WITH.") from None


def parse(sql: str) -> exp.Query:
    """Return the statement's tree. Raises InvalidArgument for anything but one SELECT without side doors."""
    if len(sql) > _MAX_SQL_CHARS:
        raise InvalidArgument(f"The statement has {len(sql)} characters; {_MAX_SQL_CHARS} is the most.")
    try:
        statements = [each for each in sqlglot.parse(sql, read=DIALECT) if each is not None]
    except (ParseError, TokenError, RecursionError) as problem:
        raise InvalidArgument(f"This is not SQL that can be read: {_complaint(problem)}", hint=OTHER_DIALECTS) from None
    if len(statements) != 1 or not isinstance(statements[0], exp.Select | exp.SetOperation):
        raise InvalidArgument(f"Only one SELECT is run here. {_READ_ONE_SELECT}")
    _keep_written(statements[0], sql)
    _name_catalog_tables(statements[0])
    _refuse_side_doors(statements[0])
    refuse_others(statements[0])
    _refuse_incomplete(statements[0])
    return statements[0]


def _keep_written(tree: exp.Query, sql: str) -> None:
    """Let the statement's columns know how they were written, where their text is found beyond doubt."""
    if all(isinstance(column, exp.Alias | exp.Column) for column in tree.selects):
        return
    for column, text in zip(tree.selects, _written_columns(sql), strict=False):
        with suppress(ParseError, TokenError):
            if not isinstance(column, exp.Alias | exp.Column) and _column_of(text) == column:
                column.meta[WRITTEN] = text


def _column_of(text: str) -> exp.Expr | None:
    """Return the one column of a SELECT of this text."""
    tree = sqlglot.parse_one(f"SELECT {text}", read=DIALECT)
    return tree.selects[0] if isinstance(tree, exp.Select) and len(tree.selects) == 1 else None


def _written_columns(sql: str) -> Iterator[str]:
    """Yield what stands between the commas of the outermost SELECT, each in one line."""
    depth, columns = 0, list[list[Token]]()
    for token in sqlglot.tokenize(sql, read=DIALECT):
        kind = token.token_type
        depth += (kind in _OPENING) - (kind in _CLOSING)
        if not columns:
            columns += [[]] if kind == TokenType.SELECT and not depth else []
        elif kind == TokenType.FROM and not depth:
            break
        elif kind == TokenType.COMMA and not depth:
            columns.append([])
        elif kind != TokenType.DISTINCT or columns[-1]:
            columns[-1].append(token)
    for tokens in columns:
        yield " ".join(sql[tokens[0].start : tokens[-1].end + 1].split()) if tokens else ""


def _name_catalog_tables(tree: exp.Query) -> None:
    """Let `metadata.entities` be one name, by which it is planned."""
    for column in tree.find_all(exp.Column):
        if column.text("db").casefold() == CATALOG_SCHEMA:
            column.set("db", None)
    for table in tree.find_all(exp.Table):
        if table.text("db").casefold() == CATALOG_SCHEMA and not table.args.get("catalog"):
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
            table.set("this", exp.to_identifier(f"{CATALOG_SCHEMA}.{table.name}", quoted=True))
            table.set("db", None)


def _refuse_side_doors(tree: exp.Query) -> None:
    """Raise InvalidArgument for what is more than reading entity sets."""
    for node in tree.walk():
        match node:
            case exp.Placeholder() | exp.Parameter():
                raise InvalidArgument("The statement has a parameter: write the value itself.")
            case exp.Into():
                raise InvalidArgument(f"Only one SELECT is run here. {_READ_ONE_SELECT}")
            case exp.DML() | exp.DDL() if not isinstance(node, exp.Query):
                raise InvalidArgument(f"Only one SELECT is run here. {_READ_ONE_SELECT}")
            case exp.Table():
                _refuse_odd_table(node)
            case exp.Columns() | exp.Pivot() | exp.TableSample():
                name = type(node).__name__.upper()
                raise InvalidArgument(f"{name} is not run here: name the columns, and filter with WHERE.")
            case exp.Lateral() if not isinstance(node.this, exp.Subquery):
                raise InvalidArgument(f"{node.sql(DIALECT)[:80]} is not run here: LATERAL takes a SELECT.")
            case exp.Select():
                _refuse_odd_joins(node)


def _refuse_incomplete(tree: exp.Query) -> None:
    """Raise InvalidArgument for what is read and cannot be written, such as a function without its arguments."""
    try:
        tree.sql(DIALECT)
    except RecursionError:
        raise
    except Exception:  # the generator stumbles in many ways over what is not there
        raise InvalidArgument(
            "A function in the statement has too few arguments, or some that it cannot have."
        ) from None


def _refuse_odd_table(table: exp.Table) -> None:
    if not isinstance(table.this, exp.Identifier):
        raise InvalidArgument(f"{table.sql(DIALECT)[:80]} is not an entity set: table functions are not run here.")
    if table.args.get("db") or table.args.get("catalog"):
        raise InvalidArgument(f"Write the entity set alone, without a schema: {table.name}.")
    alias = table.args.get("alias")
    if any(value and part not in _TABLE_PARTS for part, value in table.args.items()) or (alias and alias.columns):
        raise InvalidArgument(f"Write {table.name} with an alias alone: {table.sql(DIALECT)[:80]} is not run here.")


def _refuse_odd_joins(select: exp.Select) -> None:
    """Raise InvalidArgument for joins whose columns would not be those that were meant."""
    loose = False
    for join in select.args.get("joins") or ():
        if join.method == "POSITIONAL":
            raise InvalidArgument(
                "POSITIONAL JOIN is not run here: F&O's records have no places. Join them on columns."
            )
        named = bool(join.args.get("using")) or join.method == "NATURAL"
        if named and loose:
            raise InvalidArgument("After a RIGHT or FULL join, write ON with the columns that are equal, not USING.")
        loose |= join.side in ("RIGHT", "FULL")


def _complaint(problem: Exception) -> str:
    """Return a parser's complaint with its place, and without its own insides."""
    if not isinstance(problem, ParseError) or not problem.errors:
        return first_line(problem)
    found = problem.errors[0]
    reason = re.split(r" (?:for|but got) <", str(found["description"]))[0]
    return f"{reason}, at {found['highlight']} in line {found['line']}, column {found['col']}."[:300]


def first_line(problem: Exception) -> str:
    """Return a parser's complaint without its terminal colours."""
    text = str(problem).replace("\x1b[4m", "").replace("\x1b[0m", "").strip()
    return (text.splitlines() or ["it is nested too deeply"])[0][:300]


def is_catalog_table(name: str) -> bool:
    """Return whether a table is one of the catalog's own."""
    return name.startswith(f"{CATALOG_SCHEMA}.")


def table_names(tree: exp.Query) -> list[str]:
    """Return the entity names a statement reads from, each once; its own CTEs are not among them."""
    return list(dict.fromkeys(table.name for table in entity_tables(tree)))


def column_names(tree: exp.Query) -> list[str]:
    """Return the names of all columns a statement mentions, as it writes them."""
    return list(dict.fromkeys(column.name for column in tree.find_all(exp.Column)))


def entity_tables(tree: exp.Query) -> Iterator[exp.Table]:
    own = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    yield from (table for table in tree.find_all(exp.Table) if table.name.casefold() not in own)
