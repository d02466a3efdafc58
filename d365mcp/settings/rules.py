"""The rules between settings: which are required, and which contradict each other. Performs no I/O."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from d365mcp.settings.model import Settings

SIGNING_IN = ("easy_auth", "jwt")  # the values of MCP_AUTH with which callers sign in to Entra


def missing_settings(settings: "Settings") -> list[str]:
    """Name the required variables that are not set."""
    required: dict[str, object] = {"D365FO_BASE_URL": settings.base_url}
    if settings.d365_auth in ("client_secret", "on_behalf_of"):
        required |= {"D365FO_TENANT_ID": settings.tenant_id, "D365FO_CLIENT_ID": settings.client_id}
    if settings.d365_auth == "client_secret":
        required |= {"D365FO_CLIENT_SECRET": settings.client_secret}
    if settings.oauth_facade:
        required |= {"MCP_OAUTH_CLIENT_ID": settings.oauth_client_id}
    if settings.mcp_auth == "jwt":
        required |= {"MCP_CLIENT_ID": settings.caller_client_id, "MCP_PUBLIC_URL": settings.public_url}
        required |= {"MCP_ALLOWED_TENANTS": settings.tenants}
    return [name for name, value in required.items() if not value]


def contradictions(settings: "Settings") -> list[str]:
    """Say which settings cannot stand together."""
    found = []
    if settings.mcp_auth == "none" and settings.on_azure:
        found.append("MCP_AUTH is none, which is refused on Azure: set function_key, easy_auth or jwt.")
    if settings.on_azure and not settings.cursor_keys and not settings.has_shared_storage:
        found.append(
            "MCP_CURSOR_KEY is not set, and no storage is configured to share a key. A cursor would work on one instance only: set one of them."
        )
    if settings.oauth_facade and settings.mcp_auth != "jwt":  # App Service Authentication publishes Entra itself
        found.append(f"MCP_OAUTH_FACADE needs MCP_AUTH=jwt, not {settings.mcp_auth}.")
    if settings.mcp_auth == "easy_auth" and not settings.platform_auth:
        found.append(
            "MCP_AUTH is easy_auth, but App Service Authentication is off (WEBSITE_AUTH_ENABLED): turn it on, or set jwt."
        )
    if settings.mcp_auth == "easy_auth" and settings.tenant_id and not settings.tenants:
        found.append(
            "D365FO_TENANT_ID is not a GUID, so it cannot limit callers' tenants: list their ids in MCP_ALLOWED_TENANTS."
        )
    if settings.d365_auth == "on_behalf_of":
        found += _on_behalf_contradictions(settings)
    return found


def _on_behalf_contradictions(settings: "Settings") -> list[str]:
    """Say why callers' tokens could not be exchanged: Entra does it for the app registration they are meant for."""
    if settings.mcp_auth not in SIGNING_IN:
        return [f"D365FO_AUTH is on_behalf_of, but with MCP_AUTH={settings.mcp_auth} callers bring no token: set jwt."]
    if settings.caller_client_id and settings.caller_client_id != settings.client_id:
        return ["MCP_CLIENT_ID and D365FO_CLIENT_ID differ, but on_behalf_of needs one app registration for both."]
    return []


def without_effect(settings: "Settings") -> list[str]:
    """Name the settings that have no effect here."""
    found = []
    if not settings.stateless:
        found.append("MCP_HTTP_STATELESS=false has no effect: this server is always stateless.")
    if not settings.json_answers:
        found.append("MCP_HTTP_JSON=false has no effect: this server always answers in JSON.")
    return found
