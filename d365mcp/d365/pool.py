"""A pool of keep-alive connections as an httpx transport.

httpcore's own pool looks at every connection, several times, for each request: with 16 at work that is most of a
request's cost. Here the connection used last is used next, and no other is looked at.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

Release = Callable[[], Awaitable[None]]


class PooledTransport(httpx.AsyncBaseTransport):
    """At most `limit` connections; whoever comes beyond waits, in order."""

    def __init__(self, limit: int, *, trust_env: bool) -> None:
        self.trust_env = trust_env
        self.tls = ssl.create_default_context() if not trust_env else httpx.create_ssl_context()
        self.free = asyncio.Semaphore(limit)
        self.idle: list[httpx.AsyncHTTPTransport] = []
        self.active = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.free.acquire()
        connection = self.idle.pop() if self.idle else self.connection()
        self.active += 1
        try:
            response = await connection.handle_async_request(request)
        except BaseException:  # a cancellation too has to give the connection back
            await self.release(connection)
            raise
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an async transport has no other
        response.stream = Releasing(stream, lambda: self.release(connection))
        return response

    def connection(self) -> httpx.AsyncHTTPTransport:
        one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        return httpx.AsyncHTTPTransport(verify=self.tls, limits=one, trust_env=self.trust_env)

    async def release(self, connection: httpx.AsyncHTTPTransport) -> None:
        self.active -= 1
        self.idle.append(connection)
        self.free.release()

    async def aclose(self) -> None:
        while self.idle:
            await self.idle.pop().aclose()


class Releasing(httpx.AsyncByteStream):
    """An answer's body that gives its connection back when it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, release: Release) -> None:
        self.stream = stream
        self.release: Release | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self.stream:
            yield chunk

    async def aclose(self) -> None:
        release, self.release = self.release, None
        try:
            await self.stream.aclose()
        finally:
            if release is not None:
                await release()
