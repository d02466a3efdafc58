"""A light HTTP load over keep-alive connections: cheap enough that what is measured is the server."""

import asyncio
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Measured:
    """Requests a second, and milliseconds at three percentiles."""

    rate: float
    p50: float
    p95: float
    p99: float


class Connection:
    """One caller: sends a request, reads the answer, again and again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        self.reader = reader
        self.writer = writer
        self.request = request

    async def once(self) -> bytes:
        """Send the request and return the body. Raises RuntimeError for any status but 200."""
        self.writer.write(self.request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length"))
        body = await self.reader.readexactly(length)
        if " 200 " not in lines[0]:
            raise RuntimeError(f"{lines[0]}: {body[:300]!r}")
        return body


def request_bytes(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    parts = urlsplit(url)
    given = {"host": parts.netloc, "content-type": "application/json", "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {parts.path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def measure(url: str, body: bytes, headers: Mapping[str, str], *, callers: int, seconds: float) -> Measured:
    """Send one request over and over with so many callers for so long, after a short warm-up."""
    parts = urlsplit(url)
    request = request_bytes(url, body, headers)
    streams = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(callers)]
    connections = [Connection(reader, writer, request) for reader, writer in streams]
    times: list[float] = []

    async def work(connection: Connection, until: float, kept: list[float]) -> None:
        while time.perf_counter() < until:
            began = time.perf_counter()
            await connection.once()
            kept.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(work(each, time.perf_counter() + 0.5, []) for each in connections))
    started = time.perf_counter()
    await asyncio.gather(*(work(each, started + seconds, times) for each in connections))
    elapsed = time.perf_counter() - started
    for _, writer in streams:
        writer.close()
    cuts = statistics.quantiles(times, n=100)
    return Measured(len(times) / elapsed, cuts[49], cuts[94], cuts[98])
