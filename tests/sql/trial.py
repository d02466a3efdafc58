"""Asks one statement twice: of d365fo_query_sql's own rooms over the simulator, and of a DuckDB that holds every record.

The second has nothing pushed down, nothing left out and nothing of ours but the rules: text compares without case, an empty
date is 1900-01-01 where it is compared.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import duckdb
import httpx

from d365mcp.d365.client import Session
from d365mcp.d365.companies import CompanyBound
from d365mcp.d365.http import Receive
from d365mcp.d365.metadata_service import entity_from, enumeration_from
from d365mcp.d365.models import DataEntity
from d365mcp.d365.odata import QueryOptions
from d365mcp.errors import BadRequest, InvalidArgument
from d365mcp.sql.answers import Limits, StatementAnswer
from d365mcp.sql.companies import CompaniesAsked
from d365mcp.sql.database import Database
from d365mcp.sql.plan import Statement as Prepared
from d365mcp.sql.plan import plan, prepared
from d365mcp.sql.processes import DatabaseProcess, ProcessLimits
from d365mcp.sql.run import run
from d365mcp.sql.statement import parse, table_names
from tests.simulated import Simulator
from tests.sql.statements import Author, Statement

DEFAULT = "usmf"
TYPES = {
    "Edm.Decimal": "DECIMAL(38,6)",
    "Edm.Int32": "INTEGER",
    "Edm.Int64": "BIGINT",
    "Edm.Boolean": "BOOLEAN",
}
Rows = list[tuple[Any, ...]]


@dataclass
class Remembering:
    """The simulator as a client of F&O's that asks for each URL once."""

    http: httpx.Client
    answers: dict[str, httpx.Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def get(self, url: str) -> bytes:
        self.asked.append(url)
        if url not in self.answers:
            self.answers[url] = self.http.get(url)
        if self.answers[url].status_code == 400:
            raise BadRequest(self.answers[url].text)
        return self.answers[url].raise_for_status().content

    async def page_as_sent(self, entity_set: str, options: QueryOptions, receive: Receive) -> bytes:
        return self.get(f"/data/{entity_set}?{options.query_string()}")

    async def next_page_as_sent(self, link: str, path: str, receive: Receive) -> bytes:
        return self.get(link)

    async def session(self, *, fresh: bool = False) -> Session:
        return Session("Admin", DEFAULT, "en-us", is_admin=True)

    async def count(self, entity_set: str, options: QueryOptions) -> int:
        return int(self.get(f"/data/{entity_set}/$count?{options.query_string()}").decode("utf-8-sig"))


class Trial:
    """Both sides, over the entity sets of a running simulator."""

    def __init__(self, simulator: Simulator, entity_sets: Mapping[str, Sequence[str]]) -> None:
        self.http = simulator.client()
        self.client = Remembering(self.http)
        self.entities: dict[str, DataEntity] = {}
        self.oracle = duckdb.connect(":memory:")
        self.oracle.execute("SET default_collation = 'NOCASE'; SET TimeZone = 'UTC'")
        self.process = DatabaseProcess(ProcessLimits())
        self.loop = asyncio.Runner()
        self.pushed = 0  # statements of which something was pushed
        for entity_set, columns in entity_sets.items():
            self.add(entity_set, columns)

    def add(self, entity_set: str, columns: Sequence[str]) -> None:
        """Learn an entity, and load all of its records: these columns, or every one where none is named."""
        (schema,) = self.http.get(f"/metadata/PublicEntities?$filter=EntitySetName eq '{entity_set}'").json()["value"]
        entity = entity_from(schema)
        known = {}
        for name in {prop.enumeration for prop in entity.properties.values() if prop.enumeration}:
            known[name] = enumeration_from(self.http.get(f"/metadata/PublicEnumerations('{name}')").json())
        self.entities[entity_set] = replace(entity, enumerations=known)
        props = [prop for prop in entity.properties.values() if not columns or prop.name in columns]
        shape = ", ".join(f'"{prop.name}" {oracle_type(prop)}' for prop in props)
        self.oracle.execute(f'CREATE TABLE "all {entity_set}" ({shape})')
        found: list[dict[str, Any]] = []
        url = f"/data/{entity_set}?cross-company=true" + (f"&$select={','.join(columns)}" if columns else "")
        while url:
            page = json.loads(self.http.get(url).content, parse_float=Decimal)
            found += page["value"]
            url = page.get("@odata.nextLink", "")
        marks = ", ".join("?" for _ in props)
        rows = [[oracle_value(prop, record[prop.name]) for prop in props] for record in found]
        if rows:
            self.oracle.executemany(f'INSERT INTO "all {entity_set}" VALUES ({marks})', rows)

    def limit_to(self, company: str | None) -> None:
        """Let the oracle see the records of one company, or of all."""
        for name, entity in self.entities.items():
            where = f"WHERE dataAreaId = '{company}'" if company and entity.has_company else ""
            self.oracle.execute(f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM "all {name}" {where}')

    def expected(self, sql: str, company: str | None) -> Rows:
        self.limit_to(company)
        return as_set(self.oracle.execute(sql).fetchall())

    def answer(self, sql: str, *, company: str | None = None, cross_company: bool = False) -> StatementAnswer:
        """Ask as the tool does."""
        tree = parse(sql)
        entities = {name: self.entities[name] for name in table_names(tree)}
        statement = prepared(tree, entities)
        asked = CompaniesAsked(company, cross_company, CompanyBound())
        limits = Limits(200_000, allow_partial=False, asked=asked)
        return self.loop.run(self.answered(statement, limits))

    async def answered(self, statement: Prepared, limits: Limits) -> StatementAnswer:
        if self.process.ended:
            self.process = DatabaseProcess(ProcessLimits())
        database = Database(self.process)
        planned = plan(statement, await database.values(statement.constants))
        self.pushed += any(scan.filter for scan in planned.scans)
        return await run(planned, database, self.client, limits)  # type: ignore[arg-type]

    def close(self) -> None:
        self.process.end()
        self.loop.close()
        self.oracle.close()
        self.http.close()


def oracle_type(prop: Any) -> str:
    if prop.type_name == "Edm.DateTimeOffset":
        return "DATE" if prop.data_type == "Date" else "TIMESTAMP"
    return TYPES.get(prop.type_name, "VARCHAR")


def oracle_value(prop: Any, value: Any) -> Any:
    if prop.type_name == "Edm.DateTimeOffset":
        return value[:10] if prop.data_type == "Date" else value[:19]
    return value


def as_set(rows: Sequence[Sequence[Any]]) -> Rows:
    """Return rows so that they compare whatever their order and JSON's types."""
    return sorted((tuple(map(plain, row)) for row in rows), key=repr)


def plain(value: Any) -> Any:
    if isinstance(value, datetime.date):
        return None if value.year == 1900 else value.isoformat().replace("T", " ")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return f"{Decimal(str(value)).normalize():f}"
    text = str(value).casefold()  # of texts that are equal but for their case, either may be answered
    return text.removesuffix("z").replace("t", " ") if len(text) == 20 and text.endswith("z") else text


def judged(trial: Trial, statement: Statement) -> tuple[str, str]:
    """Return `ok`, `refused` or `wrong` for a statement, and what to know about the last."""
    try:
        answer = trial.answer(statement.sql, company=statement.company, cross_company=statement.cross_company)
    except InvalidArgument as refusal:
        known = refusal.message.endswith("the default company.") or "dataAreaId" in f"{refusal.message}{refusal.hint}"
        known |= "company says" in refusal.message
        return ("refused" if known else "wrong"), f"{refusal.message}\n{statement.sql}"
    company = statement.company.lower() if statement.company else None
    if not company and not statement.cross_company and not statement.names_company:
        company = DEFAULT
    companies = [company]
    if company is None and set(answer.companies.values()) == {DEFAULT}:
        companies.append(DEFAULT)  # what the statement says comes to that, or leaves it to the default
    rows = as_set(answer.rows.rows)
    for each in companies:
        expected = trial.expected(statement.oracle, each)
        if rows == expected if statement.limit is None else is_part(rows, expected, statement.limit):
            return "ok", ""
    missing, extra = [row for row in expected if row not in rows][:3], [row for row in rows if row not in expected][:3]
    found = f"{len(rows)} rows instead of {len(expected)}; missing {missing}, extra {extra}"
    return "wrong", f"{statement}\n{found}\n{answer.requests}\n{answer.companies}"


def is_part(rows: Rows, expected: Rows, limit: int) -> bool:
    return len(rows) == min(limit, len(expected)) and all(row in expected for row in rows)


def tried(trial: Trial, author: Author, statements: int) -> tuple[list[str], Counter[str]]:
    """Try so many statements; return what is wrong, and how many were what."""
    counts: Counter[str] = Counter()
    wrong = []
    before = trial.pushed
    for _ in range(statements):
        verdict, why = judged(trial, author.statement())
        counts[verdict] += 1
        if verdict == "wrong":
            wrong.append(why)
    counts["pushed"] = trial.pushed - before
    return wrong, counts
