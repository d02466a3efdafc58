"""Answers questions over many records: one SELECT over entity sets."""

import asyncio
import gc
import re
import time
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from d365mcp.d365.companies import CompanyBound
from d365mcp.d365.models import DataEntity
from d365mcp.errors import InvalidArgument, UnknownName
from d365mcp.events import current_operation
from d365mcp.tools.common import unknown_companies, with_enumerations, with_notes
from d365mcp.tools.parameters import Company, Format
from d365mcp.tools.results import row_chars, to_csv
from d365mcp.tools.suggestions import meaning_of
from d365mcp.tools.tool import ToolContext

if TYPE_CHECKING:
    from d365mcp.sql.answers import StatementAnswer
    from d365mcp.sql.unresolved import UnknownColumn

ENVELOPE_CHARS = 2_000
# Of the tables that an unknown column may be of, so many are looked at: each may take calls.
_MOST_EXPLAINED = 3
# How another tool reaches a related entity: a statement joins it.
_EXPANDED = re.compile(r" \(expand \w+\)")


class SqlResult(TypedDict, total=False):
    row_count: int
    left_out: int
    partial: bool
    company: str
    companies: dict[str, str]
    rows_scanned: dict[str, int]
    seconds: dict[str, float]
    notes: list[str]
    requests: list[str]
    records: list[dict[str, Any]]
    csv: str


async def query_sql(
    context: ToolContext,
    sql: Annotated[str, Field(description="SELECT c.CustomerGroupId, count(*) n FROM CustomersV3 c GROUP BY 1")],
    company: Company = None,
    cross_company: bool = False,
    max_rows_scanned: Annotated[int, Field(description="Per entity", ge=1, le=2_000_000)] = 200_000,
    allow_partial: Annotated[bool, Field(description="Answer over part of the rows")] = False,
    rows_as: Format = "records",
) -> SqlResult:
    """Total, count, rank and join records, such as revenue by customer or open invoices by vendor: one SELECT (DuckDB SQL)
    with entity sets as tables. Filter to keep it fast."""
    context.databases().begin()
    if not _import_planner.cache_info().currsize:  # sqlglot comes in with the first statement, off the event loop
        await asyncio.to_thread(_import_planner)
    from d365mcp.sql import answers, companies, database, plan, run, statement, unresolved

    if company and cross_company:
        raise InvalidArgument("Give either company or cross_company, not both.")
    tree = await statement.in_planner(statement.parse, sql)
    columns = statement.column_names(tree)
    entities = {name: await _entity_of(context, name, columns) for name in statement.table_names(tree)}
    reads_catalog = any(map(statement.is_catalog_table, entities))
    snapshot = await context.catalog.snapshots.current() if reads_catalog else None
    try:
        prepared = await statement.in_planner(plan.prepared, tree, entities)
    except unresolved.UnknownColumn as error:
        await _explain(context, error)
        raise
    asked = companies.CompaniesAsked(company, cross_company, CompanyBound(context.settings.companies))
    limits = answers.Limits(max_rows_scanned, allow_partial, asked, context.places())
    operation, began = current_operation(), time.perf_counter()
    async with context.databases().process() as process:
        waited = time.perf_counter() - began
        opened = database.Database(process, context.result_chars)
        values = await opened.values(prepared.constants)
        planned = await statement.in_planner(plan.plan, prepared, values)
        answer = await run.run(planned, opened, context.d365, limits, snapshot)
        answer.seconds["database"] = round(process.seconds, 3)
        if operation:
            operation.rows += answer.rows.count
            operation.measured |= {
                "sql_wait_ms": waited * 1000,
                "sql_run_ms": process.seconds * 1000,
                "sql_peak_mb": answer.rows.peak_bytes / 1_048_576,
                "sql_rows": sum(answer.rows_scanned.values()),
                "sql_page_bytes": process.page_bytes,
            }
    result = shaped(answer, rows_as, context.result_chars - ENVELOPE_CHARS)
    if company and not any(answer.rows_scanned.values()) and (notes := await unknown_companies(context, [company])):
        result["notes"] = [*result.get("notes", ()), *notes]
    return result


@cache
def _import_planner() -> None:
    """Import what plans and runs statements, once.

    It stays: left to the garbage collector, a look through all of it would keep the event loop for a tenth of a second.
    """
    from d365mcp.sql import catalog_tables, database, plan, run  # noqa: F401 - loaded here, used by query_sql

    gc.freeze()


async def _explain(context: ToolContext, error: "UnknownColumn") -> None:
    """Let an error name the columns that were meant, by label and meaning too."""
    found = {}
    for entity in error.entities[:_MOST_EXPLAINED]:
        if meaning := await meaning_of(context, entity, error.name):
            found[entity.entity_set] = _EXPANDED.sub("", meaning)
    if found:
        several = len(error.entities) > 1
        texts = [f"{entity_set}: {meaning}" if several else meaning for entity_set, meaning in found.items()]
        error.reword(" ".join([UnknownName("column", error.name, ()).message, *texts]))


async def _entity_of(context: ToolContext, name: str, columns: list[str]) -> DataEntity:
    """Return an entity with the enumerations the statement may compare, or one of the catalog's own tables."""
    from d365mcp.sql import catalog_tables, statement

    if statement.is_catalog_table(name):
        return catalog_tables.catalog_entity(name)
    entity = await context.catalog.entity(name)
    return await with_enumerations(context, entity, columns)


def shaped(answer: "StatementAnswer", format: Format, budget: int) -> SqlResult:
    """Return the answer cut to the budget in whole rows."""
    names = unique(answer.columns)
    result = SqlResult(row_count=answer.rows.count, rows_scanned=answer.rows_scanned, requests=answer.requests)
    result["seconds"] = answer.seconds
    if answer.companies:
        result["companies"] = answer.companies
    if answer.company:
        result["company"] = answer.company
    kept = []
    for row in answer.rows.rows:
        record = dict(zip(names, row, strict=True))
        budget -= row_chars(record, format)
        if budget < 0:
            break
        kept.append(record)
    result |= SqlResult(csv=to_csv(kept, names)) if format == "csv" else SqlResult(records=kept)
    notes = [*answer.notes]
    if left_out := answer.rows.count - len(kept):
        result["left_out"] = left_out
        notes.append("rows left out to keep the answer short: aggregate further, or add a LIMIT")
    if answer.rows.more:
        notes.append(f"only the first {answer.rows.count:,} rows are counted: aggregate further, or add a LIMIT")
    if answer.partial:
        result["partial"] = True
    return with_notes(result, notes)


def unique(names: tuple[str, ...]) -> list[str]:
    """Return the headings with repeated ones numbered, so that no column is lost in a record."""
    counts: dict[str, int] = {}
    result = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        result.append(name if counts[name] == 1 else f"{name}_{counts[name]}")
    return result
