"""The callers of the endurance run: what each asks, and that it gets exactly one well-formed answer."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.endurance.ledger import Order, outcome
from tests.endurance.world import Server

HEADERS = {
    "content-type": "application/json",
    "accept": "application/json",
    "mcp-protocol-version": "2025-11-25",
}
# Longer than the server's own limit: it is the server that should answer first.
SECONDS = 30.0
ORDERS = "SalesOrderHeadersV2"
READS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("query_entities", {"entity_name": "CustomersV3", "filter": "contains(OrganizationName,'wholesales')", "top": 20}),
    ("query_entities", {"entity_name": "VendorsV2", "top": 50}),
    ("query_entities", {"entity_name": ORDERS, "filter": "SalesOrderStatus eq 'Backorder'", "top": 100}),
    ("query_entities", {"entity_name": "CustomersV3", "company": "usrt", "count": True}),
    ("get_entity_record", {"entity_name": "CustomersV3", "key": {"dataAreaId": "usmf", "CustomerAccount": "US-001"}}),
    ("query_sql", {"sql": "SELECT CustomerGroupId, count(*) AS n FROM CustomersV3 GROUP BY ALL ORDER BY 2 DESC"}),
    ("search_entities", {"query": "customer invoices"}),
    ("get_entity_schema", {"entity_name": "CustomersV3"}),
    ("get_environment_info", {}),
)


class NoAnswer(Exception):
    """A request without an answer: its caller's own timeout, or a process that was killed."""


@dataclass
class Notes:
    """What happened: answers by kind, waiting times, orders, and what must not be."""

    kinds: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Caller:
    """One caller: asks one server or the other, one request at a time."""

    number: int
    http: httpx.AsyncClient
    servers: Callable[[], list[Server]]
    notes: Notes
    pause: float
    sent: int = 0
    orders: list[Order] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.number)  # noqa: S311 - the same order every time

    async def work(self, until: float) -> None:
        """Ask until it is time to stop."""
        actions = (self.read, self.pages, self.lists, self.create, self.update, self.delete)
        weights = (50, 12, 8, 10, 15, 5)
        while time.monotonic() < until:
            [action] = self.dice.choices(actions, weights)
            try:
                await action()
            except NoAnswer:
                pass
            except AssertionError as problem:
                self.notes.wrong.append(str(problem)[:500])
            await asyncio.sleep(self.dice.uniform(0, 2 * self.pause))

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one request and return its answer. Raises NoAnswer, or AssertionError for an answer that is none."""
        self.sent += 1
        id = f"{self.number}-{self.sent}"
        server = self.dice.choice(self.servers())
        began = time.monotonic()
        try:
            message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
            reply = await self.http.post(f"{server.host.base_url}/mcp", json=message)
        except httpx.TimeoutException as problem:
            self.notes.kinds["the caller's own timeout"] += 1
            raise NoAnswer from problem
        except httpx.TransportError as problem:
            assert server.killed, f"{id}: {type(problem).__name__} from a server that nobody had killed"
            self.notes.kinds["cut off by a kill"] += 1
            raise NoAnswer from problem
        self.notes.seconds.append(time.monotonic() - began)
        return self.checked(reply, id)

    def checked(self, reply: httpx.Response, id: str) -> dict[str, Any]:
        assert reply.status_code in (200, 429), f"{id}: HTTP {reply.status_code}: {reply.text[:200]}"
        if reply.status_code == 429:  # the host's own, above maxOutstandingRequests
            return {"error": {"code": "host_busy"}}
        try:
            found = dict(reply.json())
        except ValueError:
            raise AssertionError(f"{id}: no JSON: {reply.text[:200]}") from None
        one = found.get("jsonrpc") == "2.0" and found.get("id") == id and ("result" in found) != ("error" in found)
        assert one, f"{id}: not the one answer: {reply.text[:200]}"
        return found

    async def call(self, tool: str, **arguments: Any) -> tuple[dict[str, Any], str | None]:
        """Call a tool, and return its structured content and the code of its failure."""
        answer = await self.ask("tools/call", name=f"d365fo_{tool}", arguments=arguments)
        content, code = told(answer)
        self.notes.kinds[code or "answered"] += 1
        assert code not in ("internal", "-32603", "-32602"), f"{tool}: {json.dumps(answer)[:400]}"
        return content, code

    async def read(self) -> None:
        tool, arguments = self.dice.choice(READS)
        await self.call(tool, **arguments)

    async def pages(self) -> None:
        """Read on with a cursor, at whichever server."""
        content, _ = await self.call("query_entities", entity_name="SalesOrderLines", top=100)
        for _ in range(3):
            if "cursor" in content:
                content, _ = await self.call("query_entities", entity_name="SalesOrderLines", cursor=content["cursor"])

    async def lists(self) -> None:
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"}}
        for method, params in (("initialize", client), ("tools/list", {})):
            answer = await self.ask(method, **params)
            assert "result" in answer or answer["error"]["code"] == "host_busy", f"{method}: {answer}"
            self.notes.kinds["answered" if "result" in answer else "host_busy"] += 1

    async def create(self) -> None:
        order = Order(f"E-{self.number}-{self.sent}")
        self.orders.append(order)
        self.notes.orders.append(order)
        data = {"dataAreaId": "usmf", "OrderingCustomerAccountNumber": "US-001", "CurrencyCode": "USD"}
        content, code = await self.call(
            "create_entity_record",
            entity_name=ORDERS,
            data={**data, "LanguageId": "en-us", "CustomersOrderReference": order.reference},
        )
        order.created, order.key = outcome(code), content.get("key")

    async def update(self) -> None:
        if order := self.settled():
            order.version += 1
            order.open.add(order.version)
            data = {"SalesOrderName": order.name()}
            _, code = await self.call("update_entity_record", entity_name=ORDERS, key=order.key, data=data)
            if outcome(code) == "done":
                order.told, order.open = order.version, set()
            elif outcome(code) == "refused":
                order.open.remove(order.version)

    async def delete(self) -> None:
        if order := self.settled():
            order.deleted = "open"
            _, code = await self.call("delete_entity_record", entity_name=ORDERS, key=order.key, confirm=True)
            order.deleted = outcome(code)

    def settled(self) -> Order | None:
        orders = [order for order in self.orders if order.settled]
        return self.dice.choice(orders) if orders else None


def told(answer: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    if "error" in answer:
        data = answer["error"].get("data") or {}
        return {}, str(data.get("code") or answer["error"]["code"])
    result = answer["result"]
    if result.get("isError"):
        return {}, str(json.loads(result["content"][0]["text"])["code"])
    return dict(result["structuredContent"]), None
