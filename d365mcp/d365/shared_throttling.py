"""The record by which instances tell each other that an environment throttles: one small blob for each environment.

A thread of its own reads and writes it. So no call waits for the storage or fails with it, and the process's end does not
wait for it either. Without storage, or while it does not answer, each instance goes by what it meets itself.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from d365mcp.d365.throttling import Wait
from d365mcp.storage import STATE, Storage, folder_of
from d365mcp.wire import read_json, write_json

# A read costs money: one in so many seconds, and only while calls are sent.
_CALM_SECONDS = 5.0
# While the environment throttles, and for a while after.
_THROTTLED_SECONDS = 1.0
_ALERT_SECONDS = 60.0
# After the storage has failed it is left alone for so long.
_FAILED_SECONDS = 30.0
# A wait is not worth a write where one that is announced already ends almost as late.
_NEWS_SECONDS = 0.5
# F&O asks for no longer wait, and no two instances' clocks are further apart.
_LONGEST_WAIT = 86_400.0
_LONGEST_SKEW = 60.0
# A longer wait is shared as this one: no call waits that long, and shorter ones that come meanwhile must count.
_LONGEST_SHARED = 60.0
_MAX_BYTES = 1_000


class SharedThrottling:
    """One environment's record. `heard` and `announce` are called on the event loop, and return at once."""

    def __init__(self, open_storage: Callable[[], Storage], environment_url: str) -> None:
        self.open_storage = open_storage
        self.environment_url = environment_url
        self.name = f"throttling/{folder_of(environment_url)}.json"
        self.at_work = False
        self.due = 0.0
        self.failed_until = 0.0
        self.etag: str | None = None
        self.looked_at = -math.inf
        self.unsent: SimpleQueue[Wait] = SimpleQueue()
        self.announced_until = -math.inf
        self.heard_until = -math.inf
        self.news: Wait | None = None

    def heard(self) -> Wait | None:
        """Return the newest wait another was asked for, where it is not returned yet; look for a newer one in time."""
        if time.monotonic() >= self.due or not self.unsent.empty():
            self.begin()
        if self.news is None:
            return None
        news, self.news = self.news, None
        return news

    def announce(self, wait: float) -> None:
        """Let others know of a wait that begins now."""
        now, wait = time.monotonic(), min(wait, _LONGEST_SHARED)
        if now + wait > max(self.announced_until, self.heard_until) + _NEWS_SECONDS:
            self.announced_until = now + wait
            self.unsent.put(Wait(wait, now))
            self.begin()

    def begin(self) -> None:
        if not self.at_work and time.monotonic() >= self.failed_until:
            self.at_work = True
            try:
                threading.Thread(target=self.work, name="throttling", daemon=True).start()
            except RuntimeError:  # no thread is free: calls need it more
                self.at_work = False

    def work(self) -> None:
        """Read the record, and write it where there is something to announce."""
        try:
            self.exchange(self.open_storage())
        except Exception:  # no caller could catch it; the catalog and `check` say what is wrong
            self.failed_until = time.monotonic() + _FAILED_SECONDS
            _newest(self.unsent)
        finally:
            is_calm = time.monotonic() > max(self.announced_until, self.heard_until) + _ALERT_SECONDS
            self.due = time.monotonic() + (_CALM_SECONDS if is_calm else _THROTTLED_SECONDS)
            self.at_work = False

    def exchange(self, storage: Storage) -> None:
        self.read(storage)
        while own := _newest(self.unsent):
            if own.until > self.heard_until:
                self.etag = storage.put(STATE, self.name, self.record(own))
            time.sleep(_THROTTLED_SECONDS)
            self.read(storage)

    def read(self, storage: Storage) -> None:
        asked_at = time.monotonic()
        blob = storage.get(STATE, self.name, unless=self.etag)
        last, self.looked_at = self.looked_at, asked_at
        if blob is not None:
            self.etag = blob.etag
            if found := self.wait_in(blob.data, newest_at=time.monotonic(), oldest_at=last):
                self.heard_until, self.news = found.until, found

    def record(self, own: Wait) -> bytes:
        at = time.time() - (time.monotonic() - own.at)
        return write_json({"environment": self.environment_url, "at": round(at, 3), "wait": own.seconds})

    def wait_in(self, data: bytes, *, newest_at: float, oldest_at: float) -> Wait | None:
        """Return the wait a record has, None where it makes no sense.

        The writer's clock says when it began. Ours may differ: it began after we looked last, since it was not there then.
        """
        try:
            found = read_json(data[:_MAX_BYTES])
            age, seconds = time.time() - found["at"], float(found["wait"])
            is_ours = found["environment"] == self.environment_url
        except (ValueError, TypeError, KeyError, IndexError):
            return None
        if not (is_ours and 0 < seconds <= _LONGEST_WAIT and -_LONGEST_SKEW < age < _LONGEST_WAIT):
            return None
        return Wait(min(seconds, _LONGEST_SHARED), max(oldest_at, newest_at - max(age, 0.0)))


def _newest(queue: SimpleQueue[Wait]) -> Wait | None:
    """Take all there is, and return the last."""
    found = None
    with suppress(Empty):
        while True:
            found = queue.get_nowait()
    return found
