"""F&O's throttling, heeded by all: many instances in one process whose clock runs as fast as nothing happens."""

import asyncio
import json
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from d365mcp.d365.shared_throttling import SharedThrottling
from d365mcp.d365.throttling import LEAST_PAUSE_SECONDS, Throttling, Wait
from d365mcp.errors import StorageError, Throttled
from d365mcp.storage import Blob, FolderStorage

PATIENCE = 20.0
SECONDS = 90.0
CHANCE = random.Random()  # noqa: S311 - not for secrets
ENVIRONMENT = "https://contoso.operations.dynamics.com"


class Clock(asyncio.SelectorEventLoop):
    """An event loop that does not wait: its clock goes on to whatever is due next."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]  # asyncio has no other way
        if not ready and scheduled:
            self.now = max(self.now, scheduled[0].when())
        super()._run_once()  # type: ignore[misc]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.time)
    monkeypatch.setattr(random, "uniform", CHANCE.uniform)  # the same jitter every time
    CHANCE.seed(7)
    yield made
    made.close()


@dataclass
class Fleet:
    """Instances that share what they meet as by a record that each reads once a second, and an F&O that bears so much."""

    at_once: int
    retry_after: float
    seconds: float = 0.5
    heeding: bool = True
    at_work: int = 0
    refused: int = 0
    failed: int = 0
    answered: Counter[int] = field(default_factory=Counter)
    record: tuple[int, Wait] | None = None
    instances: list[Throttling] = field(default_factory=list)

    async def exchange(self) -> None:
        await asyncio.sleep(CHANCE.uniform(0.01, 0.03))
        if self.at_work >= self.at_once:
            self.refused += 1
            raise Throttled("busy", retry_after=self.retry_after)
        self.at_work += 1
        await asyncio.sleep(self.seconds * CHANCE.uniform(0.7, 1.3))
        self.at_work -= 1

    async def send(self, instance: Throttling) -> None:
        end = time.monotonic() + PATIENCE
        for number in (1, 2, 3):
            try:
                if not self.heeding:
                    return await self.exchange()
                async with instance.admission(end):
                    return await self.exchange()
            except Throttled as problem:
                wait = problem.retry_after or 0.0
                if number == 3 or time.monotonic() + wait >= end:
                    raise
            await asyncio.sleep(wait)
        return None

    async def call(self, number: int, instance: Throttling, until: float) -> None:
        while time.monotonic() < until:
            try:
                await self.send(instance)
                self.answered[number] += time.monotonic() < until
            except Throttled:
                self.failed += 1
                await asyncio.sleep(0.1)

    async def run(self, callers: list[int], seconds: float) -> None:
        until = time.monotonic() + seconds
        self.instances = self.instances or [Throttling(PATIENCE, Reader(self, n)) for n in range(len(callers))]
        calling = [self.call(n, self.instances[n], until) for n, count in enumerate(callers) for _ in range(count)]
        await asyncio.gather(*calling)


@dataclass
class Reader:
    fleet: Fleet
    number: int
    due: float = 0.0
    last: Wait | None = None

    def heard(self) -> Wait | None:
        if time.monotonic() < self.due or self.fleet.record is None:
            return None
        self.due = time.monotonic() + 1
        by, wait = self.fleet.record
        if by == self.number or wait == self.last:
            return None
        self.last = wait
        return wait

    def announce(self, wait: float) -> None:
        self.fleet.record = (self.number, Wait(wait, time.monotonic()))


@pytest.mark.parametrize(
    ("retry_after", "callers"), [(1, [16] * 4), (5, [16] * 4), (30, [16] * 4), (1, [40, 8, 8, 8])], ids=str
)
def test_four_instances_take_what_f_and_o_bears_and_hardly_more(
    clock: Clock, retry_after: int, callers: list[int]
) -> None:
    before, now = (Fleet(20, retry_after, heeding=heeding) for heeding in (False, True))
    for fleet in (before, now):
        clock.run_until_complete(fleet.run(callers, SECONDS))
    assert now.refused <= before.refused / 10
    best = 20 / 0.52 * SECONDS
    assert now.answered.total() >= best * 0.9
    shares = [now.answered[n] / best / (count / sum(callers)) for n, count in enumerate(callers)]
    assert min(shares) > 0.25  # none of them starves
    assert now.failed <= before.failed / 10


def test_an_f_and_o_that_takes_nothing_is_asked_rarely(clock: Clock) -> None:
    before, now = (Fleet(0, 5, heeding=heeding) for heeding in (False, True))
    for fleet in (before, now):
        clock.run_until_complete(fleet.run([16] * 4, SECONDS))
    assert now.refused <= before.refused / 7


def test_once_it_is_over_nothing_is_held_back(clock: Clock) -> None:
    fleet = Fleet(20, 1)
    clock.run_until_complete(fleet.run([16] * 4, 30))
    fleet.at_once, fleet.refused = 1000, 0
    fleet.answered.clear()
    clock.run_until_complete(fleet.run([16] * 4, 30))
    assert (fleet.refused, fleet.answered.total() > 64 / 0.52 * 30 * 0.8) == (0, True)


def throttled(instance: Throttling, wait: float) -> None:
    instance.met(Throttled("busy", retry_after=wait))


def timed(clock: Clock, work: Callable[[], Awaitable[Any]]) -> float:
    async def run() -> None:
        await work()

    began = clock.time()
    clock.run_until_complete(run())
    return clock.time() - began


async def one(instance: Throttling, patience: float = PATIENCE) -> None:
    async with instance.admission(time.monotonic() + patience):
        pass


def test_nothing_goes_out_while_f_and_o_bears_nothing(clock: Clock) -> None:
    instance = Throttling(PATIENCE)
    throttled(instance, 7)
    assert 7 <= timed(clock, lambda: one(instance)) <= 7.8
    assert timed(clock, lambda: one(instance)) == 0


@pytest.mark.parametrize(("wait", "patience"), [(7, 2), (60, PATIENCE), (1e300, PATIENCE), (0, PATIENCE)])
def test_a_wait_that_no_call_can_wait_for_is_left_to_f_and_o_to_tell(
    clock: Clock, wait: float, patience: float
) -> None:
    instance = Throttling(PATIENCE)
    throttled(instance, wait)
    assert timed(clock, lambda: one(instance, patience)) == 0


def test_a_call_whose_turn_never_comes_gets_throttled_and_was_not_sent(clock: Clock) -> None:
    async def scenario(instance: Throttling) -> None:
        async with instance.admission(math.inf):
            for _ in range(40):
                throttled(instance, 1)
                await asyncio.sleep(0.5)

    async def crowd() -> None:
        instance = Throttling(PATIENCE)
        held = asyncio.create_task(scenario(instance))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(Throttled) as caught:
            await one(instance, 5)
        assert (caught.value.retryable, caught.value.retry_after) == (True, math.ceil(LEAST_PAUSE_SECONDS))
        assert "was not sent" in caught.value.message
        await held

    assert 20 <= timed(clock, crowd) < 21


def test_who_gives_up_gives_the_place_back(clock: Clock) -> None:
    async def crowd() -> None:
        instance = Throttling(PATIENCE)
        throttled(instance, 1)
        waiting = [asyncio.create_task(one(instance)) for _ in range(50)]
        await asyncio.sleep(0.5)
        for task in waiting[::2]:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (instance.in_flight, list(instance.waiting)) == (0, [])

    timed(clock, crowd)


# The record


class Kept(FolderStorage):
    """Counts what it is asked, and may refuse or hang."""

    refuses = False
    seconds = 0.0
    asked = 0

    def get(self, container: str, name: str, *, unless: str | None = None) -> Blob | None:
        self.asked += 1
        time.sleep(self.seconds)
        if self.refuses:
            raise StorageError("gone")
        return super().get(container, name, unless=unless)


@pytest.fixture
def storage(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def shared(storage: Kept, environment: str = ENVIRONMENT) -> SharedThrottling:
    return SharedThrottling(lambda: storage, environment)


def settled(instance: SharedThrottling) -> None:
    """Wait until it neither reads nor writes."""
    end = time.monotonic() + 60
    while instance.at_work and time.monotonic() < end:
        time.sleep(0.01)
    assert not instance.at_work


def heard(instance: SharedThrottling) -> Wait | None:
    """Let it look, and return what it hears."""
    settled(instance)
    instance.begin()
    settled(instance)
    return instance.heard()


def announced(storage: Kept, wait: float) -> None:
    instance = shared(storage)
    instance.announce(wait)
    settled(instance)


def test_what_one_instance_meets_another_hears_once(storage: Kept) -> None:
    before = time.monotonic()
    announced(storage, 9)
    other = shared(storage)
    found = heard(other)
    assert found is not None
    assert found.seconds == 9
    assert before - 0.1 < found.at <= time.monotonic()  # the record has the time of another clock
    assert heard(other) is None
    assert heard(shared(storage, "https://fabrikam.operations.dynamics.com")) is None


def record(storage: Kept, **changed: Any) -> None:
    written = {"environment": ENVIRONMENT, "at": time.time(), "wait": 9.0, **changed}
    [path] = storage.root.rglob("*.json")
    path.write_text(json.dumps(written))


ABSURD: list[dict[str, Any]] = [
    {"wait": 0}, {"wait": -5}, {"wait": 1e9}, {"wait": math.inf}, {"wait": math.nan}, {"wait": "soon"}, {"wait": None},
    {"at": None}, {"at": "now"}, {"at": math.nan}, {"at": 1e300}, {"environment": "https://fabrikam.operations.dynamics.com"},
    {"padding": "x" * 2000},
]  # fmt: skip


@pytest.mark.parametrize("changed", ABSURD, ids=str)
def test_an_absurd_record_is_ignored(storage: Kept, changed: dict[str, Any]) -> None:
    announced(storage, 9)
    record(storage, **changed)
    assert heard(shared(storage)) is None


def test_a_very_long_wait_does_not_keep_others_from_announcing_theirs(storage: Kept) -> None:
    announced(storage, 80_000)
    found = heard(shared(storage))
    assert found is not None
    assert found.seconds == 60


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b'{"at":', b"[" * 500])
def test_a_damaged_record_is_ignored(storage: Kept, data: bytes) -> None:
    announced(storage, 9)
    [path] = storage.root.rglob("*.json")
    path.write_bytes(data)
    instance = shared(storage)
    assert (heard(instance), instance.failed_until) == (None, 0.0)


def test_a_stale_record_holds_nothing_back(storage: Kept, clock: Clock) -> None:
    instance = Throttling(PATIENCE)
    throttled(instance, 9)
    instance.until = instance.until - 3600  # as if heard of an hour ago
    assert timed(clock, lambda: one(instance)) == 0


@pytest.mark.parametrize("skew", [-30.0, 30.0, 5000.0, -50.0])
def test_a_clock_that_is_wrong_moves_a_wait_by_no_more_than_the_time_between_looks(storage: Kept, skew: float) -> None:
    announced(storage, 9)
    reader = shared(storage)
    heard(reader)
    settled(reader)
    looked = reader.looked_at
    record(storage, at=time.time() + skew, wait=8.0)
    found = heard(reader)
    if abs(skew) > 60:
        assert found is None
    else:
        assert found is not None
        assert looked <= found.at <= time.monotonic()


def test_the_storage_is_asked_once_in_a_while_however_many_calls_go_out(storage: Kept) -> None:
    instance = shared(storage)
    began = time.monotonic()
    for _ in range(2000):
        instance.heard()
        time.sleep(0.0005)
    assert storage.asked <= 1 + (time.monotonic() - began) // 5


@pytest.mark.parametrize("trouble", [{"refuses": True}, {"seconds": 9.0}])
def test_a_storage_that_fails_or_hangs_keeps_no_call_waiting(storage: Kept, trouble: dict[str, Any]) -> None:
    vars(storage).update(trouble)
    instance = shared(storage)
    began = time.monotonic()
    for _ in range(200):
        assert instance.heard() is None
        instance.announce(5.0)
        time.sleep(0.002)
    assert time.monotonic() - began < 9
    assert storage.asked == 1
