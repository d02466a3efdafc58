"""Who calls: App Service's managed-identity endpoint, Entra's token endpoint, and the tokens both hand out.

| endpoint | as in |
|---|---|
| `GET /msi/token?api-version=2019-08-01&resource=…[&client_id=…]` with `X-IDENTITY-HEADER` | https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference |
| `POST /{tenant}/oauth2/v2.0/token`, client credentials with a secret or an assertion | https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow |
| the same, on behalf of a user whose token for the client comes as `assertion` | https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow |
| `GET /{tenant}/discovery/v2.0/keys` | the public keys that `signing_keys` of the control endpoint holds |
| `GET /{tenant}/v2.0/.well-known/openid-configuration` | what MSAL reads before it asks for a token |

azure-identity takes the managed-identity endpoint over plain http on loopback. Its other credentials insist on an
https authority (and on `disable_instance_discovery=True` for an unknown one), so they need the simulator's --certificate.
Tokens are JWTs signed with a key of this process. Users' assertions come from elsewhere, signed with `signing_keys`.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest, digest
from secrets import token_bytes
from urllib.parse import parse_qsl
from uuid import NAMESPACE_URL, uuid5

from d365mcp.simulator.errors import Reply
from d365mcp.simulator.model import World

IDENTITY_HEADER = "simulated-identity-secret"
SYSTEM_ASSIGNED = "00000000-0000-4000-8000-000000000001"
ON_BEHALF = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TENANT = "00000000-0000-4000-8000-0000000000aa"


class Tokens:
    """Issues bearer tokens and tells whose they are."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lifetime = 3599
        self._key = token_bytes(32)
        self._issued = 0
        self._revoked = 0
        self._known: dict[str, dict[str, object]] = {}
        self.signing_keys: list[dict[str, object]] = []

    def reset(self) -> None:
        self.lifetime, self._revoked, self.signing_keys = 3599, 0, []

    def revoke(self) -> None:
        """Refuse every token issued so far."""
        self._revoked = self._issued

    def issue(self, client_id: str, audience: str, user: str = "") -> tuple[str, int]:
        """A token for a client, or for a user through one, and the time it expires."""
        self._issued += 1
        now = int(time.time())
        claims = {
            "aud": audience,
            "appid": client_id,
            "oid": user or str(uuid5(NAMESPACE_URL, client_id)),
            **({"scp": "user_impersonation"} if user else {}),
            "tid": TENANT,
            "iat": now,
            "exp": now + self.lifetime,
            "number": self._issued,
        }
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        return f"{signed}.{self._signature(signed)}", now + self.lifetime

    def client_id(self, authorization: str, audience: str) -> str | None:
        """Whose token this is, a user's by their object id, unless it is forged, expired, revoked or meant for another audience."""
        scheme, _, token = authorization.partition(" ")
        claims = self._claims(token) if scheme == "Bearer" else None
        if claims is None or claims["aud"] != audience:
            return None
        if int(str(claims["exp"])) <= time.time() or int(str(claims["number"])) <= self._revoked:
            return None
        return str(claims["oid"] if "scp" in claims else claims["appid"])

    def _claims(self, token: str) -> dict[str, object] | None:
        """The claims of a token signed here; checked once, since every request shows the same one."""
        if token not in self._known:
            signed, _, signature = token.rpartition(".")
            if not compare_digest(self._signature(signed).encode(), signature.encode()):
                return None
            payload = signed.partition(".")[2]
            self._known[token] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return self._known[token]

    def _signature(self, text: str) -> str:
        return urlsafe_b64encode(digest(self._key, text.encode(), sha256)).decode().rstrip("=")

    def managed_identity(self, query: str, secret: str) -> Reply:
        """Answer App Service's local token endpoint."""
        asked = dict(parse_qsl(query))
        if not compare_digest(secret.encode(), IDENTITY_HEADER.encode()):
            return _app_service_error(401, "The X-IDENTITY-HEADER is missing or wrong.")
        if asked.get("api-version") != "2019-08-01" or not asked.get("resource"):
            return _app_service_error(400, "api-version=2019-08-01 and resource are required.")
        client_id = asked.get("client_id") or SYSTEM_ASSIGNED
        token, expires = self.issue(client_id, asked["resource"])
        return _plain_json(
            {
                "access_token": token,
                "expires_on": str(expires),
                "resource": asked["resource"],
                "token_type": "Bearer",
                "client_id": client_id,
            }
        )

    def token(self, body: bytes) -> Reply:
        """Answer Entra's token endpoint."""
        asked = dict(parse_qsl(body.decode(errors="replace")))
        if asked.get("grant_type") not in ("client_credentials", ON_BEHALF):
            return _entra_error("unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
        scopes = [scope for scope in asked.get("scope", "").split() if scope.endswith("/.default")]
        if len(scopes) != 1:
            return _entra_error("invalid_scope", "AADSTS1002012: The provided value for scope is not valid.")
        known = self.world.clients.get(asked.get("client_id", ""))
        if known is None and self.world.clients:
            return _entra_error("unauthorized_client", "AADSTS700016: Application was not found in the directory.")
        proof = asked.get("client_secret") or asked.get("client_assertion")
        if not proof or (known and known.secret and proof != known.secret):
            return _entra_error("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401)
        user = ""
        if asked["grant_type"] == ON_BEHALF:
            user = self._user(asked)
            if not user:
                return _entra_error("invalid_grant", "AADSTS50013: Assertion failed signature or audience validation.")
        token, _ = self.issue(asked.get("client_id", ""), scopes[0].removesuffix("/.default"), user)
        life = {"expires_in": self.lifetime, "ext_expires_in": self.lifetime}
        return _plain_json({"token_type": "Bearer", **life, "access_token": token})

    def _user(self, asked: Mapping[str, str]) -> str:
        """Whose assertion this is; no user's when it is forged, expired or meant for another app."""
        import jwt  # most worlds have no users

        assertion, own = asked.get("assertion", ""), asked.get("client_id", "")
        try:
            key = jwt.PyJWKSet(self.signing_keys)[jwt.get_unverified_header(assertion)["kid"]]
            claims = jwt.decode(assertion, key, algorithms=["RS256"], audience=[own, f"api://{own}"])
        except (jwt.PyJWTError, KeyError):
            return ""
        return str(claims["oid"])

    def public_keys(self) -> Reply:
        """The keys users' tokens are signed with."""
        return _plain_json({"keys": self.signing_keys})


def openid_configuration(origin: str, tenant: str) -> Reply:
    root = f"{origin}/{tenant}"
    return _plain_json(
        {
            "issuer": f"{root}/v2.0",
            "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
            "token_endpoint": f"{root}/oauth2/v2.0/token",
        }
    )


def _encoded(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _plain_json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _app_service_error(status: int, message: str) -> Reply:
    return _plain_json({"statusCode": status, "message": message}, status)


def _entra_error(code: str, description: str, status: int = 400) -> Reply:
    return _plain_json({"error": code, "error_description": description}, status)
