"""Stands in for Entra on loopback: signs users in at once, refuses what Entra refuses, and signs tokens with its own key.

| endpoint | as in |
|---|---|
| `GET /{tenant}/oauth2/v2.0/authorize`, `POST …/token` | https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow |
| `GET /{tenant}/v2.0/.well-known/openid-configuration` | https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc |
| `GET /{tenant}/discovery/v2.0/keys` | https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-signature |
"""

import hashlib
import json
import re
import secrets
import threading
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.signing import API, PUBLIC_CLIENT, TENANT, public_key, token


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    fields: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class Entra:
    """One tenant with one API and one public client; use it as a context manager."""

    def __init__(self, redirects: Sequence[str] = ("http://localhost/callback",), lifetime: int = 3600) -> None:
        self.redirects = redirects
        self.lifetime = lifetime
        self.scopes = "D365.Read D365.Write"
        self.asked: list[Asked] = []
        self.answer_with: Answer | None = None  # in place of the token endpoint's own
        self.held: threading.Event | None = None  # keeps answers back until it is set
        self.codes: dict[str, Mapping[str, str]] = {}
        self.refresh_tokens: set[str] = set()
        entra = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                self.answer(urlsplit(self.path).query)

            def do_POST(self) -> None:
                self.answer(self.rfile.read(int(self.headers["content-length"])).decode())

            def answer(self, form: str) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(urlsplit(self.path).path, dict(parse_qsl(form)), headers)
                entra.asked.append(asked)
                if entra.held:
                    entra.held.wait(60)
                answer = entra.answer(asked)
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, asked: Asked) -> Answer:
        match asked.path.removeprefix(f"/{TENANT}"):
            case "/oauth2/v2.0/authorize":
                return self.authorize(asked.fields)
            case "/oauth2/v2.0/token":
                return self.answer_with or self.token(asked.fields)
            case "/v2.0/.well-known/openid-configuration":
                return json_answer(self.configuration())
            case "/discovery/v2.0/keys":
                return json_answer({"keys": [public_key("one")]})
        return refused("invalid_request", "AADSTS90002: Tenant was not found.")

    def configuration(self) -> dict[str, Any]:
        """Return what Entra tells of itself: no PKCE, no registration."""
        tenant = f"{self.base_url}/{TENANT}"
        return {
            "issuer": f"{tenant}/v2.0",
            "authorization_endpoint": f"{tenant}/oauth2/v2.0/authorize",
            "token_endpoint": f"{tenant}/oauth2/v2.0/token",
            "jwks_uri": f"{tenant}/discovery/v2.0/keys",
            "response_types_supported": ["code"],
        }

    def authorize(self, fields: Mapping[str, str]) -> Answer:
        if problem := self.problem(fields):
            return problem
        if not self.is_registered(fields.get("redirect_uri", "")):
            return refused("invalid_request", "AADSTS50011: The redirect URI does not match those configured.")
        if fields.get("response_type") != "code":
            return refused("unsupported_response_type", "AADSTS700051: The response_type is not enabled.")
        code = f"1.{secrets.token_urlsafe(200)}"
        self.codes[code] = fields
        back = {"code": code, "state": fields.get("state", ""), "session_state": secrets.token_hex(16)}
        return Answer(302, headers={"Location": f"{fields['redirect_uri']}?{urlencode(back)}"})

    def token(self, fields: Mapping[str, str]) -> Answer:
        if problem := self.problem(fields):
            return problem
        if "client_secret" in fields:
            return refused("invalid_client", "AADSTS700025: Client is public so no secret should be presented.", 401)
        match fields.get("grant_type"):
            case "authorization_code":
                begun = self.codes.pop(fields.get("code", ""), None)
                if begun is None or begun["redirect_uri"] != fields.get("redirect_uri"):
                    return refused("invalid_grant", "AADSTS70008: The provided authorization code is expired or used.")
                if begun["code_challenge"] != challenge_of(fields.get("code_verifier", "")):
                    return refused("invalid_grant", "AADSTS501481: The Code_Verifier does not match.")
            case "refresh_token":
                if fields.get("refresh_token") not in self.refresh_tokens:
                    return refused("invalid_grant", "AADSTS9002313: Invalid request. Request is malformed.")
            case _:
                return refused("unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
        return self.tokens()

    def problem(self, fields: Mapping[str, str]) -> Answer | None:
        if "resource" in fields:
            told = "AADSTS9010010: The resource parameter provided in the request doesn't match the requested scopes."
            return refused("invalid_target", told)
        if fields.get("client_id") != PUBLIC_CLIENT:
            return refused("unauthorized_client", "AADSTS700016: Application was not found in the directory.")
        if fields.get("scope") != f"api://{API}/.default offline_access":
            return refused(
                "invalid_scope", "AADSTS70011: The provided value for the input parameter scope is not valid."
            )
        return None

    def is_registered(self, uri: str) -> bool:
        """Return whether a redirect is registered; on localhost Entra does not look at the port."""
        return re.sub(r"^(http://[^/:]+):\d+", r"\1", uri) in self.redirects

    def tokens(self) -> Answer:
        refresh = f"1.{secrets.token_urlsafe(300)}"
        self.refresh_tokens.add(refresh)
        body = {
            "token_type": "Bearer",
            "scope": " ".join(f"api://{API}/{name}" for name in self.scopes.split()),
            "expires_in": self.lifetime,
            "ext_expires_in": self.lifetime,
            "access_token": self.access_token(),
            "refresh_token": refresh,
        }
        cookie = f"fpc={secrets.token_hex(8)}; path=/; HttpOnly"
        return json_answer(body, headers={"Set-Cookie": cookie, "x-ms-request-id": secrets.token_hex(8)})

    def access_token(self, **changes: Any) -> str:
        """Return an access token for the API, with some claims changed."""
        return token(self.base_url, scp=self.scopes, sub=secrets.token_urlsafe(16), **changes)

    def forms(self) -> list[Mapping[str, str]]:
        """Return what the token endpoint was sent."""
        return [asked.fields for asked in self.asked if asked.path.endswith("/token")]


def challenge_of(verifier: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, json.dumps(body).encode(), {**kind, **(headers or {})})


def refused(code: str, description: str, status: int = 400) -> Answer:
    return json_answer({"error": code, "error_description": description}, status)
