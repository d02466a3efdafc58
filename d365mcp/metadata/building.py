"""Builds the catalog when it is due: nightly, when asked for, and on where the last run stopped."""

import asyncio
import datetime
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from d365mcp.d365.client import D365Client
from d365mcp.errors import D365McpError
from d365mcp.events import CatalogRefreshed, Listener
from d365mcp.metadata.loader import Loader, Report
from d365mcp.metadata.snapshot import open_for_writing, read_fact
from d365mcp.metadata.store import CatalogStore, Pointer, Progress

# Progress goes to the shared storage no more often than this.
TELL_SECONDS = 2.0
UNFINISHED = ("running", "waiting")


@dataclass
class Builder:
    """Builds one environment's catalog. `seconds` is how long a run may take; the rest is for the next one."""

    store: CatalogStore
    client: D365Client
    languages: tuple[str, ...]
    emit: Listener
    seconds: float

    async def run_due(self, schedule: str, now: float | None = None) -> str:
        """Build if a build is due; returns what was done: idle, busy, waiting, built, unchanged or failed."""
        pointer, progress, asked_at = await asyncio.to_thread(self.state)
        unfinished = progress is not None and progress.state in UNFINISHED
        forced = progress is None or asked_at > progress.started_at
        if not (unfinished or forced or is_due(schedule, pointer, progress, now or time.time())):
            return "idle"
        return await self.run(fresh=not unfinished, forced=asked_at > (progress.started_at if progress else 0.0))

    def state(self) -> tuple[Pointer | None, Progress | None, float]:
        found = self.store.pointer()
        return found[0] if found else None, self.store.progress(), self.store.asked_at()

    async def run(self, *, fresh: bool, forced: bool, watch: Report | None = None) -> str:
        """Build, if nobody else does. `fresh` begins anew, `forced` builds although nothing has changed."""
        if not await asyncio.to_thread(self.store.claim):
            return "busy"
        began = time.monotonic()
        try:
            outcome = await self.build(fresh=fresh, forced=forced, watch=watch)
        except D365McpError as error:
            await asyncio.to_thread(self.end, "failed", error.message)
            self.told("failed", began, error.message)
            return "failed"
        finally:
            await asyncio.to_thread(self.store.release)
        if outcome in ("built", "unchanged"):
            self.told(outcome, began, None)
        return outcome

    async def build(self, *, fresh: bool, forced: bool, watch: Report | None) -> str:
        with tempfile.TemporaryDirectory(prefix="d365mcp-") as folder:
            path = Path(folder) / "work.sqlite"
            if not fresh:
                await asyncio.to_thread(self.store.take_work, path)
            before = await asyncio.to_thread(self.store.progress)
            started = time.time() if fresh or before is None else before.started_at
            await asyncio.to_thread(self.store.tell, Progress("running", started_at=started, updated_at=time.time()))
            connection = open_for_writing(path, self.store.environment_url)
            teller = Teller(self.store, started, watch)
            try:
                loader = Loader(connection, self.client, self.languages, teller, time.monotonic() + self.seconds)
                if await self.is_unchanged(loader) and not forced:
                    await asyncio.to_thread(self.end, "unchanged")
                    return "unchanged"
                finished = await loader.run()
                facts = {
                    "fingerprint": read_fact(connection, "fingerprint") or "",
                    "application_version": read_fact(connection, "application_version") or "",
                    "entities": int(read_fact(connection, "entities") or 0),
                }
                connection.commit()
            finally:
                await teller.rest()
                connection.close()
            if not finished:
                await asyncio.to_thread(self.store.keep_work, path)
                await asyncio.to_thread(self.end, "waiting")
                return "waiting"
            await asyncio.to_thread(self.store.publish, path, facts)
            await asyncio.to_thread(self.store.drop_work)
            await asyncio.to_thread(self.end, "done")
            return "built"

    async def is_unchanged(self, loader: Loader) -> bool:
        """Read the list of entities, and compare it and the version with what serves."""
        if not loader.is_done("entities"):
            await loader.load_entities()
            loader.connection.execute("INSERT OR REPLACE INTO facts VALUES ('done:entities', '1')")
        found = await asyncio.to_thread(self.store.pointer)
        return found is not None and found[0].fingerprint == read_fact(loader.connection, "fingerprint")

    def end(self, state: str, error: str | None = None) -> None:
        before = self.store.progress() or Progress(state, started_at=time.time())
        self.store.tell(replace(before, state=state, error=error, updated_at=time.time()))

    def told(self, outcome: str, began: float, error: str | None) -> None:
        took = (time.monotonic() - began) * 1000
        kind = outcome if outcome in ("built", "unchanged") else "failed"
        self.emit(CatalogRefreshed(self.store.environment_url, kind, took, error=error))  # type: ignore[arg-type]


class Teller:
    """Tells a build's progress to the shared storage, now and then, and renews the builder's claim."""

    def __init__(
        self, store: CatalogStore, started: float, watch: Callable[[str, int, int | None], None] | None
    ) -> None:
        self.store = store
        self.started = started
        self.watch = watch
        self.last = 0.0
        self.task: asyncio.Task[None] | None = None

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if self.watch:
            self.watch(stage, done, total)
        if time.monotonic() - self.last > TELL_SECONDS and (self.task is None or self.task.done()):
            self.last = time.monotonic()
            progress = Progress("running", stage, done, total, self.started, time.time())
            self.task = asyncio.create_task(asyncio.to_thread(self.tell, progress))

    def tell(self, progress: Progress) -> None:
        self.store.tell(progress)
        self.store.claim()

    async def rest(self) -> None:
        """Wait for what is being told."""
        if self.task:
            await asyncio.gather(self.task, return_exceptions=True)


def is_due(schedule: str, pointer: Pointer | None, progress: Progress | None, now: float) -> bool:
    """Return whether the nightly hour (`HH:MM`, UTC) has passed since the last build began."""
    if pointer is None and (progress is None or now - progress.updated_at > 3600):
        return True
    today = datetime.datetime.fromtimestamp(now, datetime.UTC)
    try:
        hour, minute = (int(part) for part in schedule.split(":"))
    except ValueError:
        return False
    last = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if last > today:
        last -= datetime.timedelta(days=1)
    return progress is None or progress.started_at < last.timestamp()
