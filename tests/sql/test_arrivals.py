"""A page goes to the database process as it arrives, and is the same as one that came at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from d365mcp.sql.arrivals import ArrivedPage
from d365mcp.sql.child.pages import next_link
from d365mcp.sql.database import Database, Table
from d365mcp.sql.processes import DatabaseProcess, ProcessLimits
from d365mcp.sql.scans import edges

ROWS = 30_000
LINK = "https://contoso.operations.dynamics.com/data/Items?$skiptoken=1"
COLUMNS = [("Id", "BIGINT"), ("Name", "VARCHAR"), ("Amount", "DECIMAL(38,6)")]


def page(*, etags: bool = True) -> bytes:
    tag = '"@odata.etag":"W/\\"{0}\\"",' if etags else ""
    record = "{{" + tag + '"Id":{0},"Name":"Überlänge {0} \\"@odata.etag\\"","Amount":{0}.123456}}'
    records = ",".join(record.format(number) for number in range(ROWS))
    return f'{{"@odata.context":"x","value":[{records}],"@odata.nextLink":"{LINK}"}}'.encode()


async def in_pieces(body: bytes, size: int, *, breaks_off: bool = False) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
    if breaks_off:
        raise ConnectionResetError


def with_table(work: Any, limits: ProcessLimits | None = None) -> Any:
    async def worked() -> Any:
        process = DatabaseProcess(limits or ProcessLimits())
        try:
            return await work(process, Database(process), Database(process).table("t1", COLUMNS, 1_000_000))
        finally:
            process.end()

    return asyncio.run(worked())


async def totals(database: Database) -> tuple[Any, ...]:
    found = await database.query("SELECT count(*), sum(Id), sum(Amount), min(Name), count(DISTINCT Name) FROM t1")
    return found.rows[0]


@pytest.mark.parametrize("size", [1_000, 65_536, 700_001, 10_000_000])
def test_a_page_in_pieces_is_the_page(size: int) -> None:
    async def loaded(process: DatabaseProcess, database: Database, table: Table) -> None:
        body = page()
        arrival = table.arrival()
        rest = await arrival.receive(in_pieces(body, size))
        arrived = arrival.page(rest)
        assert len(arrived.outline) < 1_000_000 < len(body)
        assert arrived.records == ROWS
        assert edges(arrived.outline) == edges(body)
        assert next_link(arrived.outline) == next_link(body) == LINK
        assert await table.load(arrived) == ROWS
        assert not process.ahead and not table.unread
        in_parts = await totals(database)
        await table.clear()
        await table.load(ArrivedPage(body))
        assert await totals(database) == in_parts

    with_table(loaded)


def test_what_is_no_page_or_has_no_etags_stays_whole() -> None:
    async def received(process: DatabaseProcess, database: Database, table: Table) -> None:
        for body in (b"<html>" + bytes(2_000_000), page(etags=False)):
            arrival = table.arrival()
            assert await arrival.receive(in_pieces(body, 65_536)) == body
            assert not process.ahead

    with_table(received)


def test_an_attempt_that_broke_off_leaves_nothing() -> None:
    async def received(process: DatabaseProcess, database: Database, table: Table) -> None:
        arrival = table.arrival()
        with pytest.raises(ConnectionResetError):
            await arrival.receive(in_pieces(page(), 65_536, breaks_off=True))
        assert not process.ahead
        assert await table.load(arrival.page(await arrival.receive(in_pieces(page(), 65_536)))) == ROWS

    with_table(received)


def test_what_the_process_has_no_room_for_waits_in_the_server() -> None:
    async def received(process: DatabaseProcess, database: Database, table: Table) -> None:
        body, pages = page(), []
        for _ in range(24):
            arrival = table.arrival()
            pages.append(arrival.page(await arrival.receive(in_pieces(body, 65_536))))
        assert sum(process.ahead.values()) < 320 / 7 * 1_048_576
        assert max(len(each.rest) for each in pages) > 1_000_000
        assert await table.load(pages[0]) == await table.load(pages[-1]) == ROWS
        table.drop_arrived()
        assert not process.ahead

    with_table(received, ProcessLimits(1, 320))


def test_a_process_that_is_gone_is_named() -> None:
    async def received(process: DatabaseProcess, database: Database, table: Table) -> None:
        await process.call("reset")
        assert process._process
        process._process.kill()
        process._process.wait()
        with pytest.raises(Exception, match="ended before it answered"):
            await table.arrival().receive(in_pieces(page(), 65_536))

    with_table(received)
