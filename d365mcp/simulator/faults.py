"""Failures on demand: which request fails, how often, and in which way."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from d365mcp.simulator.errors import Reply, error_body
from d365mcp.simulator.shapes import Shape

KINDS = ("reply", "html", "empty", "slow", "malformed", "cut", "drop", "endless", "huge")
BUSY = "This request could not be processed at this time due to system experiencing high resource utilization."
HTML = "<html><head><title>Service unavailable</title></head><body><h2>Our services aren't available right now</h2></body></html>"
HUGE = 64 * 1024 * 1024


@dataclass
class Fault:
    """One kind of failure and the requests it meets."""

    kind: str
    method: str
    path: re.Pattern[str]
    skip: int
    times: int
    chance: float
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    size: int
    after: bool
    """The work is done first, and only its reply is lost."""

    @property
    def is_reply(self) -> bool:
        return self.kind in ("reply", "html", "empty")

    @property
    def meets_parts(self) -> bool:
        """Whether it can befall an operation of a batch: an odd answer can, or none to what was done."""
        return self.is_reply or (self.kind == "drop" and self.after)

    def reply(self) -> Reply:
        return Reply(self.status if self.is_reply else 0, self.body, self.headers)

    def response(self) -> Response:
        """The failures that are more than an odd answer."""
        if self.kind == "drop":
            return Dropped(status_code=0)
        if self.kind == "cut":
            return _Cut()
        chunks = _endless() if self.kind == "endless" else _huge(self.size)
        return StreamingResponse(chunks, media_type="application/json")


@dataclass
class Faults:
    """The failures that are waiting for their request, and how many of each kind have met one."""

    waiting: list[Fault] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    dice: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - the same throws every time

    def take(self, method: str, path: str, *, in_batch: bool = False) -> Fault | None:
        """The failure this request meets, counted down."""
        for fault in self.waiting:
            matches = fault.method in ("", method) and fault.path.search(path)
            if not matches or (in_batch and not fault.meets_parts):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.chance < 1 and self.dice.random() >= fault.chance:
                continue
            name = f"{fault.kind} {fault.status}" if fault.kind == "reply" else fault.kind
            self.met[f"{name} after the work" if fault.after else name] += 1
            if fault.times == 1:
                self.waiting.remove(fault)
            fault.times -= 1
            return fault
        return None


def fault(shape: Shape) -> Fault:
    """Read `{match: {method, path, after_n, chance}, fault: {kind, status, headers, body, seconds, bytes, after}, times}`."""
    match, what = shape.part("match"), shape.part("fault")
    kind = what.text("kind", "reply")
    if kind not in KINDS:
        raise what.wrong(f"a kind among {', '.join(KINDS)}")
    status = what.number("status", 200 if kind == "empty" else 503)
    seconds, chance = what.as_object().get("seconds", 0), match.as_object().get("chance", 1)
    return Fault(
        kind=kind,
        method=match.text("method", ""),
        path=_pattern(match),
        skip=match.number("after_n", 0),
        times=shape.number("times", 1),
        chance=float(chance) if isinstance(chance, int | float) else 1.0,
        status=status,
        headers=_headers(kind, status) | what.pairs("headers"),
        body=_body(kind, status, what.as_object().get("body")),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        size=what.number("bytes", HUGE),
        after=what.flag("after"),
    )


def _pattern(match: Shape) -> re.Pattern[str]:
    try:
        return re.compile(match.text("path", ""))
    except re.error as exc:
        raise match.wrong("a regular expression as path") from exc


def _headers(kind: str, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Content-Type": "text/html" if kind == "html" else "application/json; odata.metadata=minimal"}


def _body(kind: str, status: int, given: object) -> bytes:
    if given is not None:
        return (given if isinstance(given, str) else json.dumps(given)).encode()
    if kind == "html":
        return HTML.encode()
    if kind == "empty" or status == 401:
        return b""
    return json.dumps(error_body(BUSY if status == 429 else "An error has occurred.")).encode()


class Dropped(Response):
    """Closes the connection without a word."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["transport"].abort()
        await receive()  # the body was read before, so this ends when the connection has


class _Cut(Response):
    """Promises more than it sends before it closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"value":[{"Name":"', "more_body": True})
        scope["state"]["transport"].close()
        await receive()


async def _endless() -> AsyncIterator[bytes]:
    """Rows until the caller hangs up, which cancels this."""
    yield b'{"value":[{"Name":"x"}'
    while True:
        yield b',{"Name":"x"}' * 10
        await asyncio.sleep(0.01)


async def _huge(size: int) -> AsyncIterator[bytes]:
    yield b'{"value":[{"Name":"'
    for _ in range(size // 65536):
        yield b"x" * 65536
    yield b'"}]}'
