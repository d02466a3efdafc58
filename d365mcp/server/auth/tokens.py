"""Checks Entra's access tokens: signature, issuer, tenant, audience, time. Loaded late: PyJWT and httpx take 0.2 s.

https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-tokens
"""

import asyncio
import hashlib
import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from d365mcp.errors import NotReady
from d365mcp.server.auth.challenges import InvalidToken
from d365mcp.settings import LOOPBACK, Settings
from d365mcp.singleflight import SingleFlight
from d365mcp.wire import read_bounded

log = logging.getLogger(__name__)

ALGORITHMS = ["RS256"]  # Entra signs with it; a token's own header is never believed
SKEW_SECONDS = 60
LONGEST_TOKEN = 16_000
REQUIRED = ["exp", "nbf", "iat", "iss", "aud", "tid"]

# Entra announces new keys well before it signs with them.
FRESH_SECONDS = 3600.0
# Without an answer from Entra, keys fetched once serve for a day.
LAST_SECONDS = 86_400.0
# After a fetch that failed, or did not bring the key that was named: names can be invented.
COOLING_SECONDS = 30.0
FETCH_SECONDS = 5.0
LARGEST_KEYS = 256 * 1024
# A client shows the same token for an hour; checking one takes longer than many an answer.
MOST_SEEN = 1000

# The v1.0 endpoints' issuers, which have names of their own.
V1_ISSUERS = {"https://login.partner.microsoftonline.cn": "https://sts.chinacloudapi.cn"}
V1_ISSUER = "https://sts.windows.net"

MALFORMED = ("malformed", "The token is not one of Entra's access tokens.")
TELLING: dict[type[Exception], tuple[str, str]] = {
    jwt.ExpiredSignatureError: ("expired", "The token has expired: get a new one."),
    jwt.ImmatureSignatureError: ("not_yet_valid", "The token is not valid yet: compare the clocks."),
    jwt.InvalidSignatureError: (
        "bad_signature",
        "The token's signature is wrong: it was changed, or not made by Entra.",
    ),
    jwt.InvalidAlgorithmError: ("wrong_algorithm", "The token is not signed with RS256, as Entra's access tokens are."),
    jwt.MissingRequiredClaimError: ("missing_claim", f"The token lacks one of the claims {', '.join(REQUIRED)}."),
    jwt.InvalidIssuerError: ("wrong_issuer", "The token was not issued by Entra for the tenant it names."),
}


@dataclass(frozen=True)
class Seen:
    """A checked token: its claims, which hold as long as its tenant has that key."""

    claims: Mapping[str, Any]
    tenant: str
    key: jwt.PyJWK
    until: float


class TokenCheck:
    """Reads a token's claims, after checking that Entra issued it for this server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        local = urlsplit(settings.authority).hostname in LOOPBACK
        # Loading trusted certificates takes tens of milliseconds, so the client is made once.
        tls = ssl.create_default_context() if local else httpx.create_ssl_context()
        self.http = httpx.AsyncClient(verify=tls, timeout=FETCH_SECONDS, trust_env=not local, follow_redirects=False)
        root = settings.authority
        self.keys = {
            tenant: SigningKeys(self.http, f"{root}/{tenant}/discovery/v2.0/keys") for tenant in settings.tenants
        }
        self.seen: OrderedDict[bytes, Seen] = OrderedDict()

    async def claims(self, token: str) -> Mapping[str, Any]:
        """Return a token's claims. Raises InvalidToken; NotReady when Entra's keys cannot be had."""
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        seen = self.seen.get(digest)
        tenant, name = (seen.tenant, str(seen.key.key_id)) if seen else _outline(token)
        if tenant not in self.keys:
            raise InvalidToken("wrong_tenant", "The token's tenant is not among those this server lets in.")
        key = await self.keys[tenant].named(name)
        if key is None:
            raise InvalidToken("unknown_key", "The token is signed with a key that its tenant does not have.")
        if seen and seen.key is key and time.time() < seen.until:
            self.seen.move_to_end(digest)
            return seen.claims
        claims = self.checked(token, key, tenant)
        self.keep(digest, Seen(claims, tenant, key, int(claims["exp"]) + SKEW_SECONDS))
        return claims

    async def without_keys(self) -> list[str]:
        """Return the tenants whose keys cannot be had, so that none of their tokens can be checked."""
        await asyncio.gather(*(keys.first() for keys in self.keys.values()))
        return [tenant for tenant, keys in self.keys.items() if not keys.keys]

    def keep(self, digest: bytes, seen: "Seen") -> None:
        self.seen[digest] = seen
        if len(self.seen) > MOST_SEEN:
            self.seen.popitem(last=False)

    def checked(self, token: str, key: jwt.PyJWK, tenant: str) -> dict[str, Any]:
        claims = self.verified(token, key, tenant)
        # An ID token tells the client who signed in; it is no permission to call anybody.
        if not (claims.get("azp") or claims.get("appid")):
            raise InvalidToken("not_an_access_token", "This is an ID token: send the access token for this server.")
        return claims

    def verified(self, token: str, key: jwt.PyJWK, tenant: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self.settings.audiences,
                issuer=_issuers(self.settings.authority, tenant),
                leeway=SKEW_SECONDS,
                options={"require": REQUIRED},
            )
        except jwt.InvalidAudienceError:
            message = f"The token is meant for somebody else: ask for a scope of {self.settings.application_id_uri}."
            raise InvalidToken("wrong_audience", message) from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError) as problem:
            raise InvalidToken(*TELLING.get(type(problem), MALFORMED)) from None


def _outline(token: str) -> tuple[str, str]:
    """Return the tenant and the key a token names, unchecked."""
    if len(token) > LONGEST_TOKEN:
        raise InvalidToken("malformed", f"The token is longer than {LONGEST_TOKEN} characters.")
    try:
        outlined = jwt.decode_complete(token, options={"verify_signature": False})
        return str(outlined["payload"]["tid"]), str(outlined["header"]["kid"])
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, RecursionError):
        raise InvalidToken(*MALFORMED) from None


def _issuers(authority: str, tenant: str) -> list[str]:
    """Return who issues a tenant's tokens, v2.0 and v1.0: which of them an app registration's manifest decides."""
    return [f"{authority}/{tenant}/v2.0", f"{V1_ISSUERS.get(authority, V1_ISSUER)}/{tenant}/"]


class SigningKeys:
    """A tenant's public keys: fetched once for all who wait, replaced as Entra rotates them."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self.http = http
        self.url = url
        self.keys: dict[str, jwt.PyJWK] = {}
        self.fetched_at = -LAST_SECONDS
        self.reached = False  # whether the last fetch brought keys
        self.cooling_until = 0.0
        self.flights: SingleFlight[None] = SingleFlight(4 * FETCH_SECONDS)

    async def named(self, name: str) -> jwt.PyJWK | None:
        """Return a key, None where the tenant has none of that name. Raises NotReady when no keys can be had."""
        age = time.monotonic() - self.fetched_at
        if name not in self.keys or age > LAST_SECONDS:
            await self.fetched(name)
        elif age > FRESH_SECONDS:
            self.begin()  # nobody has to wait for it
        outdated = time.monotonic() - self.fetched_at > LAST_SECONDS
        if outdated or (name not in self.keys and not self.reached):
            raise _no_keys(self.url)
        return self.keys.get(name)

    async def first(self) -> None:
        """Wait for the first fetch."""
        if not self.keys and (fetching := self.begin()):
            await asyncio.wait({fetching})

    async def fetched(self, name: str) -> None:
        """Wait for a fetch, unless the last one failed a short while ago."""
        if fetching := self.begin():
            await asyncio.wait({fetching})  # a caller who gives up does not end it for the others
            if name not in self.keys:
                self.cool()

    @property
    def fetching(self) -> "asyncio.Task[None] | None":
        return self.flights.under_way("")

    def begin(self) -> "asyncio.Task[None] | None":
        if self.fetching is None and time.monotonic() < self.cooling_until:
            return None
        return self.flights.begin("", self.fetch)

    async def fetch(self) -> None:
        try:
            self.keys = await self.ask()
            self.fetched_at, self.reached = time.monotonic(), True
        except Exception as problem:  # whatever went wrong, no keys came
            self.reached = False
            log.warning("No signing keys came from %s: %s.", self.url, type(problem).__name__)
            self.cool()

    def cool(self) -> None:
        self.cooling_until = time.monotonic() + COOLING_SECONDS

    async def ask(self) -> dict[str, jwt.PyJWK]:
        """Ask Entra for the keys. Raises ValueError, and whatever else an answer without any leads to."""
        async with asyncio.timeout(2 * FETCH_SECONDS), self.http.stream("GET", self.url) as response:
            body = await read_bounded(response.raise_for_status().aiter_bytes(), LARGEST_KEYS)
        found = jwt.PyJWKSet.from_json(body.decode())
        return {str(key.key_id): key for key in found.keys if key.public_key_use != "enc"}


def _no_keys(url: str) -> NotReady:
    host = urlsplit(url).netloc
    message = f"Entra's signing keys could not be fetched from {host}, so no token can be checked: try again later."
    return NotReady(message, retry_after=5)
