"""Many wait for one piece of work: the first to come begins it, all who come meanwhile join. Knows nothing of the work.

The term is that of https://pkg.go.dev/golang.org/x/sync/singleflight. `SingleFlight` is for coroutines, `shared_property`
for threads.
"""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from contextvars import Context
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

Work = Callable[[], Coroutine[Any, Any, T]]


class _OutOfTime(TimeoutError):
    """A flight has used up its own time."""


def _anything(result: object) -> bool:
    return True


class SingleFlight(Generic[T]):
    """One flight for each key. Where a result depends on who asks, the key has to say who.

    A flight belongs to nobody: it runs in an empty context, so that no caller's deadline or identity is in it, and has
    `seconds` of its own. After them the one that began it gets TimeoutError; one that joined, and has time left, begins another.
    Who gives up leaves; the work goes on. A result is kept for `keep` seconds, of the `most` keys used last. A failure
    goes to those who wait for it, and is forgotten.
    """

    def __init__(self, seconds: float, *, keep: float = 0.0, most: int = 1) -> None:
        self.seconds = seconds
        self.keep = keep
        self.most = most
        self._flights: dict[Hashable, asyncio.Task[T]] = {}
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()

    async def get(self, key: Hashable, work: Work[T], usable: Callable[[T], bool] = _anything) -> T:
        """Return what is kept, what is under way, or what `work` comes to.

        A result that is not `usable` does not serve this caller, who then begins a flight; what that one brings does.
        """
        while True:
            if self.is_kept(key) and usable(kept := self._kept[key][1]):
                return kept
            flight = self.under_way(key)
            if flight is None:
                return await asyncio.shield(self.begin(key, work))
            with suppress(_OutOfTime):
                if usable(result := await asyncio.shield(flight)):
                    return result

    def begin(self, key: Hashable, work: Work[T]) -> "asyncio.Task[T]":
        """Return the flight under way, or begin one; for who does not wait, or not for long. Never cancel it."""
        flight = self.under_way(key)
        if flight is None:
            flight = asyncio.get_running_loop().create_task(self._fly(key, work), context=Context())
            flight.add_done_callback(_retrieve)
            self._flights[key] = flight
        return flight

    def under_way(self, key: Hashable) -> "asyncio.Task[T] | None":
        """Return the flight of this event loop's that has not ended."""
        flight = self._flights.get(key)
        if flight is None or flight.done() or flight.get_loop() is not asyncio.get_running_loop():
            return None
        return flight

    def is_kept(self, key: Hashable) -> bool:
        """Return whether there is a result, and make it the one used last; forget it where its time is over."""
        if key not in self._kept:
            return False
        if time.monotonic() >= self._kept[key][0]:
            del self._kept[key]
            return False
        self._kept.move_to_end(key)
        return True

    def kept(self, key: Hashable) -> T | None:
        """Return the result that is kept, or None."""
        return self._kept[key][1] if self.is_kept(key) else None

    def results(self) -> list[T]:
        """Return all results that are kept."""
        return [self._kept[key][1] for key in list(self._kept) if self.is_kept(key)]

    def forget(self, key: Hashable) -> None:
        """Let the next caller begin anew. A flight under way is not ended."""
        self._kept.pop(key, None)

    def __len__(self) -> int:
        return len(self._kept)

    async def _fly(self, key: Hashable, work: Work[T]) -> T:
        own = asyncio.current_task()
        try:
            try:
                async with asyncio.timeout(self.seconds) as limit:
                    result = await work()
            except TimeoutError as problem:
                raise _OutOfTime if limit.expired() else problem from None
            if self.keep:
                self._kept[key] = time.monotonic() + self.keep, result
                self._kept.move_to_end(key)
                while len(self._kept) > self.most:
                    self._kept.popitem(last=False)
            return result
        finally:
            # Here, not in a callback: who asks in the same turn of the loop must not get a failure that is over.
            if self._flights.get(key) is own:
                del self._flights[key]


def _retrieve(flight: "asyncio.Task[Any]") -> None:
    """Look at a failure: where all who waited have left, nobody else does, and asyncio would complain."""
    if not flight.cancelled():
        flight.exception()


class shared_property(Generic[T]):
    """An attribute that is built when first read, once for all threads: functools.cached_property has no lock since 3.12."""

    def __init__(self, build: Callable[[Any], T]) -> None:
        self.build = build
        self.lock = threading.RLock()
        self.__doc__ = build.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "shared_property[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "shared_property[T] | T":
        if instance is None:
            return self
        with self.lock:  # once it is there, the instance's own attribute is found before this one
            if self.name not in instance.__dict__:
                instance.__dict__[self.name] = self.build(instance)
            value: T = instance.__dict__[self.name]
            return value
