"""Who calls, and what of this server they may use in this request. Knows HTTP headers, no MCP.

| `MCP_AUTH` | who checks the caller | what they may do |
|---|---|---|
| `function_key` | the Functions host, before we see the request | everything on offer: a key does not tell whose it is |
| `easy_auth` | App Service Authentication; `X-MS-CLIENT-PRINCIPAL` says whom it let in | what their roles allow |
| `jwt` | we do, by the signature and claims of an Entra access token (`tokens.py`) | what their roles allow |
| `none` | nobody: for a laptop | everything on offer |

Roles are Entra's app roles, or scopes of the same names: `D365.Read`, `D365.Write`, `D365.Admin`, each including those
before it.
"""

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from d365mcp.errors import InvalidArgument
from d365mcp.events import Caller
from d365mcp.lazy import Lazy
from d365mcp.server.auth.challenges import (
    READ,
    ROLES,
    WRITE,
    InvalidToken,
    NotAdmitted,
    forbidden,
    role_for,
    unauthorized,
)
from d365mcp.server.messages import Refused
from d365mcp.settings import (
    LEAST_RESULT_CHARS,
    MOST_RESULT_CHARS,
    RESULT_FORMS,
    SIGNING_IN,
    TOOLSETS,
    Settings,
)
from d365mcp.settings.parsing import flag

if TYPE_CHECKING:
    from d365mcp.server.auth.tokens import TokenCheck

TOOLSETS_HEADER = "x-mcp-toolsets"
READ_ONLY_HEADER = "x-mcp-readonly"
RESULT_CHARS_HEADER = "x-mcp-max-result-chars"
RESULT_FORM_HEADER = "x-mcp-result-form"
TIMEOUT_HEADER = "x-mcp-timeout"
SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
OWN_HEADERS = frozenset({TOOLSETS_HEADER, READ_ONLY_HEADER, RESULT_CHARS_HEADER, RESULT_FORM_HEADER, TIMEOUT_HEADER})

EVERYTHING = frozenset(ROLES)
KEY_HOLDER = Caller("function key", EVERYTHING)
OPERATOR = Caller("operator", EVERYTHING)
ANYONE = Caller("anonymous", EVERYTHING)

# What App Service Authentication calls Entra, beside whatever else it lets in: Google, GitHub, any OpenID Connect provider.
ENTRA = "aad"
# And the claims of Entra's tokens.
CLAIM_NAMES = {
    "http://schemas.microsoft.com/identity/claims/objectidentifier": "oid",
    "http://schemas.microsoft.com/identity/claims/tenantid": "tid",
    "http://schemas.microsoft.com/identity/claims/scope": "scp",
    "http://schemas.microsoft.com/ws/2008/06/identity/claims/role": "roles",
}


class Access(NamedTuple):
    """What one request may use, and how it wants its results: the operator's settings, the caller's roles, its headers."""

    caller: Caller
    toolsets: frozenset[str]
    read_only: bool
    private: bool = False  # whether another caller's answers may differ
    asked_to_read: bool = False  # whether the request itself wants nothing but reading
    result_chars: int = 20_000
    structured: bool = True  # whether results come as structure beside their text
    seconds: float = 45.0  # the time it has; the host may leave less

    @property
    def may_write(self) -> bool:
        """Return whether anything may be changed in F&O: by the operator, the request and the caller's roles."""
        return not self.read_only and WRITE in self.caller.roles

    def allows(self, toolset: str, *, read_only: bool) -> bool:
        """Return whether a tool may be seen and called."""
        return self.offers(toolset, read_only=read_only) and role_for(toolset, read_only=read_only) in self.caller.roles

    def lacking(self, toolset: str, *, read_only: bool) -> str | None:
        """Return the role without which the caller may not use a tool that is on offer."""
        role = role_for(toolset, read_only=read_only)
        return role if self.offers(toolset, read_only=read_only) and role not in self.caller.roles else None

    def offers(self, toolset: str, *, read_only: bool) -> bool:
        """Return whether the operator and the request leave a tool in; MCP_READ_ONLY is about F&O alone."""
        harmless = leaves_d365_alone(toolset) and not self.asked_to_read
        return toolset in self.toolsets and (read_only or harmless or not self.read_only)


def leaves_d365_alone(toolset: str) -> bool:
    """Return whether the tools of a toolset write nothing to F&O, if they write: to statistics and catalog, then."""
    return toolset in ("performance", "admin")


class Callers:
    """Tells who calls. What checks tokens loads when the first one comes, or after the first answer."""

    def __init__(self, settings: Settings, turn: "threading.Lock | None" = None) -> None:
        self.settings = settings
        known = {"function_key": KEY_HOLDER, "none": ANYONE}.get(settings.mcp_auth)
        # What every caller may use, where nobody has to be asked who they are.
        self.usual = usual_access(settings, known) if known else None
        self.tokens = Lazy(self.load, turn)

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
            told = f"You are signed in, but hold none of the roles {', '.join(ROLES)}: an administrator assigns them."
            raise NotAdmitted(forbidden(self.settings, READ, told), "insufficient_scope", caller.name)
        return caller

    async def signed_in(self, headers: Mapping[str, str]) -> Caller:
        token = bearer(headers)
        if self.settings.mcp_auth == "easy_auth":
            claims = platform_claims(headers, self.settings)
            token = headers.get("x-ms-token-aad-access-token", token)
        else:
            claims = await (await self.tokens.get()).claims(token) if token else None
        if claims is None:
            raise Refused(unauthorized(self.settings, "Sign in first: no access token came with the request."))
        roles = roles_of(claims, required=self.settings.require_roles)
        return Caller(name_of(claims), roles, self.assertion(token, claims))

    def assertion(self, token: str | None, claims: Mapping[str, Any]) -> str | None:
        """Return the caller's token where it is to be exchanged. Raises InvalidToken for that of somebody else.

        The platform may let a user in by a cookie, and passes on whatever token comes beside it.
        """
        if self.settings.d365_auth != "on_behalf_of" or token is None:
            return None
        user = claims.get("oid")
        if self.settings.mcp_auth == "easy_auth" and (not user or user_of(token) != user):
            raise InvalidToken("somebody_elses", "The token is not that of the user who is signed in.")
        return token


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the token of the Authorization header; never that of a URL, which ends up in logs."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def user_of(token: str) -> Any:
    """Return whom a token names, unchecked: Entra checks it before it exchanges it."""
    payload = f"{token}..".split(".")[1]
    try:
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["oid"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def platform_claims(headers: Mapping[str, str], settings: Settings) -> Mapping[str, Any] | None:
    """Return the claims of whom App Service Authentication let in, None where it let anybody in. Raises InvalidToken.

    Only where it is on does it keep others from setting the header:
    https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities
    """
    if not settings.platform_auth:
        raise InvalidToken("platform_off", "App Service Authentication is off here: the operator has to turn it on.")
    encoded = headers.get("x-ms-client-principal")
    if not encoded:
        return None
    try:
        found = read_principal(base64.b64decode(encoded, validate=True))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InvalidToken("malformed", "The header X-MS-CLIENT-PRINCIPAL is not what the platform writes.") from None
    if found["auth_typ"] != ENTRA:
        raise InvalidToken("not_entra", "You are signed in elsewhere: only accounts of Entra may call this server.")
    if settings.tenants and str(found.get("tid", "")).lower() not in settings.tenants:
        message = "Your tenant is not among those this server lets in (MCP_ALLOWED_TENANTS, else D365FO_TENANT_ID)."
        raise InvalidToken("wrong_tenant", message)
    return found


def read_principal(document: bytes) -> dict[str, Any]:
    """Return the platform's claims under the names they have in a token; roles come one by one."""
    told = json.loads(document)
    pairs = [(CLAIM_NAMES.get(claim["typ"], claim["typ"]), str(claim["val"])) for claim in told["claims"]]
    kind = told.get("role_typ")
    roles = [value for name, value in pairs if name in ("roles", kind)]
    return {**dict(pairs), "roles": roles, "auth_typ": told.get("auth_typ")}


def name_of(claims: Mapping[str, Any]) -> str:
    """Return a caller's object id in Entra: it never changes, and tells strangers nothing."""
    return next((str(claims[name])[:100] for name in ("oid", "sub", "azp", "appid") if claims.get(name)), "unknown")


def roles_of(claims: Mapping[str, Any], *, required: bool) -> frozenset[str]:
    """Return the roles of a caller: scopes say what the client may do for them, app roles what they may do themselves.

    Where both are in use the lesser counts; scopes of other names, such as `user_impersonation`, limit nothing. Where
    roles are `required`, or the token shows that there are some, who holds none of ours may do nothing.
    """
    listed = claims.get("roles")
    scopes, roles = ranks(str(claims.get("scp", "")).split()), ranks(listed if isinstance(listed, list) else ())
    if not roles and (required or listed):
        return frozenset()
    used = [each for each in (scopes, roles) if each]
    return frozenset(ROLES[: min(max(each) for each in used)]) if used else frozenset()


def ranks(names: Iterable[Any]) -> list[int]:
    """Return how far each known role reaches: 1 for reading, 3 for everything."""
    return [ROLES.index(name) + 1 for name in names if name in ROLES]


def usual_access(settings: Settings, caller: Caller) -> Access:
    """Return what a caller may use, where their request does not narrow it."""
    return Access(
        caller,
        settings.offered_toolsets,
        settings.read_only,
        settings.mcp_auth in SIGNING_IN,
        result_chars=settings.max_result_chars,
        structured=settings.result_form == "both",
        seconds=settings.deadline_seconds,
    )


def narrowed(access: Access, headers: Mapping[str, str]) -> Access:
    """Return a caller's access as one request narrows and shapes it. Raises InvalidArgument for what a header must not say."""
    if OWN_HEADERS.isdisjoint(headers):
        return access
    wanted = [name.strip().lower() for name in headers.get(TOOLSETS_HEADER, "").split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in (*TOOLSETS, "all")]:
        raise InvalidArgument(
            f"{TOOLSETS_HEADER} does not know {', '.join(unknown)[:100]}: there are {', '.join(TOOLSETS)}."
        )
    narrowing = bool(wanted) and "all" not in wanted
    only_reading = wants_only_reading(headers.get(READ_ONLY_HEADER, ""))
    return Access(
        caller=access.caller,
        toolsets=access.toolsets & frozenset(wanted) if narrowing else access.toolsets,
        read_only=access.read_only or only_reading,
        private=access.private or narrowing or only_reading,
        asked_to_read=only_reading,
        result_chars=result_chars(headers.get(RESULT_CHARS_HEADER, "")) or access.result_chars,
        structured=result_form(headers.get(RESULT_FORM_HEADER, ""), access.structured),
        seconds=seconds(headers.get(TIMEOUT_HEADER, "")) or access.seconds,
    )


def seconds(value: str) -> float | None:
    """Return the time asked for, at least a second; None where none is."""
    said = value.strip()
    if said and not SECONDS.fullmatch(said):
        raise InvalidArgument(f"{TIMEOUT_HEADER} must be a number of seconds.")
    return max(1.0, float(said)) if said else None


def result_chars(value: str) -> int | None:
    """Return the number of characters asked for, brought into the bounds of the setting; None where none is."""
    said = value.strip()
    if said and not (said.isascii() and said.isdecimal()):
        raise InvalidArgument(f"{RESULT_CHARS_HEADER} must be a whole number.")
    return min(max(int(said[:9]), LEAST_RESULT_CHARS), MOST_RESULT_CHARS) if said else None


def result_form(value: str, usual: bool) -> bool:
    """Return whether results come as structure, too."""
    said = value.strip().lower()
    if said and said not in RESULT_FORMS:
        raise InvalidArgument(f"{RESULT_FORM_HEADER} must be {' or '.join(RESULT_FORMS)}.")
    return said == "both" if said else usual


def wants_only_reading(value: str) -> bool:
    """Return what the header says. Raises InvalidArgument for what is neither yes nor no: it is to keep from writing."""
    try:
        return bool(value.strip()) and flag(value.strip())
    except ValueError as problem:
        raise InvalidArgument(f"{READ_ONLY_HEADER} {problem}.") from None
