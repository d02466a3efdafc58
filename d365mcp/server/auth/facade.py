"""The sign-in façade: stands before Entra for clients that cannot talk to it themselves, and remembers nothing.

Entra registers no clients and refuses the `resource` that MCP makes clients send (AADSTS9010010). Here every client is
the one public client the operator has registered, and Entra gets what it understands. Codes and tokens stay Entra's own.

https://datatracker.ietf.org/doc/html/rfc6749 · https://datatracker.ietf.org/doc/html/rfc7591
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from d365mcp.errors import NotReady
from d365mcp.lazy import Lazy
from d365mcp.server.messages import JSON_HEADERS, LOST_BODY, Reply, is_lost, media_type
from d365mcp.settings import Settings
from d365mcp.wire import read_caller_json, write_json

if TYPE_CHECKING:
    from d365mcp.server.auth.entra import Entra

MAX_BYTES = 64 * 1024
MAX_FIELDS = 100
FORM = "application/x-www-form-urlencoded"
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # a SHA-256 in base64url
# Codex ends its callback with 12 characters of the hash of a server's URL, so that it knows which server's sign-in came back.
# https://github.com/openai/codex/pull/20237
CODEX = "(/[A-Za-z0-9_-]{12})?"
GRANTS = {"authorization_code": ("code", "redirect_uri", "code_verifier"), "refresh_token": ("refresh_token",)}
NOT_KEPT = {"cache-control": "no-store", "pragma": "no-cache"}

Fields = Mapping[str, list[str]]


class Declined(Exception):
    """A request that goes no further: one of OAuth's error codes, and a sentence in ASCII, as OAuth wants it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.status = status

    def description(self) -> dict[str, str]:
        return {"error": self.code, "error_description": self.message}

    def reply(self) -> Reply:
        return Reply(self.status, {**JSON_HEADERS, **NOT_KEPT}, write_json(self.description()))


class Facade:
    """Answers the routes of an authorization server. `entra` does what needs the network, and loads late."""

    def __init__(self, settings: Settings, entra: "Lazy[Entra]") -> None:
        self.entra = entra
        self.client_id = settings.oauth_client_id
        self.address = f"{authority_of(settings)}/oauth2/v2.0/authorize"
        # The scopes that an administrator granted the public client, whatever a client asks for.
        self.scope = f"{settings.application_id_uri}/.default offline_access"
        self.resources = {settings.public_url.lower(), settings.mcp_url.lower()}
        self.redirects = [_pattern_of(uri) for uri in settings.redirect_uris]

    def authorize(self, query: str) -> Reply:
        """Send a browser on to Entra. An untrusted redirect is never followed: the person reads a sentence instead."""
        try:
            fields = _read_fields(query)
            self.check_client(fields)
            redirect_uri, state = self.redirect_uri(fields, "invalid_request"), _optional(fields, "state")
        except Declined as problem:
            return _page(problem)
        returned = {"state": state} if state else {}
        try:
            return _redirect(self.address, {**self.authorization(fields), "redirect_uri": redirect_uri, **returned})
        except Declined as problem:
            return _redirect(redirect_uri, {**problem.description(), **returned})

    def authorization(self, fields: Fields) -> dict[str, str]:
        if _required(fields, "response_type") != "code":
            raise Declined("unsupported_response_type", "response_type must be code.")
        challenge = _optional(fields, "code_challenge")
        if _optional(fields, "code_challenge_method") != "S256" or not CHALLENGE.fullmatch(challenge):
            raise Declined("invalid_request", "PKCE is required: code_challenge, with code_challenge_method S256.")
        self.check_resource(fields)
        return {
            "client_id": self.client_id,
            "response_type": "code",
            "scope": self.scope,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }

    async def token(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Ask Entra for tokens on a client's behalf; its answer is handed on as it is."""
        try:
            form = self.token_request(headers, body)
            return await (await self.entra.get()).token(form)
        except Declined as problem:
            return problem.reply()
        except NotReady as problem:
            return Declined("temporarily_unavailable", problem.message, 503).reply()

    def token_request(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the form for Entra: the fields of the grant, and our client id."""
        if media_type(headers.get("content-type", "")) != FORM:
            raise Declined("invalid_request", f"Content-Type must be {FORM}.")
        fields = _read_fields(_text_of(headers, body))
        self.check_client(fields)
        grant = _required(fields, "grant_type")
        if grant not in GRANTS:
            raise Declined("unsupported_grant_type", f"grant_type must be {' or '.join(GRANTS)}.")
        if "redirect_uri" in GRANTS[grant]:
            self.redirect_uri(fields, "invalid_grant")
        self.check_resource(fields)
        given = {name: _required(fields, name) for name in GRANTS[grant]}
        return {"client_id": self.client_id, "grant_type": grant, "scope": self.scope, **given}

    def register(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer a client that wants to register: every client gets the one public client's id."""
        try:
            allowed = self.registered_redirects(_text_of(headers, body))
        except Declined as problem:
            return problem.reply()
        client = {
            "client_id": self.client_id,
            "redirect_uris": allowed,
            "token_endpoint_auth_method": "none",
            "grant_types": list(GRANTS),
            "response_types": ["code"],
        }
        return Reply(201, {**JSON_HEADERS, **NOT_KEPT}, write_json(client))

    def registered_redirects(self, body: str) -> list[str]:
        """Return the allowed ones among a client's redirects: some clients name several and use what they get."""
        try:
            wanted = read_caller_json(body)["redirect_uris"]
            allowed = [uri for uri in wanted if self.is_allowed(uri)]
        except (ValueError, KeyError, TypeError):
            raise Declined("invalid_client_metadata", "The body must be a JSON object with redirect_uris.") from None
        if not allowed:
            raise Declined("invalid_redirect_uri", _unknown_redirect(", ".join(map(str, wanted))))
        return allowed

    def check_client(self, fields: Fields) -> None:
        if _required(fields, "client_id") != self.client_id:
            raise Declined("invalid_client", "The client_id is not the one this server registers: register anew.", 401)

    def redirect_uri(self, fields: Fields, code: str) -> str:
        uri = _required(fields, "redirect_uri")
        if not self.is_allowed(uri):
            raise Declined(code, _unknown_redirect(uri))
        return uri

    def is_allowed(self, uri: str) -> bool:
        return any(each.fullmatch(uri) for each in self.redirects)

    def check_resource(self, fields: Fields) -> None:
        """Refuse tokens for another resource: a foreign server that names us as its issuer could use them here.

        https://datatracker.ietf.org/doc/html/rfc8707#section-2
        """
        if not {uri.rstrip("/").lower() for uri in fields.get("resource", ())} <= self.resources:
            raise Declined("invalid_target", "The resource is not this server: tokens from here are good nowhere else.")


def authority_of(settings: Settings) -> str:
    """Return Entra's authority for sign-ins: the one tenant, or `organizations` where several are allowed."""
    tenants = settings.tenants
    return f"{settings.authority}/{tenants[0] if len(tenants) == 1 else 'organizations'}"


def _pattern_of(uri: str) -> re.Pattern[str]:
    """Return the pattern of an allowed redirect: itself, on loopback with any port, and with Codex's hash.

    https://datatracker.ietf.org/doc/html/rfc8252#section-7.3
    """
    parts = urlsplit(uri)
    if parts.scheme != "http":
        return re.compile(re.escape(uri))
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    path = re.escape(parts.path) if parts.path.strip("/") else "/?"
    if parts.path.endswith("/callback"):
        path += CODEX
    query = re.escape(f"?{parts.query}" if parts.query else "")
    return re.compile(f"{re.escape(f'http://{host}')}(:[0-9]{{1,5}})?{path}{query}")


def _text_of(headers: Mapping[str, str], body: bytes) -> str:
    if is_lost(headers, body):
        raise Declined("invalid_request", LOST_BODY)
    if len(body) > MAX_BYTES:
        raise Declined("invalid_request", f"The body is larger than {MAX_BYTES // 1024} KiB.", 413)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Declined("invalid_request", "The body is not in UTF-8.") from None


def _read_fields(form: str) -> Fields:
    """Read a form or a query; a field without a value counts as left out (RFC 6749, 3.1)."""
    if len(form) > MAX_BYTES:
        raise Declined("invalid_request", f"The query is longer than {MAX_BYTES // 1024} KiB.")
    try:
        return parse_qs(form, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Declined("invalid_request", f"The fields must be in UTF-8, and {MAX_FIELDS} at most.") from None


def _optional(fields: Fields, name: str) -> str:
    """Return a field's value, or nothing. One given twice could mean one thing here and another to Entra."""
    values = fields.get(name, [""])
    if len(values) > 1:
        raise Declined("invalid_request", f"{name} is given more than once.")
    return values[0]


def _required(fields: Fields, name: str) -> str:
    value = _optional(fields, name)
    if not value:
        raise Declined("invalid_request", f"{name} is missing.")
    return value


def _unknown_redirect(uri: str) -> str:
    address = quote(uri[:200], safe="%:/?&=.~,- []", errors="replace")
    return f"No sign-in returns to {address} here: the operator of this server can add it to MCP_OAUTH_REDIRECT_URIS."


def _redirect(address: str, fields: Mapping[str, str]) -> Reply:
    joint = "&" if "?" in address else "?"
    return Reply(302, {"location": f"{address}{joint}{urlencode(fields, quote_via=quote)}", **NOT_KEPT})


def _page(problem: Declined) -> Reply:
    """Return the page for a person whose sign-in cannot go on, and cannot be sent back."""
    plain: dict[str, Any] = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
    return Reply(400, {**plain, **NOT_KEPT}, f"This sign-in cannot go on. {problem.message}\n".encode())
