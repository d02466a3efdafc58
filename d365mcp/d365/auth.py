"""Tokens for F&O, through azure-identity: the identity is a setting, never an argument.

Fetched off the event loop, once for all who wait, kept until five minutes before they end. Tokens never leave this
module but as the header's value.
"""

import asyncio
import hashlib
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from d365mcp.errors import SignInFailed
from d365mcp.events import Operation
from d365mcp.settings import Settings
from d365mcp.singleflight import SingleFlight

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

# https://www.rfc-editor.org/rfc/rfc6750#section-2.1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_REFRESH_EARLY_SECONDS = 300.0
_MAX_USERS = 500
# The identity endpoint of a new instance is asked again for a while before azure-identity gives up.
_FETCH_SECONDS = 120.0
_EXCHANGE_SCOPE = "api://AzureADTokenExchange/.default"

# What Entra's codes mean here:
# https://learn.microsoft.com/dynamics365/fin-ops-core/dev-itpro/data-entities/troubleshoot-service-authentication
ENTRA_HINTS = {
    "AADSTS7000215": "The client secret is wrong or has expired: renew D365FO_CLIENT_SECRET.",
    "AADSTS7000222": "The client secret has expired: renew D365FO_CLIENT_SECRET.",
    "AADSTS500011": "Entra does not know the environment: check D365FO_BASE_URL, and that Microsoft.ERP is in this tenant.",
    "AADSTS50001": "Entra does not know the environment: check D365FO_BASE_URL, and that Microsoft.ERP is in this tenant.",
    "AADSTS700016": "The app registration is not in this tenant: check D365FO_CLIENT_ID and D365FO_TENANT_ID.",
    "AADSTS90002": "There is no such tenant: check D365FO_TENANT_ID.",
    "AADSTS65001": "Consent is missing: an administrator has to grant the app its permissions on Dynamics ERP.",
    "AADSTS50013": "The caller's token was not issued for this server: MCP_CLIENT_ID and D365FO_CLIENT_ID must be one app registration.",
    "AADSTS50076": "Entra wants a second factor of you: sign out of this server in your MCP client, and in again.",
    "AADSTS50079": "Entra wants a second factor of you: sign out of this server in your MCP client, and in again.",
    "AADSTS53003": "Conditional access does not let you in from here: ask an administrator.",
    "AADSTS700027": "Entra does not know the certificate: upload the one of D365FO_CLIENT_CERTIFICATE to the app registration.",
    "AADSTS70021": "The app registration does not trust the managed identity: add a federated credential for it.",
    "AADSTS700213": "The app registration does not trust the managed identity: add a federated credential for it.",
}
_DEFAULT_HINTS = {
    "managed_identity": "Is the managed identity assigned to this app, and AZURE_CLIENT_ID that of a user-assigned one?",
    "client_secret": "Check D365FO_TENANT_ID, D365FO_CLIENT_ID and D365FO_CLIENT_SECRET.",
    "workload_identity": "Is the pod's service account federated with the identity?",
    "azure_cli": "Sign in with az login first.",
    "on_behalf_of": "Check the app registration's secret, certificate or federated credential, and its permissions on Dynamics ERP.",
}


def token_scope(base_url: str) -> str:
    """Return the scope of an environment's tokens: its exact lower-case root, without a trailing slash.

    That the path prefix of hosted namespaces does not belong to it is UNVERIFIED.
    """
    scheme, _, rest = base_url.partition("://")
    return f"{scheme}://{rest.split('/')[0]}/.default"


@dataclass(frozen=True)
class Held:
    """One identity's token, and the credential that gets the next."""

    credential: "TokenCredential"
    value: str = field(repr=False)
    expires_on: float
    fetched_at: float
    instead_of: str = field(repr=False)  # the token F&O had refused, where one was to be replaced

    def serves(self, refused: str, asked_at: float) -> bool:
        """Return whether there is no better token to be had: not the one F&O refused, and good for five minutes at least.

        What has come since then will do, whatever it is: the identity endpoint may give the refused one again.
        """
        good = time.time() < self.expires_on - _REFRESH_EARLY_SECONDS
        is_new = self.fetched_at >= asked_at
        return (good or is_new) if self.value != refused else (is_new and self.instead_of == refused)


class TokenSource:
    """Tokens for one environment. With on-behalf-of, one per user, never mixed up."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.scope = token_scope(settings.base_url)
        self.held: SingleFlight[Held] = SingleFlight(_FETCH_SECONDS, keep=math.inf, most=_MAX_USERS)

    async def token(self, operation: Operation | None = None, *, refused: str = "") -> str:
        """Return a token for the identity a request is done as, another than the one F&O `refused`. Raises SignInFailed."""
        user_assertion = self.assertion_of(operation)
        identity, asked_at = _fingerprint(user_assertion), time.time()

        async def fetch() -> Held:
            return await asyncio.to_thread(self.fetch, self.held.kept(identity), user_assertion, refused)

        return (await self.held.get(identity, fetch, lambda held: held.serves(refused, asked_at))).value

    def identity_of(self, operation: Operation | None) -> str:
        """Return a name for the identity F&O would see, by which answers are kept apart. Raises SignInFailed."""
        return _fingerprint(self.assertion_of(operation))

    def assertion_of(self, operation: Operation | None) -> str | None:
        """Return the token to exchange, or None where we sign in as ourselves: where nobody calls, on their behalf too."""
        if self.settings.d365_auth != "on_behalf_of" or operation is None or operation.on_own_behalf:
            return None
        if not operation.user_assertion:
            hint = "Callers have to bring a token of their own: MCP_AUTH=jwt, or easy_auth with its token store."
            raise SignInFailed("D365FO_AUTH is on_behalf_of, but this request carries no caller's token.", hint=hint)
        return operation.user_assertion

    def fetch(self, held: Held | None, user_assertion: str | None, refused: str) -> Held:
        """Get a token, as azure-identity does: blocking. Raises SignInFailed, without Entra's own text."""
        from azure.core.exceptions import AzureError

        try:
            # A credential keeps its token too: only a new one asks again.
            known = held.credential if held and held.value != refused else None
            credential = known or _credential_of(self.settings, user_assertion)
            found = credential.get_token(self.scope)
        except (AzureError, ValueError) as problem:
            raise self.failure(str(problem)) from None
        if not _TOKEN.fullmatch(found.token):
            raise self.failure("")
        return Held(credential, found.token, float(found.expires_on), time.time(), refused)

    def failure(self, text: str) -> SignInFailed:
        code = next((code for code in sorted(ENTRA_HINTS, key=len, reverse=True) if code in text), None)
        hint = ENTRA_HINTS[code] if code else _DEFAULT_HINTS[self.settings.d365_auth]
        return SignInFailed(f"No token for F&O could be had{f' ({code})' if code else ''}.", hint=hint)

    def age(self) -> float | None:
        """Return the seconds since the newest token was fetched, or None where there is none."""
        fetched = [held.fetched_at for held in self.held.results()]
        return time.time() - max(fetched) if fetched else None


def _fingerprint(user_assertion: str | None) -> str:
    return hashlib.sha256(user_assertion.encode()).hexdigest() if user_assertion else ""


def _credential_of(settings: Settings, user_assertion: str | None) -> Any:
    """Return azure-identity's credential for D365FO_AUTH. Imports it here: it costs a cold start 0.2 s."""
    from azure import identity

    match settings.d365_auth:
        case "managed_identity":
            return identity.ManagedIdentityCredential(client_id=settings.identity_client_id or None, **_unkept())
        case "client_secret":
            return identity.ClientSecretCredential(
                settings.tenant_id, settings.client_id, settings.client_secret, **_entra(settings)
            )
        case "workload_identity":
            return identity.WorkloadIdentityCredential(client_id=settings.identity_client_id or None, **_unkept())
        case "azure_cli":
            return identity.AzureCliCredential()
    return _on_behalf_of(settings, user_assertion) if user_assertion else _on_own_behalf(settings)


def _on_behalf_of(settings: Settings, user_assertion: str) -> Any:
    """Return the credential that exchanges a caller's token for one of theirs for F&O."""
    from azure import identity

    if settings.client_secret:
        proof: dict[str, Any] = {"client_secret": settings.client_secret}
    elif settings.client_certificate:
        proof = {"client_certificate": settings.client_certificate}
    else:
        proof = {"client_assertion_func": _vouching(settings)}
    return identity.OnBehalfOfCredential(
        settings.tenant_id, settings.client_id, user_assertion=user_assertion, **proof, **_entra(settings)
    )


def _on_own_behalf(settings: Settings) -> Any:
    """Return the same app registration's own credential: the catalog is built at night, when nobody calls."""
    from azure import identity

    app = (settings.tenant_id, settings.client_id)
    if settings.client_secret:
        return identity.ClientSecretCredential(*app, settings.client_secret, **_entra(settings))
    if settings.client_certificate:
        return identity.CertificateCredential(*app, certificate_data=settings.client_certificate, **_entra(settings))
    return identity.ClientAssertionCredential(*app, _vouching(settings), **_entra(settings))


def _vouching(settings: Settings) -> Callable[[], str]:
    """Return what proves who we are without a secret: the managed identity's token, which the app registration trusts.

    https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
    """
    from azure import identity

    own = identity.ManagedIdentityCredential(client_id=settings.identity_client_id or None, **_unkept())
    return lambda: own.get_token(_EXCHANGE_SCOPE).token


def _entra(settings: Settings) -> dict[str, Any]:
    """Return where Entra is. The operator says so: that Microsoft's own list knows the host need not be asked."""
    return {"authority": settings.authority, "disable_instance_discovery": True, **_unkept()}


def _unkept() -> dict[str, Any]:
    """Return how a credential connects: for one request at a time.

    A kept connection would stay half closed for an hour, until the next token. With on-behalf-of each user has one.
    """
    import requests
    from azure.core.pipeline.transport import RequestsTransport

    session = requests.Session()
    session.headers["Connection"] = "close"
    return {"transport": RequestsTransport(session=session)}
