"""64 callers against two servers, over an F&O of which a fifth of the requests fail, for as long as one likes.

    python -m tests.endurance                   three minutes
    python -m tests.endurance --minutes 60      to be sure
    python -m tests.endurance --minutes 1 --callers 8 --pause 0.5

F&O answers 429, 502 and 503, breaks connections off, before the work and after it, is slow or sends half an answer; tokens
expire and are revoked; the catalog changes; the storage goes, or hangs. In the last third the servers are killed and started
anew in turn.

Every request gets exactly one well-formed answer, or its caller's own timeout; no write is done twice, none that was
acknowledged is lost, none that was refused is done; memory and descriptors stay where they were (judged in runs of three
minutes and more). Ends with 1 where one of these does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.endurance.callers import HEADERS, SECONDS, Caller, Notes
from tests.endurance.ledger import findings
from tests.endurance.statements import differing
from tests.endurance.world import Sample, World, world

# Of the whole: the rest is for kills. Half of the steady part is for warming up.
STEADY = 0.67
# What the last quarter of the steady part may hold above the one before it, once there was time to warm up.
MEGABYTES, DESCRIPTORS = 15.0, 20
WARM_SECONDS = 60.0


async def soak(there: World, callers: int, seconds: float, pause: float) -> Notes:
    """Let all of it run for so long."""
    notes = Notes()
    began = time.monotonic()
    steady = began + seconds * STEADY
    limits = httpx.Limits(max_connections=callers, max_keepalive_connections=0)
    async with httpx.AsyncClient(headers=HEADERS, timeout=SECONDS, trust_env=False, limits=limits) as http:
        company = [Caller(number, http, there.alive, notes, pause) for number in range(callers)]
        around = [asyncio.create_task(each) for each in (disturb(there), watch(there, notes, began, steady))]
        killer = asyncio.create_task(kill(there, steady, began + seconds))
        await asyncio.gather(*(caller.work(began + seconds) for caller in company), killer)
        for task in around:
            task.cancel()
        for ended in await asyncio.gather(*around, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
    return notes


async def disturb(there: World) -> None:
    """Change the catalog, revoke tokens and take the storage away, over and over."""
    for turn in itertools.count():
        await asyncio.sleep(2.5)
        await asyncio.to_thread(there.swap)
        if turn % 3 == 1:
            await asyncio.to_thread(there.revoke)
        if turn % 4 == 3:
            await there.take_storage_away()


async def kill(there: World, start: float, end: float) -> None:
    """Kill one server and then the other, once it is time."""
    await asyncio.sleep(start - time.monotonic())
    for number in itertools.cycle((0, 1)):
        if time.monotonic() > end - 6:
            return
        await there.kill_one(number)
        await asyncio.sleep(5)


async def watch(there: World, notes: Notes, began: float, steady: float) -> None:
    """Note what the servers hold while nobody kills them, and show that it goes on."""
    for turn in itertools.count():
        await asyncio.sleep(1)
        now = time.monotonic()
        if now < steady:
            there.sample(now - began)
        if turn % 15 == 14:
            held = " and ".join(f"{each.megabytes:.0f} MB" for each in there.samples[-2:])
            print(f"{now - began:6.0f} s  {sum(notes.kinds.values()):7} requests  {held}", file=sys.stderr, flush=True)


def growth(samples: Sequence[Sample], server: int, steady: float) -> tuple[float, int, list[str]]:
    """Return what a server's last quarter of the steady part holds above the third, and each quarter in words."""
    own = [each for each in samples if each.server == server]
    quarters = [[each for each in own if steady * n / 4 <= each.at < steady * (n + 1) / 4] for n in range(4)]
    memory = [statistics.median(each.megabytes for each in quarter) for quarter in quarters]
    descriptors = [int(statistics.median(each.descriptors for each in quarter)) for quarter in quarters]
    threads = [int(statistics.median(each.threads for each in quarter)) for quarter in quarters]
    told = [f"{a:.0f} MB, {b} descriptors, {c} threads" for a, b, c in zip(memory, descriptors, threads, strict=True)]
    return memory[3] - memory[2], descriptors[3] - descriptors[2], told


def report(there: World, notes: Notes, seconds: float) -> list[str]:
    """Print the figures, and return what does not hold."""
    wrong = [*notes.wrong]
    faults = there.simulator.http.get("/__control").json()["faults"]
    there.simulator.control(end_faults=True)
    written = there.orders()
    wrong += findings(notes.orders, written)
    cuts = statistics.quantiles(notes.seconds, n=100)
    total = sum(notes.kinds.values())
    print(
        f"{total} requests in {seconds:.0f} s, {total / seconds:.0f} a second; p50 {cuts[49] * 1000:.0f} ms, ", end=""
    )
    print(f"p95 {cuts[94] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, longest {max(notes.seconds):.1f} s")
    for kind, count in notes.kinds.most_common():
        print(f"{count:8}  {kind}")
    print("F&O failed:", ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())))
    print("around it:", ", ".join(f"{count} {name}" for name, count in there.done.items()))
    states = [(order.created, order.deleted) for order in notes.orders]
    print(f"orders: {len(states)}, created {sum(s[0] == 'done' for s in states)}, ", end="")
    print(f"open {sum(s[0] == 'open' for s in states)}, refused {sum(s[0] == 'refused' for s in states)}, ", end="")
    print(f"deleted {sum(s[1] == 'done' for s in states)}; F&O has {sum(map(len, written.values()))}")
    for server in (0, 1):
        megabytes, descriptors, quarters = growth(there.samples, server, seconds * STEADY)
        print(f"server {server + 1}, by quarter of the steady part: " + " · ".join(quarters))
        if seconds * STEADY / 2 < WARM_SECONDS:
            continue
        if megabytes > MEGABYTES:
            wrong.append(f"server {server + 1} has grown by {megabytes:.0f} MB in the last quarter")
        if descriptors > DESCRIPTORS:
            wrong.append(f"server {server + 1} holds {descriptors} descriptors more in the last quarter")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.endurance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds a caller waits between requests, on average")
    parser.add_argument("--statements", type=int, default=500, help="SELECTs tried before the soak")
    options = parser.parse_args()
    seconds = options.minutes * 60
    differences = differing(options.statements, time.time_ns() % 10**6)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with world(Path(folder)) as there:
            notes = asyncio.run(soak(there, options.callers, seconds, options.pause))
            wrong = report(there, notes, seconds)
        wrong += differences
        wrong += [f"in a server's log: {log[-1500:]}" for log in there.log if "Traceback" in log]
    for each in wrong[:20]:
        print("WRONG:", each)
    print(f"{len(wrong)} wrong" if wrong else "all of it holds")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
