"""What a test may set in a running simulator, and what it may read: faults, delays, limits, clients and the log.

`GET /__control` answers `{"log": […], "most_in_flight": n, "faults": {…}}`, n being how many requests F&O had to answer at
once, and how many requests each kind of fault met;
`POST /__control` takes an object of commands:

| command | value | effect |
|---|---|---|
| `reset` | true | records, numbers, faults, settings, clients, tokens and the log as at the start; done first |
| `fault` | `{"match": {"method", "path", "after_n", "chance"}, "fault": {…}, "times": 1}` | the next `times` requests whose path has the regular expression fail, after letting `after_n` pass, each with that chance (1); `times` 0 = until reset. Replies (`kind` reply, html, empty) also meet the parts of a batch, and so does a drop after the work, which leaves the part out |
| `end_faults` | true | no fault meets a request any more; their count stays |
| `latency_ms` | number | every request to F&O waits that long first |
| `page_size` | number | rows per page, 10,000 at the start |
| `shuffle` | true or false | rows that are asked for without an order come in another order on every page |
| `refuse_order` | `["SequenceV2Tables"]` | these entity sets answer `$orderby` with 400 |
| `heed_prefer` | number | 0: a batch stops at its first failure although `Prefer: odata.continue-on-error` asks to go on |
| `throttle` | `{"requests", "seconds", "at_once", "retry_after"}` or null | 429 once so many requests were made in so many seconds (with `requests`), or are at work at once (with `at_once`) |
| `client` | `{"id", "company", "user", "language", "allowed", "read_only", "companies", "denied"}` | how F&O maps an application |
| `default_company` | text | the company of every client not mapped otherwise |
| `token_seconds` | number | the lifetime of tokens issued from now on |
| `signing_keys` | `[JWK]` | the public keys users' tokens are signed with |
| `revoke_tokens` | true | every token issued so far gets 401 |

Inside `fault`: `kind` (reply, html, empty, slow, malformed, cut, drop, endless, huge; reply when left out), `status`
(503), `headers`, `body` (text, or an object sent as JSON), `seconds` (slow), `bytes` (huge), `after` (true: what was asked
is done, and only then does its reply get lost). A log entry has `sequence`, `time`, `seconds`, `method`, `path`, `query`
(both as sent), `headers`, `client` (from its token), `body`, `status`, which is null while the request is at work and 0 when
its connection ended, by either side, before an answer, and `done`: whether what it asked for was done, null where a fault
came before. A batch has `parts`, each with `method`, `path`, `content_id`, `status` as it arrives and `done`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.requests import Request

from d365mcp.simulator.errors import Refusal
from d365mcp.simulator.faults import BUSY, Faults, fault
from d365mcp.simulator.identity import Tokens
from d365mcp.simulator.model import Client, World
from d365mcp.simulator.queries import Paging
from d365mcp.simulator.shapes import Shape
from d365mcp.simulator.world import client

NUMBERS = {"latency_ms": 0, "page_size": 10_000, "token_seconds": 3_599, "heed_prefer": 1}
LOG_LENGTH = 10_000
BODY_LENGTH = 65_536
LOGGED_HEADERS = (
    "accept",
    "content-type",
    "cookie",
    "if-match",
    "odata-maxversion",
    "odata-version",
    "prefer",
    "traceparent",
    "user-agent",
    "x-ms-client-request-id",
)


@dataclass
class Throttle:
    """So many requests in so many seconds, or at work at once, then 429. Where one of both is 0, it does not count."""

    requests: int
    seconds: int
    at_once: int
    retry_after: int
    times: deque[float] = field(default_factory=deque)

    def check(self) -> None:
        now = time.monotonic()
        while self.times and self.times[0] <= now - self.seconds:
            self.times.popleft()
        if self.requests and len(self.times) >= self.requests:
            raise self.refusal()
        self.times.append(now)

    def refusal(self) -> Refusal:
        return Refusal(BUSY, 429, "", {"Retry-After": str(self.retry_after)})


def _throttle(shape: Shape) -> Throttle:
    at_once = shape.number("at_once", 0)
    requests = shape.number("requests", 0 if at_once else 1)
    return Throttle(requests, shape.number("seconds", 60), at_once, shape.number("retry_after", 15))


class Control:
    """The settings in force and the log. `restore` puts the rest of the simulator back on reset."""

    def __init__(self, world: World, restore: Callable[[], None], tokens: Tokens) -> None:
        self.world = world
        self._restore = restore
        self._tokens = tokens
        self._in_flight = 0
        self._commands: dict[str, Callable[[Shape], None]] = {
            "fault": lambda shape: self.faults.waiting.append(fault(shape.part("fault"))),
            "end_faults": lambda _: self.faults.waiting.clear(),
            "shuffle": self._set_shuffle,
            "refuse_order": self._set_refuse_order,
            "throttle": self._set_throttle,
            "client": self._set_client,
            "default_company": self._set_default_company,
            "revoke_tokens": lambda _: tokens.revoke(),
            "signing_keys": self._set_signing_keys,
        }
        self._start()

    def _start(self) -> None:
        self.numbers = dict(NUMBERS)
        self.throttle: Throttle | None = None
        self.shuffle = False
        self.refuse_order: tuple[str, ...] = ()
        self._pages = 0
        self.faults = Faults()
        self.log: deque[dict[str, object]] = deque(maxlen=LOG_LENGTH)
        self.most_in_flight = self._in_flight
        self._sequence = 0
        self._clients = dict(self.world.clients)
        self._anyone = Client(self.world.default_company)

    def state(self) -> dict[str, object]:
        return {"log": list(self.log), "most_in_flight": self.most_in_flight, "faults": dict(self.faults.met)}

    def command(self, given: Mapping[str, object]) -> None:
        """Carry out commands; a wrong one raises WorldError and is named."""
        shape = Shape(dict(given), "control")
        known = ("reset", *NUMBERS, *self._commands)
        for name in given:
            if name not in known:
                raise Shape(name, "control").wrong(f"a command among {', '.join(known)}")
        if shape.flag("reset"):
            self._start()
            self._restore()
        for name in given:
            if name in NUMBERS:
                self.numbers[name] = shape.number(name, NUMBERS[name])
            elif name in self._commands:
                self._commands[name](shape)

    def client(self, client_id: str) -> Client | None:
        """How an application is mapped; None when F&O does not know it."""
        if client_id in self._clients:
            return self._clients[client_id]
        return None if self.world.clients else self._anyone

    def paging(self) -> Paging:
        """How the next page is cut."""
        self._pages += 1
        return Paging(self.numbers["page_size"], self._pages if self.shuffle else 0)

    def turned_away(self) -> Refusal | None:
        """Return the refusal for a request that comes while as many are at work as there may be."""
        throttle = self.throttle
        is_full = throttle and throttle.at_once and self._in_flight >= throttle.at_once
        return throttle.refusal() if throttle and is_full else None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count a request to F&O among those in flight."""
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1

    @contextmanager
    def recorded(self, request: Request, body: bytes, client_id: str) -> Iterator[dict[str, object]]:
        """Log a request while it is answered."""
        self._sequence += 1
        started = time.time()
        entry: dict[str, object] = {
            "sequence": self._sequence,
            "time": started,
            "method": request.method,
            "path": request.scope["raw_path"].decode("latin-1"),
            "query": request.scope["query_string"].decode("latin-1"),
            "headers": {name: request.headers[name] for name in LOGGED_HEADERS if name in request.headers},
            "client": client_id,
            "body": body[:BODY_LENGTH].decode(errors="replace"),
            "status": None,
            "done": None,
        }
        self.log.append(entry)
        try:
            yield entry
        finally:
            entry["seconds"] = round(time.time() - started, 6)

    def _set_default_company(self, shape: Shape) -> None:
        self._anyone = Client(shape.text("default_company").lower())

    def _set_throttle(self, shape: Shape) -> None:
        found = shape.member("throttle")
        self.throttle = None if found is None else _throttle(found)

    def _set_shuffle(self, shape: Shape) -> None:
        self.shuffle = shape.flag("shuffle")

    def _set_refuse_order(self, shape: Shape) -> None:
        self.refuse_order = shape.texts("refuse_order")

    def _set_signing_keys(self, shape: Shape) -> None:
        self._tokens.signing_keys = [each.as_object() for each in shape.items("signing_keys")]

    def _set_client(self, shape: Shape) -> None:
        given = shape.part("client")
        name = given.text("id")
        self._clients[name] = client(given, self._clients.get(name, self._anyone))
