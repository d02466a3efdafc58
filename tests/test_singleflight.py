"""Many wait for one piece of work: it belongs to nobody, and what becomes of it concerns those alone who wait."""

import asyncio
import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from d365mcp import singleflight
from d365mcp.singleflight import SingleFlight, shared_property

KEY = "key"
asked_by: ContextVar[str] = ContextVar("asked_by", default="nobody")


class Work:
    """A piece of work that says who began it, ends when it is let go, and counts how often it was done."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.begun = 0
        self.ended = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> str:
        self.begun += 1
        number = self.begun
        await self.gate.wait()
        self.ended += 1
        if self.failures:
            raise self.failures.pop(0)
        return f"result {number} for {asked_by.get()}"


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario in which nothing may be complained of: no task left, no failure that nobody looked at."""
    complaints: list[Any] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await scenario()
        await asyncio.sleep(0)
        gc.collect()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(watched())
    assert complaints == []


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_many_who_come_while_it_is_under_way_share_one_piece_of_work() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work()
        waiting = [asyncio.create_task(flights.get(KEY, work)) for _ in range(50)]
        await settle()
        work.gate.set()
        assert {await each for each in waiting} == {"result 1 for nobody"}
        assert (work.begun, len(flights)) == (1, 0)
        assert await flights.get(KEY, work) == "result 2 for nobody"  # nothing was to be kept

    run(scenario)


def test_each_key_has_a_flight_of_its_own() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work()
        work.gate.set()
        await asyncio.gather(*(flights.get(("user", n % 7), work) for n in range(70)))
        assert work.begun == 7

    run(scenario)


def test_the_work_has_nothing_of_the_caller_who_began_it() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work()
        asked_by.set("alice")
        work.gate.set()
        assert await flights.get(KEY, work) == "result 1 for nobody"
        assert asked_by.get() == "alice"

    run(scenario)


def test_the_first_callers_deadline_ends_their_wait_and_nothing_else() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work()

        async def impatient() -> str:
            async with asyncio.timeout(0.01):
                return await flights.get(KEY, work)

        first, second = asyncio.create_task(impatient()), asyncio.create_task(flights.get(KEY, work))
        with pytest.raises(TimeoutError):
            await first
        work.gate.set()
        assert await second == "result 1 for nobody"

    run(scenario)


@pytest.mark.parametrize("leaving", [0, 1, 2])
def test_whoever_leaves_leaves_the_work_to_the_others(leaving: int) -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work()
        waiting = [asyncio.create_task(flights.get(KEY, work)) for _ in range(3)]
        await settle()
        waiting.pop(leaving).cancel()
        await settle()
        work.gate.set()
        assert [await each for each in waiting] == ["result 1 for nobody"] * 2
        assert work.begun == 1

    run(scenario)


def test_work_that_everybody_left_ends_and_is_kept_for_who_comes_next() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0, keep=9.0), Work()
        waiting = [asyncio.create_task(flights.get(KEY, work)) for _ in range(3)]
        await settle()
        for each in waiting:
            each.cancel()
        await settle()
        work.gate.set()
        await settle()
        assert (work.ended, flights.kept(KEY)) == (1, "result 1 for nobody")
        assert await flights.get(KEY, work) == "result 1 for nobody"

    run(scenario)


def test_a_failure_goes_to_those_who_wait_and_is_forgotten() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0, keep=9.0), Work(ValueError("once"))
        waiting = [asyncio.create_task(flights.get(KEY, work)) for _ in range(3)]
        await settle()
        work.gate.set()
        assert {str(each) for each in await asyncio.gather(*waiting, return_exceptions=True)} == {"once"}
        assert await flights.get(KEY, work) == "result 2 for nobody"

    run(scenario)


def test_who_asks_in_the_very_turn_in_which_it_fails_begins_anew() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work(ValueError("once"))
        work.gate.set()
        flight = flights.begin(KEY, work)
        for _ in range(100):
            if flight.done():
                break  # our turn comes right after its end, before anybody is called back
            await asyncio.sleep(0)
        assert await flights.get(KEY, work) == "result 2 for nobody"
        assert isinstance(flight.exception(), ValueError)

    run(scenario)


def test_a_failure_that_nobody_waits_for_is_not_complained_of() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work(ValueError("unseen"))
        flights.begin(KEY, work)
        work.gate.set()
        await settle()
        assert work.ended == 1

    run(scenario)


def test_work_that_hangs_ends_at_a_deadline_of_its_own_and_who_joined_begins_anew() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](0.05), Work()
        first = asyncio.create_task(flights.get(KEY, work))
        await settle()
        others = [asyncio.create_task(flights.get(KEY, work)) for _ in range(3)]
        with pytest.raises(TimeoutError):
            await first
        work.gate.set()
        assert {await each for each in others} == {"result 2 for nobody"}
        work.gate.clear()
        with pytest.raises(TimeoutError):
            await flights.get(KEY, work)

    run(scenario)


def test_a_timeout_of_the_works_own_is_a_failure_like_any_other() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work(TimeoutError("the socket's"))
        waiting = [asyncio.create_task(flights.get(KEY, work)) for _ in range(3)]
        await settle()
        work.gate.set()
        assert {str(each) for each in await asyncio.gather(*waiting, return_exceptions=True)} == {"the socket's"}
        assert work.begun == 1

    run(scenario)


def test_a_result_is_kept_as_long_as_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0, keep=30.0), Work()
        work.gate.set()
        now = time.monotonic()
        monkeypatch.setattr(singleflight.time, "monotonic", lambda: now)
        assert await flights.get(KEY, work) == await flights.get(KEY, work)
        now += 29.9
        assert (flights.kept(KEY), flights.results()) == ("result 1 for nobody", ["result 1 for nobody"])
        now += 0.2
        assert (flights.kept(KEY), flights.results()) == (None, [])
        assert await flights.get(KEY, work) == "result 2 for nobody"
        flights.forget(KEY)
        assert await flights.get(KEY, work) == "result 3 for nobody"

    run(scenario)


def test_nothing_is_a_result_like_any_other() -> None:
    async def scenario() -> None:
        flights, calls = SingleFlight[None](9.0, keep=9.0), 0

        async def work() -> None:
            nonlocal calls
            calls += 1

        assert [await flights.get(KEY, work) for _ in range(3)] == [None] * 3
        assert calls == 1

    run(scenario)


def test_only_so_many_results_are_kept_those_used_last() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0, keep=9.0, most=3), Work()
        work.gate.set()
        for key in ("a", "b", "c", "a", "d"):
            await flights.get(key, work)
        assert (len(flights), [key for key in "abcd" if flights.is_kept(key)]) == (3, ["a", "c", "d"])

    run(scenario)


def test_a_result_that_does_not_serve_a_caller_is_replaced_once_for_all() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0, keep=9.0), Work()
        work.gate.set()
        refused = await flights.get(KEY, work)

        def usable(result: str) -> bool:
            return result != refused

        waiting = [asyncio.create_task(flights.get(KEY, work, usable)) for _ in range(50)]
        late = asyncio.create_task(late_by(3, lambda: flights.get(KEY, work, usable)))
        assert {await each for each in [*waiting, late]} == {"result 2 for nobody"}
        assert work.begun == 2

    run(scenario)


def test_a_flight_joined_that_does_not_serve_is_followed_by_another() -> None:
    async def scenario() -> None:
        flights, work = SingleFlight[str](9.0), Work()
        first = asyncio.create_task(flights.get(KEY, work))
        await settle()
        others = [asyncio.create_task(flights.get(KEY, work, lambda result: "2" in result)) for _ in range(9)]
        await settle()
        work.gate.set()
        assert await first == "result 1 for nobody"
        assert {await each for each in others} == {"result 2 for nobody"}
        # What one's own flight brings is taken, whatever it is: else one would ask for ever.
        assert await flights.get(KEY, work, lambda result: False) == "result 3 for nobody"

    run(scenario)


async def late_by(turns: int, call: Callable[[], Coroutine[Any, Any, str]]) -> str:
    for _ in range(turns):
        await asyncio.sleep(0)
    return await call()


def test_what_one_event_loop_began_is_not_waited_for_in_another() -> None:
    flights = SingleFlight[str](9.0)

    async def begin() -> None:
        flights.begin(KEY, Work())
        await settle()

    async def join() -> str:
        work = Work()
        work.gate.set()
        return await flights.get(KEY, work)

    asyncio.run(begin())  # which ends what it left under way
    assert asyncio.run(join()) == "result 1 for nobody"


def test_whatever_comes_and_goes_there_is_one_flight_at_a_time_and_everybody_gets_an_end() -> None:
    """Callers of three keys come, give up and fail by chance; no two flights of one key overlap."""

    async def scenario(number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - the same every time
        flights, aloft = SingleFlight[int](0.02, keep=chance.choice([0.0, 0.005])), Counter[int]()

        async def work(key: int) -> int:
            aloft[key] += 1
            assert aloft[key] == 1
            try:
                for _ in range(chance.randrange(6)):
                    await asyncio.sleep(0)
                if chance.random() < 0.1:
                    await asyncio.sleep(1)
                if chance.random() < 0.3:
                    raise ValueError(key)
                return key
            finally:
                aloft[key] -= 1

        async def caller() -> None:
            key = chance.randrange(3)
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            found = await flights.get(key, lambda: work(key), lambda _: chance.random() < 0.8)
            assert found == key

        callers = [asyncio.create_task(caller()) for _ in range(60)]
        for _ in range(40):
            await asyncio.sleep(0)
            if chance.random() < 0.5:
                chance.choice(callers).cancel()
        ended, pending = await asyncio.wait(callers, timeout=60)
        assert not pending
        failures = [each.exception() for each in ended if not each.cancelled()]
        assert all(isinstance(each, ValueError | TimeoutError | None) for each in failures)
        await asyncio.sleep(0.03)
        assert flights._flights == {}

    for number in range(40):
        run(lambda number=number: scenario(number))


# For threads.


class Owner:
    """Something whose part takes a while to build."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.built: list[object] = []

    @shared_property
    def part(self) -> object:
        """Build the part."""
        time.sleep(0.02)
        if self.failures:
            raise self.failures.pop()
        self.built.append(object())
        return self.built[-1]

    @shared_property
    def whole(self) -> tuple[object, object]:
        return self.part, self.part


def in_threads(count: int, work: Callable[[], object]) -> list[object]:
    """Do work in threads that begin at the same time; return what each came to."""
    barrier, found = threading.Barrier(count), []

    def one() -> None:
        barrier.wait()
        try:
            found.append(work())
        except ValueError as problem:
            found.append(problem)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_threads_that_meet_at_an_attribute_share_what_the_first_one_builds() -> None:
    owner, other = Owner(), Owner()
    assert {id(part) for part in in_threads(12, lambda: owner.part)} == {id(owner.built[0])}
    assert owner.whole == (owner.built[0], owner.built[0])
    assert other.part is not owner.part
    assert [len(each.built) for each in (owner, other)] == [1, 1]
    assert Owner.part.__doc__ == "Build the part."


def test_a_build_that_failed_is_tried_again_by_the_next_thread() -> None:
    owner = Owner(ValueError("once"))
    found = in_threads(5, lambda: owner.part)
    assert [str(each) for each in found if isinstance(each, ValueError)] == ["once"]
    assert {id(each) for each in found if not isinstance(each, ValueError)} == {id(owner.built[0])}
