"""Who calls, as the host, the platform or an access token says. Knows HTTP headers, no MCP.

| `MCP_AUTH` | who checks the caller | what they may do |
|---|---|---|
| `function_key` | the Functions host, before we see the request | everything on offer: a key does not tell whose it is |
| `easy_auth` | App Service Authentication; `X-MS-CLIENT-PRINCIPAL` says whom it let in | what their roles allow |
| `jwt` | we do, by the signature and claims of an Entra access token (`tokens.py`) | what their roles allow |
| `none` | nobody: for a laptop | everything on offer |
"""

import base64
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from d365mcp.events import Caller
from d365mcp.lazy import Lazy
from d365mcp.server.auth.access import usual_access
from d365mcp.server.auth.challenges import InvalidToken, NotAdmitted, forbidden, unauthorized
from d365mcp.server.auth.roles import READ, ROLES, roles_of
from d365mcp.server.messages import Refused
from d365mcp.settings import (
    Settings,
)
from d365mcp.wire import read_json

if TYPE_CHECKING:
    from d365mcp.server.auth.tokens import TokenCheck


EVERYTHING = frozenset(ROLES)
KEY_HOLDER = Caller("function key", EVERYTHING)
OPERATOR = Caller("operator", EVERYTHING)
ANYONE = Caller("anonymous", EVERYTHING)

# App Service Authentication's name for Entra. It may let in others too: Google, GitHub, any OpenID Connect provider.
ENTRA = "aad"
# The claims of Entra's tokens, under the platform's names.
CLAIM_NAMES = {
    "http://schemas.microsoft.com/identity/claims/objectidentifier": "oid",
    "http://schemas.microsoft.com/identity/claims/tenantid": "tid",
    "http://schemas.microsoft.com/identity/claims/scope": "scp",
    "http://schemas.microsoft.com/ws/2008/06/identity/claims/role": "roles",
}


class Callers:
    """Finds out who calls. The check of tokens loads when the first one comes, or after the first answer."""

    def __init__(self, settings: Settings, lock: "threading.Lock | None" = None) -> None:
        self.settings = settings
        known = {"function_key": KEY_HOLDER, "none": ANYONE}.get(settings.mcp_auth)
        # The access of every caller, where nobody has to sign in.
        self.usual = usual_access(settings, known) if known else None
        self.tokens = Lazy(self.load, lock)

    def load(self) -> "TokenCheck":
        from d365mcp.server.auth.tokens import TokenCheck

        return TokenCheck(self.settings)

    @property
    def late(self) -> "tuple[Lazy[TokenCheck], ...]":
        """Return what is worth loading ahead."""
        return (self.tokens,) if self.settings.mcp_auth == "jwt" else ()

    async def aclose(self) -> None:
        if self.tokens.value:
            await self.tokens.value.http.aclose()

    async def identify(self, headers: Mapping[str, str]) -> Caller:
        """Return the caller. Raises Refused; NotAdmitted where they tried, with something that does not do."""
        if self.usual:
            return self.usual.caller
        try:
            caller = await self.signed_in(headers)
        except InvalidToken as problem:
            raise NotAdmitted(
                unauthorized(self.settings, problem.message, error="invalid_token"), problem.code
            ) from None
        if READ not in caller.roles:
            message = (
                f"You are signed in, but hold none of the roles {', '.join(ROLES)}: an administrator assigns them."
            )
            raise NotAdmitted(forbidden(self.settings, READ, message), "insufficient_scope", caller.name)
        return caller

    async def signed_in(self, headers: Mapping[str, str]) -> Caller:
        token = _bearer(headers)
        if self.settings.mcp_auth == "easy_auth":
            claims = _platform_claims(headers, self.settings)
            token = headers.get("x-ms-token-aad-access-token", token)
        else:
            claims = await (await self.tokens.get()).claims(token) if token else None
        if claims is None:
            raise Refused(unauthorized(self.settings, "Sign in first: no access token came with the request."))
        roles = roles_of(claims, required=self.settings.require_roles)
        return Caller(_name_of(claims), roles, self.assertion(token, claims))

    def assertion(self, token: str | None, claims: Mapping[str, Any]) -> str | None:
        """Return the caller's token where it will be exchanged. Raises InvalidToken for another user's token.

        The platform may let a user in by a cookie, and passes on whatever token comes beside it.
        """
        if self.settings.d365_auth != "on_behalf_of" or token is None:
            return None
        user = claims.get("oid")
        if self.settings.mcp_auth == "easy_auth" and (not user or _user_of(token) != user):
            raise InvalidToken("somebody_elses", "The token is not that of the user who is signed in.")
        return token


def _bearer(headers: Mapping[str, str]) -> str | None:
    """Return the token of the Authorization header; never that of a URL, which ends up in logs."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def _user_of(token: str) -> Any:
    """Return whom a token names, unchecked: Entra checks it before it exchanges it."""
    payload = f"{token}..".split(".")[1]
    try:
        return read_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["oid"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _platform_claims(headers: Mapping[str, str], settings: Settings) -> Mapping[str, Any] | None:
    """Return the claims of the user whom the platform signed in, None where it lets anybody in. Raises InvalidToken.

    Only where it is on does it keep others from setting the header:
    https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities
    """
    if not settings.platform_auth:
        raise InvalidToken("platform_off", "App Service Authentication is off here: the operator has to turn it on.")
    encoded = headers.get("x-ms-client-principal")
    if not encoded:
        return None
    try:
        found = _read_principal(base64.b64decode(encoded, validate=True))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidToken("malformed", "The header X-MS-CLIENT-PRINCIPAL is not what the platform writes.") from None
    if found["auth_typ"] != ENTRA:
        raise InvalidToken("not_entra", "You are signed in elsewhere: only accounts of Entra may call this server.")
    if settings.tenants and str(found.get("tid", "")).lower() not in settings.tenants:
        message = "Your tenant is not among those this server lets in (MCP_ALLOWED_TENANTS, else D365FO_TENANT_ID)."
        raise InvalidToken("wrong_tenant", message)
    return found


def _read_principal(document: bytes) -> dict[str, Any]:
    """Return the platform's claims under the names they have in a token; roles come one by one."""
    principal = read_json(document)
    pairs = [(CLAIM_NAMES.get(claim["typ"], claim["typ"]), str(claim["val"])) for claim in principal["claims"]]
    kind = principal.get("role_typ")
    roles = [value for name, value in pairs if name in ("roles", kind)]
    return {**dict(pairs), "roles": roles, "auth_typ": principal.get("auth_typ")}


def _name_of(claims: Mapping[str, Any]) -> str:
    """Return a caller's object id in Entra: it never changes, and tells strangers nothing."""
    return next((str(claims[name])[:100] for name in ("oid", "sub", "azp", "appid") if claims.get(name)), "unknown")
