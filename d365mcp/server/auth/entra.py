"""Entra's token endpoint, asked on a client's behalf; what it answers is neither read nor logged. Loads late: httpx."""

import http.cookiejar
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx

from d365mcp.server.messages import JSON_HEADERS, Reply
from d365mcp.settings import LOOPBACK
from d365mcp.singleflight import SingleFlight
from d365mcp.wire import read_bounded, write_json

SECONDS = 20.0
# A flood of invented codes must not reach Entra through us: so few requests at once, and a short queue.
CONNECTIONS = 16
QUEUE_SECONDS = 2.0
MAX_BYTES = 256 * 1024
HANDED_ON = ("content-type", "retry-after")
# Uncompressed, an answer can be measured before it is held.
ASKED = {"accept": "application/json", "accept-encoding": "identity"}


class Entra:
    """The token endpoint of one tenant."""

    def __init__(self, authority: str) -> None:
        self.address = f"{authority}/oauth2/v2.0/token"
        self.exchanges: SingleFlight[Reply] = SingleFlight(SECONDS)
        # No cookies: one user's would come along with the next.
        jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        local = urlsplit(authority).hostname in LOOPBACK
        self.http = httpx.AsyncClient(
            cookies=jar,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=CONNECTIONS),
            timeout=httpx.Timeout(SECONDS, pool=QUEUE_SECONDS),
            trust_env=not local,
        )

    async def token(self, form: Mapping[str, str]) -> Reply:
        """Return Entra's answer, or 503 where there is none that can be handed on. Never raises."""
        try:
            # Nobody joins this request, and nobody cancels it: httpx loses a connection for good when a request is cancelled
            # in the same step of the event loop in which it gets one.
            return await self.exchanges.get(object(), lambda: self.exchange(form))
        except (httpx.HTTPError, TimeoutError, ValueError):
            description = "Entra gave no answer that could be handed on: try again later."
            body = write_json({"error": "temporarily_unavailable", "error_description": description})
            return Reply(503, {**JSON_HEADERS, "cache-control": "no-store", "retry-after": "5"}, body)

    async def exchange(self, form: Mapping[str, str]) -> Reply:
        async with self.http.stream("POST", self.address, data=form, headers=ASKED) as answer:
            return await _handed_on(answer)


async def _handed_on(answer: httpx.Response) -> Reply:
    """Return an answer as it is. Raises ValueError for one that leads elsewhere, is compressed or too large."""
    if answer.is_redirect or answer.headers.get("content-encoding", "identity") != "identity":
        raise ValueError("not an answer to hand on")
    body = await read_bounded(answer.aiter_raw(), MAX_BYTES)
    headers = {name: answer.headers[name] for name in HANDED_ON if name in answer.headers}
    return Reply(answer.status_code, {**headers, "cache-control": "no-store", "pragma": "no-cache"}, body)
