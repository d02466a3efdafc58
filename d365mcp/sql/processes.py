"""DuckDB's processes: started late, used again, ended hard, no more at work at once than the operator allows."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import d365mcp
from d365mcp.errors import Busy, InvalidArgument, NotReady
from d365mcp.events import current_operation
from d365mcp.settings import Settings, interpreter_environment
from d365mcp.sql.child.fences import MB, TOO_LARGE
from d365mcp.sql.child.frames import Frame, receive_frame, send_frame

_LEAST_MEMORY_MB = 160  # DuckDB takes 75 before it does anything
# A statement is not begun with less than this left of its request's time.
_LEAST_SECONDS = 2.0
_RESET_SECONDS = 2.0
# So long a process that has closed its pipes may take to say how it ended.
_ENDING_SECONDS = 5.0
# An idle process that holds more than this share of its memory is ended: all of it comes back at once.
_KEPT_SHARE = 0.45
# Of a process's memory, what DuckDB may count as its own. The rest is for code, and for what DuckDB does not count.
_DUCKDB_SHARE = 4 / 7
# Memory for a page stays for the next one: to get it from the kernel anew takes a sixth of the time. Others pass it over.
# https://man7.org/linux/man-pages/man3/mallopt.3.html
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 * MB), "MALLOC_TRIM_THRESHOLD_": str(32 * MB)}
_NO_PROCESS = "SQL needs a process of its own, which could not be started here"
_ENDED = "The database process ended before it answered."

# Beside these two folders it sees the standard library alone: no site, no user's code.
_START = (
    "import sys; sys.path += sys.argv[1:3]; from d365mcp.sql.child.main import serve; serve(*map(int, sys.argv[3:]))"
)


@dataclass(frozen=True)
class ProcessLimits:
    """How many statements are at work at once, and how much memory each may take."""

    concurrency: int = 2
    memory_mb: int = 448

    @classmethod
    def of(cls, settings: Settings) -> "ProcessLimits":
        """Share the instance's memory among its workers, and each worker's among the statements at work."""
        statements = settings.host.worker_processes * settings.sql_concurrency
        return cls(settings.sql_concurrency, max(_LEAST_MEMORY_MB, settings.sql_memory_mb // statements))


class DatabaseProcess:
    """One process, which one thread talks to, while another sends what comes ahead. A call that is cancelled ends it: nobody
    knows what it is doing."""

    def __init__(self, limits: ProcessLimits) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="duckdb")
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="duckdb-pages")
        self._sending = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_idle = False
        self.memory_mb = limits.memory_mb
        self.seconds = 0.0  # at work for the statement at hand
        self.page_bytes = 0
        self.ahead: dict[int | None, int] = {}  # bytes it has of pages that are still to be loaded
        self.ended = False

    async def call(self, work: str, body: bytes = b"", /, **head: Any) -> Frame:
        """Do one piece of work. Raises InvalidArgument where memory ran out, NotReady where the process is gone."""
        if self.ended:
            raise self._gone()
        loop = asyncio.get_running_loop()
        try:
            frame = await loop.run_in_executor(self._thread, self._exchange, {"work": work, **head}, body)
        except asyncio.CancelledError:
            self.end()
            raise
        if frame is None:
            raise self._gone()
        return frame

    async def send(self, work: str, body: bytes = b"", /, **head: Any) -> None:
        """Send what has no answer, also while a call waits for its own. Raises what `call` raises."""
        if self.ended:
            raise self._gone()
        self._is_idle = False
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._sender, self._sent, {"work": work, **head}, body)
        except (OSError, ValueError):  # the pipe broke, or is closed
            if not self.ended:
                await loop.run_in_executor(self._thread, self._reap)
            raise self._gone() from None
        self.page_bytes += len(body)

    def send_later(self, work: str, **head: Any) -> None:
        """Send what has no answer, without waiting for it."""
        if not self.ended:
            self._sender.submit(self._sent, {"work": work, **head}, b"")

    @property
    def is_alive(self) -> bool:
        return not self.ended and (self._process is None or self._process.poll() is None)

    def begin(self) -> None:
        """Start the process, without waiting for it. Where that fails, the first call says so."""
        self._thread.submit(self._start)

    def _exchange(self, head: dict[str, Any], body: bytes) -> Frame | None:
        """Send a frame and return the answer, None where the process is gone. Blocks."""
        began = time.perf_counter()
        frame = self._once(head, body)
        if frame is None and self._is_idle and self._process and self._process.returncode != TOO_LARGE:
            self._process = None  # it had ended while it waited: another takes its place
            frame = self._once(head, body)
        self._is_idle = head["work"] == "reset"
        self.seconds += time.perf_counter() - began
        self.page_bytes += len(body)
        return frame

    def _once(self, head: dict[str, Any], body: bytes) -> Frame | None:
        frame = None
        with suppress(OSError, ValueError):
            frame = receive_frame(self._sent(head, body).stdout)  # type: ignore[arg-type]
        if frame is None:
            self._reap()
        return frame

    def _sent(self, head: dict[str, Any], body: bytes) -> subprocess.Popen[bytes]:
        """Send a frame, and return the process that has it. Blocks."""
        with self._sending:
            process = self._start()
            send_frame(process.stdin, head, body)  # type: ignore[arg-type]
        return process

    def _start(self) -> subprocess.Popen[bytes]:
        with self._sending:
            if self.ended:
                raise BrokenPipeError
            self._process = process = self._process or self._started()
        if self.ended:  # meanwhile
            process.kill()
        return process

    def _started(self) -> subprocess.Popen[bytes]:
        found = find_spec("_duckdb")
        if found is None or not found.origin or not sys.executable:
            raise NotReady(f"{_NO_PROCESS}: DuckDB is not installed.")
        folders = [str(Path(d365mcp.__file__).parents[1]), str(Path(found.origin).parent)]
        memory = [str(self.memory_mb), str(int(self.memory_mb * _DUCKDB_SHARE))]
        try:
            return subprocess.Popen(  # noqa: S603 - this Python and our own words
                [sys.executable, "-I", "-S", "-c", _START, *folders, *memory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # it may quote records
                cwd=Path(sys.executable).anchor,
                env=interpreter_environment() | _MALLOC,
            )
        except OSError as problem:
            raise NotReady(f"{_NO_PROCESS}: {problem.strerror}.") from problem

    def _gone(self) -> Exception:
        status = self._process.returncode if self._process else None
        self.end()
        return out_of_memory(self.memory_mb) if status == TOO_LARGE else NotReady(_ENDED, hint="Ask again.")

    def end(self) -> None:
        """End the process at once, without waiting for it."""
        if not self.ended:
            self.ended = True
            if self._process:
                self._process.kill()
            self._thread.submit(self._reap)
            self._thread.shutdown(wait=False)
            self._sender.shutdown(wait=False)

    def _reap(self) -> None:
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING_SECONDS)
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]


def out_of_memory(memory_mb: int) -> InvalidArgument:
    advice = "Select fewer columns, filter more, or aggregate in a subquery first."
    return InvalidArgument(f"This statement needs more than the {memory_mb} MB it may use. {advice}")


class DatabaseProcesses:
    """A process for each statement at work; an idle one is kept for the next."""

    def __init__(self, limits: ProcessLimits) -> None:
        self.limits = limits
        self._places = asyncio.Semaphore(limits.concurrency)
        self._idle: list[DatabaseProcess] = []
        self._returning: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def process(self) -> AsyncIterator[DatabaseProcess]:
        """Give a process to one statement. Raises Busy where none is free in time."""
        await self._take_place()
        try:
            process = await self._idle_one() or DatabaseProcess(self.limits)
        except BaseException:  # a cancellation too has to give the place back
            self._places.release()
            raise
        try:
            yield process
        finally:
            # A caller does not wait for what the next one needs.
            returning = asyncio.create_task(self._put_back(process))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)

    def begin(self) -> None:
        """Start a process for a statement that is about to be planned, where none waits for it."""
        if not (self._idle or self._returning or self._places.locked()):
            process = DatabaseProcess(self.limits)
            process.begin()
            self._idle.append(process)

    async def _idle_one(self) -> DatabaseProcess | None:
        if not self._idle and self._returning:
            await asyncio.wait(self._returning, return_when=asyncio.FIRST_COMPLETED)
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                return process
            process.end()
        return None

    async def _take_place(self) -> None:
        operation = current_operation()
        try:
            async with asyncio.timeout(max(0, operation.remaining() - _LEAST_SECONDS) if operation else None):
                await self._places.acquire()
        except TimeoutError:
            number = self.limits.concurrency
            raise Busy(
                f"{number} statement{'s are' if number > 1 else ' is'} being answered, the most at once, and none ended in time.",
                hint="Ask again, or narrow the filters of your statements.",
            ) from None

    async def _put_back(self, process: DatabaseProcess) -> None:
        """Keep a process that is well and small, without anything of its statement."""
        try:
            if not self._idle and await self._is_fit(process) and not self._idle:
                self._idle.append(process)
            else:
                process.end()
        finally:
            self._places.release()

    async def _is_fit(self, process: DatabaseProcess) -> bool:
        try:
            async with asyncio.timeout(_RESET_SECONDS):
                head, _ = await process.call("reset")
                process.seconds, process.page_bytes = 0.0, 0
                process.ahead.clear()
        except (TimeoutError, NotReady, InvalidArgument):
            return False
        return bool(head.get("memory", sys.maxsize) < self.limits.memory_mb * _KEPT_SHARE * MB)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().end()
