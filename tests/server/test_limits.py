"""Limits that hold: permits, deadlines, and nothing left behind whatever goes wrong."""

import asyncio
import gc
import random
from typing import Any

from d365mcp.settings import HostLimits
from tests.server.registry import WORK, request, result_of, text_of, tried


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0)


def test_with_two_permits_never_more_than_two_tools_are_at_work_and_the_rest_wait_in_order() -> None:
    async def scenario() -> None:
        there = tried(max_concurrent_requests=2)
        await there.call("echo")
        calls = [asyncio.create_task(there.call("hold", name=str(number))) for number in range(10)]
        await until(lambda: WORK.busy == 2)
        assert (await there.post(request("ping"))).status == 200
        assert (await there.post(request("tools/list"))).status == 200
        WORK.gate.set()
        replies = await asyncio.gather(*calls)
        assert [reply.status for reply in replies] == [200] * 10
        assert WORK.most == 2
        assert WORK.order == [str(number) for number in range(10)]
        assert there.endpoint.in_flight == 0

    asyncio.run(scenario())


def test_at_the_deadline_the_caller_gets_a_clear_answer_and_the_tool_is_ended() -> None:
    async def scenario() -> None:
        there = tried(host=HostLimits(function_timeout=1.0))
        await there.call("echo")
        assert there.endpoint.settings.limit_seconds < 1.0
        reply = await asyncio.wait_for(there.call("hold"), 10)
        assert result_of(reply)["isError"] is True
        assert text_of(reply)["code"] == "deadline_exceeded"
        assert "functionTimeout" in text_of(reply)["hint"]
        assert WORK.busy == 0
        assert there.requests[-1].outcome == "timeout"

    asyncio.run(scenario())


def test_two_thousand_faulty_requests_leave_no_task_and_no_permit_behind() -> None:
    chance = random.Random(7)  # noqa: S311 - the same faults every time
    kinds = ["crash", "miss", "hold", "nope", "echo", "cancelled"]

    async def one(there: Any) -> None:
        kind = chance.choice(kinds)
        call = asyncio.create_task(there.call("hold" if kind == "cancelled" else kind))
        if kind == "cancelled":
            await asyncio.sleep(chance.random() / 1000)
            call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def scenario() -> None:
        there = tried(request_timeout=0.3, max_concurrent_requests=40, host=HostLimits(max_concurrent_requests=100))
        await there.call("echo")
        WORK.gate.set()
        before = len(asyncio.all_tasks())
        for _ in range(20):
            await asyncio.gather(*(one(there) for _ in range(100)))
        gc.collect()
        assert len(asyncio.all_tasks()) == before
        assert there.endpoint.in_flight == 0
        assert there.endpoint.permits._value == 40
        assert WORK.busy == 0

    asyncio.run(scenario())
