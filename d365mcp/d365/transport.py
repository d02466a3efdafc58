"""The connections to F&O: aiohttp's, kept, each request sent once and letter by letter. Knows no F&O.

Imports aiohttp, which takes a tenth of a second: loaded when the first request needs it, in a thread.

httpx-aiohttp does not fit. It makes each request and answer twice, which takes a tenth of a query's processor time. It lets
yarl write the URL anew: `/data/%2e%2e/x` becomes `/x` after all our checks. And it reports an answer that got lost as a
ConnectTimeout, as if nothing had been sent.
"""

import atexit
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
from yarl import URL

from d365mcp.d365.http import ConnectionLost, NotSent
from d365mcp.settings import LOOPBACK

_CONNECT_SECONDS = 15.0
# Windows' HTTP.sys closes an idle connection after two minutes. A write must not meet that end.
# https://learn.microsoft.com/iis/configuration/system.applicationhost/sites/sitedefaults/limits
_IDLE_SECONDS = 30.0
# A redirect to a sign-in page carries its whole state in one header.
_MAX_HEADER_BYTES = 64 * 1024


class Connections:
    """The connections to one environment: as many as there are requests at a time, kept for a while."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.trusted = _trusted() if parts.scheme == "https" else True
        self.proxy, self.proxy_headers = (None, {}) if parts.hostname in LOOPBACK else _proxy_to(base_url)
        self.session: aiohttp.ClientSession | None = None

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> "Incoming":
        """Send a request and return its answer, whose body is still to come. Raises NotSent, BrokenOff.

        `target` is path and query exactly as they are sent.
        """
        self.session = self.session or self.opened()
        answer = await self.session.request(
            method,
            URL(self.origin + target, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            proxy=self.proxy,
            proxy_headers=self.proxy_headers,
        )
        return Incoming(answer)

    def opened(self) -> aiohttp.ClientSession:
        """Return a session of the event loop that sends the first request."""
        atexit.register(self.abandon)
        # The connector has no limit: a request cancelled just as its wait ends would take along the next one's place.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS, ssl=self.trusted)
        return aiohttp.ClientSession(
            connector=connector,
            # No cookies: affinity would pin all callers to one of F&O's web servers.
            # https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/service-protection-maximizing-api-throughput
            cookie_jar=aiohttp.DummyCookieJar(),
            # `connect` covers all from the name's look-up to the handshake and a proxy's tunnel; `sock_connect` does not.
            timeout=aiohttp.ClientTimeout(connect=_CONNECT_SECONDS),
            auto_decompress=False,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            middlewares=(_sent_once,),
        )

    def idle(self) -> int:
        """Return how many connections wait for a request."""
        connector = self.session.connector if self.session else None
        return sum(map(len, connector._conns.values())) if connector else 0  # no public attribute tells

    async def aclose(self) -> None:
        atexit.unregister(self.abandon)
        if self.session:
            await self.session.close()

    def abandon(self) -> None:
        """Drop the open connections: aiohttp reports them as an error, but a process that ends has no loop to close them in."""
        if self.session and (connector := self.session.connector):
            self.session.detach()
            connector._conns.clear()


class Incoming:
    """An answer that arrives: iterated, it gives its body as it comes. Raises BrokenOff where that ends too early."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.status = answer.status
        # aiohttp decodes a byte that is no UTF-8 into half of a surrogate pair, which cannot be encoded again.
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.raw_headers}

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            if chunk := await self.answer.content.readany():
                return chunk
        except (aiohttp.ClientError, OSError) as problem:
            raise ConnectionLost from problem
        raise StopAsyncIteration

    def close(self) -> None:
        """Give the connection back; where the body has not come to its end, close it."""
        self.answer.release()


async def _sent_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request and say what broke: before it was sent, or after.

    Once: by itself aiohttp sends a GET, PUT or DELETE again when its connection broke. F&O may have done it by then.
    """
    try:
        return await handler(request)
    except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError) as problem:
        raise NotSent from problem
    except (aiohttp.ClientError, OSError) as problem:
        raise ConnectionLost from problem


def _trusted() -> ssl.SSLContext:
    """Return whose certificates are: those SSL_CERT_FILE and SSL_CERT_DIR name, else certifi's."""
    paths = ssl.get_default_verify_paths()
    named = paths.cafile not in (None, paths.openssl_cafile) or paths.capath not in (None, paths.openssl_capath)
    return ssl.create_default_context(cafile=None if named else certifi.where())


def _proxy_to(base_url: str) -> tuple[str | None, dict[str, str]]:
    """Return the proxy that HTTPS_PROXY, ALL_PROXY and NO_PROXY name for an environment, and the headers it needs.

    Raises ValueError for one that cannot be used.
    """
    parts, proxies = urlsplit(base_url), getproxies()
    named = proxies.get(parts.scheme) or proxies.get("all")
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    if not named or proxy_bypass(f"{parts.hostname}:{port}"):
        return None, {}
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme not in ("http", "https") or not proxy.hostname:
        raise ValueError(
            "HTTPS_PROXY or ALL_PROXY is no address of an HTTP proxy, such as http://proxy.contoso.com:8080"
        )
    address = f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}"
    if proxy.username is None:
        return address, {}
    credentials = b64encode(f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()).decode()
    return address, {"Proxy-Authorization": f"Basic {credentials}"}
