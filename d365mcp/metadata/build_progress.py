"""Says in the shared storage how a build goes, keeps its claim, and saves its work for whoever has to go on with it."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from d365mcp.errors import StorageError
from d365mcp.metadata.store import CatalogStore, ClaimLost, Progress

log = logging.getLogger(__name__)

WRITE_SECONDS = 2.0
SAVE_SECONDS = 15.0

OnProgress = Callable[[str, int, int | None], None]  # stage, done, of how many


class Reporter:
    """Follows one build."""

    def __init__(self, store: CatalogStore, watch: OnProgress | None) -> None:
        self.store = store
        self.watch = watch
        self.progress = Progress("running", started_at=time.time())

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        self.progress = replace(self.progress, stage=stage, done=done, total=total)
        if self.watch:
            self.watch(stage, done, total)

    def begin(self, started_at: float) -> None:
        self.write(started_at=started_at)

    def left_out(self, what: str | None) -> None:
        self.progress = replace(self.progress, left_out=what)

    def finish(self, state: str, error: str | None) -> None:
        with suppress(StorageError):  # what was built serves all the same
            self.write(state=state, error=error)

    def write(self, **changes: Any) -> None:
        self.progress = replace(self.progress, updated_at=time.time(), **changes)
        self.store.write_progress(self.progress)

    @asynccontextmanager
    async def following(self, connection: sqlite3.Connection, work: Path) -> AsyncIterator[None]:
        """Write, claim and save now and then while the block asks F&O; when it ends, none of that is under way."""
        ended = asyncio.Event()
        task = asyncio.create_task(self.follow(connection, work.with_name("saved.sqlite"), ended))
        try:
            yield
        finally:
            ended.set()
            await task

    async def follow(self, connection: sqlite3.Connection, copy: Path, ended: asyncio.Event) -> None:
        saved_at = time.monotonic()
        while not await is_set(ended, WRITE_SECONDS):
            try:
                await asyncio.to_thread(self.renew)
                if time.monotonic() - saved_at > SAVE_SECONDS:
                    saved_at = time.monotonic()
                    connection.commit()
                    with closing(sqlite3.connect(copy)) as target:
                        connection.backup(target)
                    await asyncio.to_thread(self.store.keep_work, copy)
            except ClaimLost:
                return  # whatever this build would publish next raises it again
            except (StorageError, OSError, sqlite3.Error) as problem:
                log.warning("How the catalog's build goes could not be written: %s", problem)

    def renew(self) -> None:
        self.store.renew_claim()
        self.write()


async def is_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event so long; return whether it has come."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
