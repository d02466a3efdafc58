"""Writes of every kind, over an F&O that loses requests and replies: what is told of each is held against F&O's own log.

    python -m tests.endurance.writes                      10,000 writes
    python -m tests.endurance.writes --writes 500 --seed 3

A write told as done was done once, one told as refused, not run, or worth repeating was not done, and none was done twice.
Only an outcome told as unknown may be either. Ends with 1 where one of these does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.endurance.callers import HEADERS, told
from tests.served import Served, each_part, serving
from tests.simulated import Simulator

CALLERS = 24
# The log holds 10,000 requests: it is read more often than that.
READ_EVERY = 1_000
SECONDS = 17.0  # what the host's twenty leave
SERVER = {
    "MCP_READ_ONLY": "false",
    "MCP_TOOLSETS": "data,services,metadata",
    "D365FO_ALLOWED_ACTIONS": "*",
    "D365FO_ALLOWED_SERVICES": "ContosoServices/*",
    "AzureFunctionsJobHost__functionTimeout": "00:00:20",
}
WRITES = r"CustomerGroups|\$batch|GetApplicationVersion|ContosoServices"
REFUSAL = {
    "error": {
        "code": "",
        "message": "An error has occurred.",
        "innererror": {
            "message": "Write failed for table row of type 'X'. Infolog: Warnung: gesperrt.; Fehler: abgebrochen.",
            "type": "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException",
        },
    }
}
LOST = ({"kind": "drop"}, {"status": 502}, {"status": 504, "kind": "html"}, {"status": 500}, {"status": 408},
        {"kind": "cut"}, {"kind": "empty", "status": 200}, {"kind": "empty", "status": 202}, {"kind": "html", "status": 200},
        {"kind": "html", "status": 404}, {"kind": "html", "status": 403}, {"status": 302}, {"status": 524})  # fmt: skip
# What befalls a write, each with its chance where none before it did: about two in five together.
FAULTS: tuple[tuple[float, dict[str, Any]], ...] = (
    *((0.012, {**fault, "after": True}) for fault in LOST),
    *((0.008, fault) for fault in LOST if fault.get("kind") != "empty"),
    (0.02, {"status": 429, "headers": {"Retry-After": "1"}}),
    (0.01, {"status": 429, "headers": {"Retry-After": "60"}}),
    (0.02, {"status": 503, "kind": "html"}),
    (0.02, {"status": 500, "body": REFUSAL}),
    (0.02, {"status": 401}),
    (0.02, {"kind": "malformed"}),
    (0.004, {"kind": "slow", "seconds": SECONDS + 1}),
)
GROUPS = {"entity_name": "CustomerGroups"}
SERVICE = {"service_group": "ContosoServices", "service_name": "ContosoPriceService", "operation_name": "GetPrice"}


@dataclass
class Claim:
    """What a caller was told of one write: its outcome, and whether it may be repeated."""

    trace: str
    part: int  # of a batch, counted from 1, else 0
    outcome: str
    may_repeat: bool
    words: str


@dataclass
class Book:
    """What was told, and what F&O's log has of it."""

    claims: list[Claim] = field(default_factory=list)
    log: dict[int, dict[str, Any]] = field(default_factory=dict)
    calls: int = 0

    def read(self, simulator: Simulator) -> None:
        self.log |= {entry["sequence"]: entry for entry in simulator.log()}

    def findings(self) -> Iterator[str]:
        """Yield each contradiction."""
        done = times_done(self.log.values())
        for each in self.claims:
            if wrong := contradiction(each, done[each.trace, each.part]):
                yield f"{wrong}: {each}"


def times_done(log: Any) -> Counter[tuple[str, int]]:
    """Return how often each write was done, by its trace and its part of a batch."""
    done: Counter[tuple[str, int]] = Counter()
    for entry in log:
        trace = entry["headers"].get("traceparent", "").split("-")
        if entry["method"] == "GET" or len(trace) != 4:
            continue
        parts = [(int(part["content_id"]), part["done"]) for part in entry.get("parts", ())]
        for part, was_done in parts or [(0, entry["done"])]:
            done[trace[1], part] += bool(was_done)
    return done


def contradiction(each: Claim, times: int) -> str:
    if times > 1:
        return f"done {times} times"
    if each.outcome == "done" and times == 0:
        return "told as done, and was not"
    if each.outcome not in ("done", "unknown") and times:
        return "done, and told as not"
    return "done, and told as worth repeating" if each.may_repeat and times else ""


@dataclass
class Writer:
    """One caller: writes one thing after another, of its own and of others."""

    number: int
    http: httpx.AsyncClient
    url: str
    book: Book
    dice: random.Random
    made: int = 0

    async def work(self, calls: int) -> None:
        while self.book.calls < calls:
            self.book.calls += 1
            tool, arguments = self.next()
            trace = self.dice.randbytes(16).hex()
            content, code = await self.call(tool, arguments, trace)
            self.note(trace, arguments, content, code)

    async def call(self, tool: str, arguments: dict[str, Any], trace: str) -> tuple[dict[str, Any], dict[str, Any]]:
        params = {"name": f"d365fo_{tool}", "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        reply = await self.http.post(self.url, json=message, headers={"traceparent": f"00-{trace}-{trace[:16]}-01"})
        answer = reply.json()
        content, code = told(answer)
        if code is None:
            return content, {}
        text = answer["result"]["content"][0]["text"] if "result" in answer else json.dumps(answer["error"])
        return {}, {"code": code, **json.loads(text)}

    def note(self, trace: str, arguments: Mapping[str, Any], content: dict[str, Any], error: dict[str, Any]) -> None:
        operations = arguments.get("operations", ())
        places = range(1, len(operations) + 1) if operations else (0,)
        parts = each_part(content) if "parts" in content else []
        for place in places:
            own = parts[place - 1] if parts else content
            problem = error or own.get("error") or {}
            outcome = own.get("outcome", "done") if parts else outcome_of(error)
            words = json.dumps(error or own)[:400]
            self.book.claims.append(Claim(trace, place, outcome, bool(problem.get("retryable")), words))

    def next(self) -> tuple[str, dict[str, Any]]:
        kinds = (self.create, self.update, self.delete, self.batch, self.action, self.service)
        [kind] = self.dice.choices(kinds, (25, 20, 15, 30, 5, 5))
        return kind()

    def group(self) -> str:
        """Return a group's id: mostly one of the few of this caller, so that creates meet what is there."""
        return f"{self.number:02}{self.dice.randrange(12)}"

    def key(self) -> dict[str, str]:
        return {"dataAreaId": "usmf", "CustomerGroupId": self.group()}

    def words(self) -> dict[str, str]:
        self.made += 1
        return {"Description": f"{self.number}-{self.made}"}

    def create(self) -> tuple[str, dict[str, Any]]:
        return "create_entity_record", {**GROUPS, "data": {**self.key(), **self.words()}}

    def update(self) -> tuple[str, dict[str, Any]]:
        more = {"return_record": True} if self.dice.random() < 0.2 else {}
        return "update_entity_record", {**GROUPS, "key": self.key(), "data": self.words(), **more}

    def delete(self) -> tuple[str, dict[str, Any]]:
        return "delete_entity_record", {**GROUPS, "key": self.key(), "confirm": True}

    def batch(self) -> tuple[str, dict[str, Any]]:
        operations = [self.operation() for _ in range(self.dice.randint(1, 4))]
        return "batch", {"operations": operations, "atomic": self.dice.random() < 0.5, "confirm": True}

    def operation(self) -> dict[str, Any]:
        kind = self.dice.choice(("create", "create", "update", "delete"))
        own = {"data": {**self.key(), **self.words()}} if kind == "create" else {"key": self.key()}
        return {"operation": kind, **GROUPS, **own, **({"data": self.words()} if kind == "update" else {})}

    def action(self) -> tuple[str, dict[str, Any]]:
        return "call_action", {"action": "GetApplicationVersion", "entity_name": "DataManagementEntities"}

    def service(self) -> tuple[str, dict[str, Any]]:
        return "call_json_service", {**SERVICE, "parameters": {"_contract": {}}}


def outcome_of(error: Mapping[str, Any]) -> str:
    return {"": "done", "outcome_unknown": "unknown"}.get(error.get("code", ""), "failed")


async def write(simulator: Simulator, url: str, calls: int, seed: int) -> Book:
    """Let all callers write, and keep F&O's log."""
    book = Book()
    limits = httpx.Limits(max_connections=CALLERS)
    async with httpx.AsyncClient(headers=HEADERS, timeout=60, trust_env=False, limits=limits) as http:
        dice = random.Random(seed)  # noqa: S311 - the same order every time
        writers = [
            Writer(number, http, url, book, random.Random(dice.random()))  # noqa: S311 - the same order every time
            for number in range(CALLERS)
        ]
        working = asyncio.gather(*(writer.work(calls) for writer in writers))
        read = 0
        while not working.done():
            await asyncio.sleep(0.2)
            if book.calls - read >= READ_EVERY:
                read = book.calls
                await asyncio.to_thread(book.read, simulator)
                simulator.control(heed_prefer=read // READ_EVERY % 2)
                print(f"{book.calls:7} calls, {len(book.claims):7} writes", file=sys.stderr, flush=True)
        await working
    await asyncio.sleep(SECONDS + 2)  # what was slow is done by now
    book.read(simulator)
    return book


def report(book: Book, faults: Mapping[str, int], seconds: float) -> list[str]:
    """Print the figures, and return the contradictions."""
    done = times_done(book.log.values())
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in book.claims:
        counts[each.outcome]["done" if done[each.trace, each.part] else "not done"] += 1
    print(
        f"{len(book.claims)} writes in {book.calls} calls and {seconds:.0f} s; F&O failed {sum(faults.values())} times"
    )
    for outcome, truth in sorted(counts.items()):
        print(f"{sum(truth.values()):8} told as {outcome}: {truth['done']} done, {truth['not done']} not done")
    return list(book.findings())


def warm(served: Served, entity_set: str) -> None:
    """Let the server learn an entity; the first try may run out of time on a busy machine."""
    asked = {"entity_name": entity_set, "top": 1}
    assert any(not served.send("query_entities", asked).is_error for _ in range(5))


def run(calls: int, seed: int) -> list[str]:
    """Write so often, and return the contradictions."""
    simulator = Simulator.start()
    try:
        with serving(simulator, **SERVER) as served:
            for entity_set in ("CustomerGroups", "DataManagementEntities"):
                warm(served, entity_set)
            for method in ("POST", "PATCH", "DELETE"):
                for chance, what in FAULTS:
                    simulator.fault(WRITES, method=method, times=0, chance=chance, **what)
            began = time.monotonic()
            book = asyncio.run(write(simulator, served.url, calls, seed))
            faults = simulator.http.get("/__control").json()["faults"]
            return report(book, faults, time.monotonic() - began)
    finally:
        simulator.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.endurance.writes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--writes", type=int, default=10_000, help="calls that write; a batch counts as one")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}")
    wrong = run(options.writes, options.seed)
    for each in wrong[:20]:
        print("WRONG:", each)
    print(f"{len(wrong)} contradictions")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
