"""Work on an event loop of its own, in a thread, so that the server's goes on answering."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

# Work that is ended gets this long to put its things away.
GRACE_SECONDS = 5.0


async def apart(work: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Do work in a thread of its own.

    Raises TimeoutError where it takes longer: after `seconds` it is cancelled, and soon after no longer waited for.
    """
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()
    cancel: list[Callable[[], object]] = []

    async def within_time() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        cancel.append(lambda: loop.call_soon_threadsafe(task.cancel) if task else None)
        async with asyncio.timeout(seconds):
            return await work()

    def run() -> None:
        try:
            result.set_result(asyncio.run(within_time()))
        except BaseException as problem:  # it is the caller's
            result.set_exception(problem)

    # No executor's: those are waited for when the process ends, however long they take.
    threading.Thread(target=run, name="d365mcp-apart", daemon=True).start()
    waiting = asyncio.wrap_future(result)
    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to ask
    try:
        await asyncio.wait({waiting}, timeout=seconds + GRACE_SECONDS)
    except asyncio.CancelledError:
        for each in cancel:
            each()
        await asyncio.wait({waiting}, timeout=GRACE_SECONDS)
        raise
    if not waiting.done():
        raise TimeoutError
    return waiting.result()
