"""Runs a planned statement: its scans are fetched, its database answers it."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial

from d365mcp.d365.client import D365Client
from d365mcp.errors import D365Error, DeadlineExceeded, InvalidAnswer
from d365mcp.events import current_operation
from d365mcp.metadata.snapshot import Snapshot
from d365mcp.sql.answers import Limits, StatementAnswer
from d365mcp.sql.catalog_tables import CatalogFetch
from d365mcp.sql.companies import (
    CompaniesAsked,
    TableReading,
    must_name_default,
    reading_of,
    refuse_mixture,
    refuse_unread,
)
from d365mcp.sql.database import Database, Rows
from d365mcp.sql.dates import empty_dates
from d365mcp.sql.fetching import Fetch
from d365mcp.sql.partners import Partners
from d365mcp.sql.plan import StatementPlan
from d365mcp.sql.reading import Share
from d365mcp.sql.statement import is_catalog_table

# The answer itself needs so much of the request's time.
_SPARE_SECONDS = 0.5
# A statement that waits longer for F&O is answered with what would have saved most.
_COSTLY_SECONDS = 5.0
_TOO_LONG = "The statement took too long: filter more rows out, or aggregate fewer."


async def run(
    plan: StatementPlan, database: Database, client: D365Client, limits: Limits, snapshot: Snapshot | None = None
) -> StatementAnswer:
    """Fetch what the plan's scans need and answer it. The answer is never over partial data unless that is allowed.

    Raises InvalidArgument when a table is too large, DeadlineExceeded when time runs out; both name what would help.
    """
    answer, operation = StatementAnswer(columns=plan.headings), current_operation()
    asked_ms = operation.d365_ms if operation else 0.0
    readings = await _readings_of(plan, client, limits.asked)
    share, partners = Share(limits.places), Partners(database, plan.scans)
    enough = partial(_has_enough, plan, database) if plan.ends_early else None
    fetches = [
        CatalogFetch(database, snapshot, answer, scan)
        if is_catalog_table(scan.entity.entity_set)
        else Fetch(database, client, limits, share, answer, scan, readings[scan.name], partners, enough)
        for scan in plan.scans
    ]
    try:
        async with asyncio.TaskGroup() as tables:
            for fetch in fetches:
                tables.create_task(_fetched(fetch, partners))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    answer.rows = await _within_time(database, plan)
    if plan.limit is not None and answer.rows.count < plan.limit and await fetches[0].run_without_top():
        answer.rows = await _within_time(database, plan)
    readings = await _with_default(readings, {fetch.scan.name: fetch.companies for fetch in fetches}, client)
    answer.seconds["d365"] = round((operation.d365_ms - asked_ms) / 1000, 3) if operation else 0.0
    if answer.seconds["d365"] > _COSTLY_SECONDS:
        max(fetches, key=lambda fetch: fetch.table.rows).advise(answer.seconds["d365"])
    answer.companies, answer.company = _companies_read(readings.values()), _only_company(readings.values())
    found = [*await _date_notes(plan, database), *_company_notes(plan, readings, limits.asked), *answer.notes]
    answer.notes = list(dict.fromkeys(found))
    return answer


async def _fetched(fetch: Fetch | CatalogFetch, partners: Partners) -> None:
    await fetch.run()
    partners.settle(fetch.scan, is_whole=True)


async def _has_enough(plan: StatementPlan, database: Database) -> bool:
    """Return whether the records that were read yield all rows that the statement wants."""
    found = await database.query(f"SELECT count(*) FROM ({plan.sql})")  # noqa: S608 - the statement itself
    return bool(found.rows) and int(found.rows[0][0]) >= (plan.limit or 0)


async def _readings_of(plan: StatementPlan, client: D365Client, asked: CompaniesAsked) -> dict[str, TableReading]:
    """Return how each scan is read, the default company named where that matters. Raises InvalidArgument, NotAllowed."""

    def read() -> dict[str, TableReading]:
        return {
            scan.name: reading_of(scan.entity, scan.filter, scan.company_use, scan.partners, asked)
            for scan in plan.scans
        }

    readings = read()
    if must_name_default(list(readings.values()), asked.bound):
        asked = replace(asked, default=(await client.session()).company.lower())
        readings = read()
        refuse_unread(list(readings.values()), asked.default)
        refuse_mixture(list(readings.values()))
    return readings


async def _with_default(
    readings: Mapping[str, TableReading], companies: Mapping[str, set[str]], client: D365Client
) -> dict[str, TableReading]:
    """Return the readings with the default company that the records name, or F&O. Raises InvalidAnswer where it changed."""
    found = set[str]().union(*companies.values())
    if len(found) > 1:
        names = " and ".join(sorted(found))
        raise InvalidAnswer(
            f"The default company changed while the statement was read: it is {names}.", hint="Ask again."
        )
    if not found and any(reading.is_open for reading in readings.values()):
        with suppress(D365Error):  # then the answer says no more than that it is the default one
            found = {(await client.session(fresh=True)).company.lower()}
    if not found:
        return dict(readings)
    return {
        name: replace(reading, scope=replace(reading.scope, companies=frozenset(found))) if reading.is_open else reading
        for name, reading in readings.items()
    }


def _companies_read(readings: Iterable[TableReading]) -> dict[str, str]:
    """Return whose records each entity set is read from."""
    found: dict[str, dict[str, None]] = {}
    for reading in readings:
        if reading.entity.has_company:
            found.setdefault(reading.entity.entity_set, {})[reading.companies] = None
    return {entity_set: "; ".join(companies) for entity_set, companies in found.items()}


def _only_company(readings: Iterable[TableReading]) -> str:
    """Return the company that all entity sets are read from, where there is just one."""
    every = {reading.scope.company for reading in readings if reading.entity.has_company}
    return (every.pop() or "") if len(every) == 1 else ""


def _company_notes(plan: StatementPlan, readings: Mapping[str, TableReading], asked: CompaniesAsked) -> list[str]:
    """Return what a reader should know of the companies that were read."""
    names = {name: reading.entity.entity_set for name, reading in readings.items()}
    shared = dict.fromkeys(names[name] for name, reading in readings.items() if reading.is_shared)
    found = [f"{names[name]}: {note}" for name, reading in readings.items() for note in reading.scope.notes]
    if asked.company and shared:
        found.append(f"{', '.join(shared)}: shared by all companies, company had no effect")
    for name, reading in readings.items():
        if reading.scope.is_default and reading.use.used:
            read = f"every dataAreaId is {reading.companies}, the default company; cross_company reads all"
            found.append(f"{names[name]}: {read}")
    for one, other in plan.apart:
        first, second = readings[one].scope, readings[other].scope
        if first.company is None or first.company != second.company:
            found.append(
                f"{names[one]} and {names[other]} are joined without dataAreaId: records of different companies may be "
                "joined; say that their dataAreaId is equal"
            )
    return found


async def _date_notes(plan: StatementPlan, database: Database) -> list[str]:
    """Return a line for each date that is only bounded from above and that some record has not."""
    if not plan.open_dates:
        return []
    found = await database.query(empty_dates(plan.open_dates))
    text = "{0}: no date counts as 1900-01-01; add {0} IS NOT NULL to leave such records out"
    return [text.format(name) for (name,) in sorted(found.rows)]


async def _within_time(database: Database, plan: StatementPlan) -> Rows:
    """Answer the statement within what is left of the request's time."""
    operation = current_operation()
    seconds = max(_SPARE_SECONDS, operation.remaining() - _SPARE_SECONDS) if operation else None
    try:
        async with asyncio.timeout(seconds):
            return await database.query(plan.sql, plan.days)
    except TimeoutError:
        raise DeadlineExceeded(_TOO_LONG) from None
