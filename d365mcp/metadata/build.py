"""Builds the catalog when it is due: nightly, when asked for, and on where the last run stopped.

What serves is changed as soon as names and fields are in, and again with their labels.
"""

import asyncio
import datetime
import logging
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from d365mcp.d365.client import D365Client
from d365mcp.errors import D365Error, D365McpError, DeadlineExceeded, StorageError
from d365mcp.events import CatalogRefreshed, Listener
from d365mcp.metadata.build_progress import OnProgress, Reporter
from d365mcp.metadata.loader import Loader
from d365mcp.metadata.own_loop import apart
from d365mcp.metadata.snapshot import is_ours, open_for_writing, read_fact, write_fact
from d365mcp.metadata.store import WORK, CatalogStore, ClaimLost, Pointer, Progress
from d365mcp.storage import private_folder

log = logging.getLogger(__name__)

BuildOutcome = Literal["busy", "waiting", "built", "unchanged", "failed"]

UNFINISHED = ("running", "waiting", "failed")
STATES = {"waiting": "waiting", "built": "done", "unchanged": "unchanged", "failed": "failed"}  # by outcome
# Beyond its time a run may take this long: to write the index, and to publish.
SPARE_SECONDS = 60.0
RETRY_SECONDS = 3_600.0
# Older work is not gone on with: F&O may be another by now.
WORK_SECONDS = 86_400.0


@dataclass
class Builder:
    """Builds one environment's catalog. `seconds` is how long a run asks F&O; the rest is for the next one."""

    store: CatalogStore
    client: D365Client
    languages: tuple[str, ...]
    emit: Listener
    seconds: float
    spare: float = SPARE_SECONDS

    async def run_due(self, schedule: str, now: float | None = None) -> str:
        """Build if a build is due; returns what was done: idle, busy, waiting, built, unchanged or failed."""
        try:
            return await self.build_due(schedule, now or time.time())
        except StorageError as problem:
            log.error("The catalog could not be built: %s", problem)
            self.emit(CatalogRefreshed(self.store.environment_url, "failed", 0.0, error=problem.message))
            return "failed"

    async def build_due(self, schedule: str, now: float) -> str:
        pointer, progress, asked_at = await asyncio.to_thread(self.state)
        asked = asked_at > (progress.started_at if progress else 0.0)
        if not (asked or is_due(schedule, pointer, progress, now)):
            return "idle"
        is_unfinished = progress is None or progress.state in UNFINISHED
        return await self.run(fresh=asked or not is_unfinished, forced=asked)

    def state(self) -> tuple[Pointer | None, Progress | None, float]:
        found = self.store.pointer()
        return found[0] if found else None, self.store.progress(), self.store.asked_at()

    async def run(self, *, fresh: bool, forced: bool, watch: OnProgress | None = None) -> str:
        """Build, if nobody else does, and off this event loop: it goes on answering.

        `fresh` begins anew, `forced` builds although nothing has changed.
        """
        try:
            return await apart(lambda: self.run_here(fresh, forced, watch), self.seconds + self.spare)
        except TimeoutError:
            log.warning("The catalog's build took too long and was ended; the next run goes on.")
            return "waiting"

    async def run_here(self, fresh: bool, forced: bool, watch: OnProgress | None) -> BuildOutcome:
        if not self.store.claim():
            return "busy"
        began = time.monotonic()
        client, reporter = self.client.another(), Reporter(self.store, watch)
        run = Run(self.store, client, self.languages, reporter, began + self.seconds)
        try:
            outcome, error = await ended(run.build(fresh, forced))
            if outcome != "busy":
                reporter.finish(STATES[outcome], error)
        finally:
            await client.aclose()
            self.store.release()
        if outcome in ("built", "unchanged", "failed"):
            took = (time.monotonic() - began) * 1000
            self.emit(CatalogRefreshed(self.store.environment_url, outcome, took, error=error))
        return outcome


async def ended(work: Awaitable[BuildOutcome]) -> tuple[BuildOutcome, str | None]:
    """Return how a build ended, and why where it failed."""
    try:
        return await work, None
    except ClaimLost:
        return "busy", None
    except D365McpError as problem:
        return "failed", problem.message
    except (sqlite3.Error, OSError) as problem:  # damaged work, a full disk
        return "failed", f"The catalog's file cannot be written: {getattr(problem, 'strerror', None) or problem}."


@dataclass
class Run:
    """One run of a build. `until` is the time (monotonic) at which it stops asking F&O."""

    store: CatalogStore
    client: D365Client
    languages: tuple[str, ...]
    reporter: Reporter
    until: float

    async def build(self, fresh: bool, forced: bool) -> BuildOutcome:
        """Go on with what an earlier run left, or begin anew."""
        with workshop(self.store.folder) as folder:
            work = folder / WORK
            older = self.older_snapshots(work, fresh)
            with closing(open_for_writing(work, self.store.environment_url)) as connection:
                loader = Loader(connection, self.client, self.languages, self.reporter, self.until)
                began = begun_at(connection)
                if forced:  # and so are the runs that go on with it
                    loader.finish("comparison")
                    self.keep(connection, work)
                self.reporter.begin(began)
                try:
                    outcome = await self.fill(loader, work, older)
                except (D365Error, DeadlineExceeded):
                    self.keep(connection, work)
                    raise
                except sqlite3.Error:
                    self.store.drop_work()  # else the next run would fail as well
                    raise
                if outcome == "waiting":
                    self.keep(connection, work)
                else:
                    self.store.drop_work()
                return outcome

    def keep(self, connection: sqlite3.Connection, work: Path) -> None:
        connection.commit()
        self.store.keep_work(work)

    async def fill(self, loader: Loader, work: Path, older: Sequence[Path]) -> BuildOutcome:
        async with self.reporter.following(loader.connection, work):
            await loader.load_list()
            if not loader.is_done("comparison"):
                if self.is_unchanged(loader, older):
                    self.store.confirm()
                    return "unchanged"
                loader.finish("comparison")
            if not await loader.load_fields(older):
                return "waiting"
        for path in older:
            loader.take_over_labels(path)
        if loader.missing_labels() and not loader.is_done("publication"):
            self.publish(loader, work)
            loader.finish("publication")
        async with self.reporter.following(loader.connection, work):
            has_labels = await loader.load_labels()
        if has_labels or loader.added:
            self.publish(loader, work)
        self.reporter.left_out(loader.left_out())
        return "built" if has_labels else "waiting"

    def older_snapshots(self, work: Path, fresh: bool) -> list[Path]:
        """Return what labels can be taken over from: the snapshot that serves, and the work that is begun anew.

        Work that is gone on with stands in its place.
        """
        found = []
        self.store.take_work(work)
        if is_ours(work, self.store.environment_url) and (fresh or is_old(work)):
            found.append(work.rename(work.with_name("before.sqlite")))
        if pointer := self.store.pointer():
            with suppress(StorageError):
                found.append(self.store.fetch(pointer[0], work.parent))
        return [path for path in found if is_ours(path, self.store.environment_url)]

    def is_unchanged(self, loader: Loader, older: Sequence[Path]) -> bool:
        """Compare the list of entities and F&O's version with what serves: it could be fetched, and is whole."""
        found = self.store.pointer()
        if found is None or not found[0].is_whole or found[0].languages != ",".join(self.languages):
            return False
        if found[0].file not in [path.name for path in older]:
            return False
        return found[0].fingerprint == read_fact(loader.connection, "fingerprint")

    def publish(self, loader: Loader, work: Path) -> None:
        """Let all instances serve what there is so far."""
        loader.build_index()
        left_out = loader.left_out()
        self.reporter.left_out(left_out)  # while the labels are read, too
        facts = {name: read_fact(loader.connection, name) or "" for name in ("fingerprint", "application_version")}
        entities = int(read_fact(loader.connection, "entities") or 0)
        loader.connection.commit()
        languages = ",".join(self.languages)
        self.store.publish(work, {**facts, "entities": entities, "languages": languages, "is_whole": left_out is None})


@contextmanager
def workshop(environment: str) -> Iterator[Path]:
    """Make a folder to build in. What killed builds left there goes."""
    place = private_folder("build", environment)
    for left in place.iterdir():
        if time.time() - left.stat().st_mtime > WORK_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    # What is still open cannot be deleted on Windows: it is among what is left the next time.
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def begun_at(connection: sqlite3.Connection) -> float:
    """Return when a snapshot's build began, which is now for a new one."""
    if (found := read_fact(connection, "begun_at")) is None:
        found = str(time.time())
        write_fact(connection, "begun_at", found)
    return float(found)


def is_old(work: Path) -> bool:
    with closing(sqlite3.connect(work)) as connection:
        return time.time() - begun_at(connection) > WORK_SECONDS


def is_due(schedule: str, pointer: Pointer | None, progress: Progress | None, now: float) -> bool:
    """Return whether there is something to go on with, or the nightly hour (`HH:MM`, UTC) has passed since the last build."""
    if progress is None or progress.state in ("running", "waiting"):
        return True
    if (pointer is None or progress.state == "failed") and now - progress.updated_at > RETRY_SECONDS:
        return True
    today = datetime.datetime.fromtimestamp(now, datetime.UTC)
    hour, minute = (int(part) for part in schedule.split(":"))
    last = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if last > today:
        last -= datetime.timedelta(days=1)
    return progress.started_at < last.timestamp()
