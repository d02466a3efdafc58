"""The discovery documents: where to sign in, and for which scopes. Built from settings alone, never from a request.

A client looks at the address the 401 names, else between host and path of the endpoint, else at the root; all answer
the same: https://datatracker.ietf.org/doc/html/rfc9728#section-3
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from d365mcp.server.auth.challenges import scopes
from d365mcp.server.auth.roles import ADMIN
from d365mcp.settings import METADATA_PATH, SIGNING_IN, Settings

DiscoveryDocument = Mapping[str, Any]

SERVER_PATH = "/.well-known/oauth-authorization-server"


def well_known(settings: Settings, path: str) -> tuple[int, DiscoveryDocument]:
    """Return the status and the document of a path below `/.well-known`."""
    found = documents(settings)
    if document := found.get(f"/.well-known/{path}"):
        return 200, document
    there = " and ".join(found) or "none: callers do not sign in here, or a setting is missing (see /health)"
    return 404, {"error": "not_found", "message": f"No such document; there is {there}."}


def documents(settings: Settings) -> Mapping[str, DiscoveryDocument]:
    """Return the discovery documents by their path; none while callers do not sign in, or cannot."""
    known = settings.public_url and settings.caller_client_id and settings.tenants
    if settings.mcp_auth not in SIGNING_IN or settings.problems or not known:
        return {}
    resource = _protected_resource(settings)
    found = {METADATA_PATH: resource, urlsplit(settings.metadata_url).path: resource}
    if settings.oauth_facade:
        found[f"{SERVER_PATH}{urlsplit(settings.public_url).path}"] = _authorization_server(settings)
    return found


def _protected_resource(settings: Settings) -> DiscoveryDocument:
    """Return what the endpoint is and who issues tokens for it: Entra, or the façade in front of it."""
    entra = [f"{settings.authority}/{tenant}/v2.0" for tenant in settings.tenants]
    return {
        "resource": settings.mcp_url,
        "authorization_servers": [settings.public_url] if settings.oauth_facade else entra,
        "scopes_supported": scopes(settings, ADMIN),
        "bearer_methods_supported": ["header"],
    }


def _authorization_server(settings: Settings) -> DiscoveryDocument:
    """Return the façade's own metadata; Entra's own leaves out PKCE, and clients refuse to begin without it.

    https://datatracker.ietf.org/doc/html/rfc8414#section-2
    """
    return {
        "issuer": settings.public_url,
        "authorization_endpoint": f"{settings.public_url}/authorize",
        "token_endpoint": f"{settings.public_url}/token",
        "registration_endpoint": f"{settings.public_url}/register",
        "scopes_supported": scopes(settings, ADMIN),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
    }
