"""Asks statements of a stand-in for F&O: the server's own rooms, from the plan to HTTP, in one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from d365mcp.d365.auth import TokenSource
from d365mcp.d365.client import D365Client
from d365mcp.d365.companies import CompanyBound
from d365mcp.d365.http import D365Http
from d365mcp.events import Operation, Trace, working_on
from d365mcp.settings import read_settings
from d365mcp.sql.answers import Limits, StatementAnswer
from d365mcp.sql.companies import CompaniesAsked
from d365mcp.sql.database import Database
from d365mcp.sql.plan import plan, prepared
from d365mcp.sql.processes import DatabaseProcess, ProcessLimits
from d365mcp.sql.run import run
from d365mcp.sql.scans import ReadingPace
from d365mcp.sql.statement import parse
from tests.hosts.loopback import running
from tests.sql.standin import Standin

# A page is as short and quick as a test's: what takes a second in F&O takes two hundredths.
QUICK = ReadingPace(page_rows=100, count_after=0.01, least_seconds=0.05)


class Tokens(TokenSource):
    """Tokens that nobody has to issue."""

    async def token(self, operation: Operation | None = None, *, refused: str = "") -> str:
        return "token"


class Asking:
    """A stand-in, and what asks it."""

    def __init__(
        self, standin: Standin, address: str, process: DatabaseProcess, limits: Limits, seconds: float = 40.0
    ) -> None:
        self.standin = standin
        self.seconds = seconds
        self.limits = limits
        self._processes = [process]
        self._loop = asyncio.Runner()
        settings = read_settings({"D365FO_BASE_URL": address, "MCP_AUTH": "none"})
        self._client = self._loop.run(self._connected(D365Http(settings, Tokens(settings), lambda event: None)))
        self._entity = self._loop.run(self._client.public_entity_by_set("Items"))

    @staticmethod
    async def _connected(http: D365Http) -> D365Client:
        return D365Client(http)

    def ask(self, *statements: str) -> list[StatementAnswer]:
        """Ask statements at once, and return their answers."""
        while len(self._processes) < len(statements):
            self._processes.append(DatabaseProcess(ProcessLimits()))
        return self._loop.run(self._asked(statements))

    async def _asked(self, statements: tuple[str, ...]) -> list[StatementAnswer]:
        return [*await asyncio.gather(*map(self._one, statements, self._processes))]

    async def _one(self, sql: str, process: DatabaseProcess) -> StatementAnswer:
        with working_on(Operation(Trace.continued(None), time.monotonic() + self.seconds)):
            database = Database(process)
            statement = prepared(parse(sql), {"Items": self._entity})
            planned = plan(statement, await database.values(statement.constants))
            return await run(planned, database, self._client, self.limits)

    def close(self) -> None:
        for process in self._processes[1:]:
            process.end()
        self._loop.run(self._closed())
        self._loop.close()

    async def _closed(self) -> None:
        await self._client.aclose()
        await asyncio.sleep(0.01)  # in which the connections are closed


@contextmanager
def asking(standin: Standin, process: DatabaseProcess, **limits: object) -> Iterator[Asking]:
    """Serve a stand-in, and ask it."""
    given = Limits(2_000_000, allow_partial=False, asked=CompaniesAsked(None, False, CompanyBound()), pace=QUICK)
    with running(standin.app()) as address:
        asked = Asking(standin, address, process, replace(given, **limits))  # type: ignore[arg-type]
        try:
            yield asked
        finally:
            asked.close()
