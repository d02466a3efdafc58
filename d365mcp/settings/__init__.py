"""The server's settings, read once from the environment and host.json; every problem is reported together.

Two prefixes only: `D365FO_` (which F&O, as whom, what of it) and `MCP_` (how this server behaves), beside the
platform's own names. The README's table is rendered from the fields below.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from d365mcp.settings.host import HostLimits, read_host_limits
from d365mcp.settings.parsing import (
    LOOPBACK,
    MCP_PATH,
    account_name,
    blob_service,
    certificate,
    companies,
    cursor_keys,
    flag,
    followed,
    is_guid,
    names,
    number,
    one_of,
    public_address,
    redirect_uris,
    some_of,
    tenant_ids,
    text,
    time_of_day,
    web_address,
    whole,
)
from d365mcp.settings.rules import SIGNING_IN, contradictions, missing_settings, without_effect
from d365mcp.settings.spelling import misspelt

__all__ = [
    "LEAST_RESULT_CHARS",
    "LOOPBACK",
    "METADATA_PATH",
    "MOST_RESULT_CHARS",
    "RESULT_FORMS",
    "SIGNING_IN",
    "TOOLSETS",
    "HostLimits",
    "Settings",
    "declared",
    "read_settings",
]

# The platform's load balancer answers for us after 230 s, whatever functionTimeout says:
# https://learn.microsoft.com/azure/azure-functions/functions-scale#timeout
LOAD_BALANCER_SECONDS = 230.0
METADATA_PATH = "/.well-known/oauth-protected-resource"
# The host reads these whatever their case: https://learn.microsoft.com/dotnet/core/extensions/configuration
OF_THE_HOST = "AzureWebJobsStorage"


def setting(name: str, parse: Callable[[str], Any], default: Any, text: str, *, secret: bool = False) -> Any:
    """Declare a settings field: the variable's name, how it is read, its default and its line in the README."""
    return field(
        default=default, repr=not secret, metadata={"name": name, "parse": parse, "text": text, "secret": secret}
    )


RESULT_FORMS = ("both", "text")
LEAST_RESULT_CHARS, MOST_RESULT_CHARS = 2_000, 1_000_000
TOOLSETS = ("data", "metadata", "environment", "performance", "services", "documents", "admin")


@dataclass(frozen=True, eq=False)  # nobody compares them; that they could be would cost each cold start 0.6 ms
class Settings:
    """All settings. `problems` lists what has to be mended; the server starts all the same and says so."""

    base_url: str = setting(
        "D365FO_BASE_URL", web_address, "", "The environment: `https://….operations.dynamics.com`. Required."
    )
    d365_auth: str = setting(
        "D365FO_AUTH",
        one_of("managed_identity", "client_secret", "workload_identity", "azure_cli", "on_behalf_of"),
        "managed_identity",
        "As whom F&O is called: `managed_identity`, `client_secret`, `workload_identity` (Kubernetes), `azure_cli` (a laptop) or `on_behalf_of` (the caller).",
    )
    tenant_id: str = setting("D365FO_TENANT_ID", text, "", "Entra tenant, for `client_secret` and `on_behalf_of`.")
    client_id: str = setting("D365FO_CLIENT_ID", text, "", "App registration, for `client_secret` and `on_behalf_of`.")
    client_secret: str = setting(
        "D365FO_CLIENT_SECRET", text, "", "Its secret (a Key Vault reference is best).", secret=True
    )
    client_certificate: bytes = setting(
        "D365FO_CLIENT_CERTIFICATE",
        certificate,
        b"",
        "In the secret's place for `on_behalf_of`: its certificate with the private key, PEM or the base64 of a PFX.",
        secret=True,
    )
    authority: str = setting(
        "AZURE_AUTHORITY_HOST",
        web_address,
        "https://login.microsoftonline.com",
        "Entra's address, for sovereign clouds.",
    )
    identity_client_id: str = setting("AZURE_CLIENT_ID", text, "", "Client id of a user-assigned managed identity.")
    companies: tuple[str, ...] = setting(
        "D365FO_COMPANIES", companies, (), "Companies that may be touched at all, e.g. `usmf,ussi`; unset: all."
    )
    writable_entities: tuple[str, ...] = setting(
        "D365FO_WRITABLE_ENTITIES", names, (), "Entity sets that may be written; unset: all, once writes are on."
    )
    allowed_actions: tuple[str, ...] = setting(
        "D365FO_ALLOWED_ACTIONS", names, (), "Actions that may be invoked, as patterns (`CustomersV3.*`); unset: none."
    )
    allowed_services: tuple[str, ...] = setting(
        "D365FO_ALLOWED_SERVICES", names, (), "JSON services, as patterns (`Group/Service/Operation`); unset: none."
    )
    languages: tuple[str, ...] = setting(
        "D365FO_LANGUAGES", names, ("en-US",), "Languages whose labels the catalog keeps; the first is the default."
    )
    mcp_auth: str = setting(
        "MCP_AUTH",
        one_of("function_key", "easy_auth", "jwt", "none"),
        "function_key",
        "Who may call: `function_key`, `easy_auth`, `jwt` or `none` (refused on Azure).",
    )
    caller_client_id: str = setting(
        "MCP_CLIENT_ID", text, "", "Client id of the app registration callers sign in to, for `jwt`."
    )
    public_address: str = setting(
        "MCP_PUBLIC_URL",
        public_address,
        "",
        "Where clients find this server, e.g. `https://mcp.contoso.com`; unset: the site's own host name.",
    )
    allowed_tenants: tuple[str, ...] = setting(
        "MCP_ALLOWED_TENANTS", tenant_ids, (), "Tenants callers may come from, by id; unset: `D365FO_TENANT_ID`."
    )
    require_roles: bool = setting(
        "MCP_REQUIRE_ROLES",
        flag,
        False,
        "`true` where the app registration has app roles: who holds none may do nothing, whatever their client's scopes.",
    )
    own_audiences: tuple[str, ...] = setting(
        "MCP_AUDIENCES",
        names,
        (),
        "Further Application ID URIs of that app registration, beside `api://CLIENT-ID`; the first names the scopes.",
    )
    oauth_facade: bool = setting(
        "MCP_OAUTH_FACADE", flag, False, "`true` lets clients sign in that cannot talk to Entra themselves."
    )
    oauth_client_id: str = setting(
        "MCP_OAUTH_CLIENT_ID", text, "", "Client id of the public client all of them sign in as, with the façade."
    )
    redirect_uris: tuple[str, ...] = setting(
        "MCP_OAUTH_REDIRECT_URIS",
        redirect_uris,
        (
            "http://localhost/callback",
            "http://localhost/oauth/callback",
            "http://127.0.0.1/",
            "http://127.0.0.1/callback",
            "http://127.0.0.1/mcp/oauth/callback",
        ),
        "Where their sign-ins may return to; on loopback any port will do.",
    )
    read_only: bool = setting("MCP_READ_ONLY", flag, True, "`false` lets tools create, change and delete.")
    toolsets: tuple[str, ...] = setting(
        "MCP_TOOLSETS",
        some_of(*TOOLSETS),
        ("data", "metadata", "environment", "performance"),
        f"Groups of tools on offer: {', '.join(TOOLSETS)} or all. A request may narrow them (`X-MCP-Toolsets`).",
    )
    allowed_hosts: tuple[str, ...] = setting(
        "MCP_ALLOWED_HOSTS", names, (), "Further Host names to answer to, beside the site's own and loopback."
    )
    allowed_origins: tuple[str, ...] = setting(
        "MCP_ALLOWED_ORIGINS", names, (), "Origins of browser clients to answer, e.g. `https://inspector.contoso.com`."
    )
    max_concurrent_requests: int | None = setting(
        "MCP_MAX_CONCURRENT_REQUESTS",
        whole(1, 10_000),
        None,
        "Calls that reach F&O at once; lowers host.json's share, never raises it.",
    )
    request_timeout: float = setting(
        "MCP_REQUEST_TIMEOUT",
        number(1, 1800),
        45.0,
        "Seconds for one request, inside host.json's limit: many clients wait 60. A request may ask for other (`X-MCP-Timeout`).",
    )
    connection_pool_size: int = setting(
        "MCP_CONNECTION_POOL_SIZE", whole(1, 1000), 100, "Connections to F&O kept at most."
    )
    max_result_chars: int = setting(
        "MCP_MAX_RESULT_CHARS",
        whole(LEAST_RESULT_CHARS, MOST_RESULT_CHARS),
        20_000,
        "Characters in one result; more is paged. A request may ask for another number (`X-MCP-Max-Result-Chars`).",
    )
    result_form: str = setting(
        "MCP_RESULT_FORM",
        one_of(*RESULT_FORMS),
        "both",
        "Results as text and structure (`both`) or as `text` alone, which says the same. A request may ask for the other (`X-MCP-Result-Form`).",
    )
    sql_concurrency: int = setting(
        "MCP_SQL_CONCURRENCY", whole(1, 64), 2, "SQL statements at work at once in one process of this server."
    )
    sql_memory_mb: int = setting(
        "MCP_SQL_MEMORY_MB",
        whole(160, 1_000_000),
        896,
        "Memory in MB that SQL may take in one instance; its statements at work share it evenly, none has less than 160.",
    )
    max_document_bytes: int = setting(
        "MCP_MAX_DOCUMENT_BYTES", whole(10_000, 100_000_000), 5_000_000, "Size of a document that is still returned."
    )
    cursor_keys: tuple[bytes, ...] = setting(
        "MCP_CURSOR_KEY",
        cursor_keys,
        (),
        "Keys that seal continuation cursors, at least 32 bytes each; the first seals, all open.",
        secret=True,
    )
    catalog_schedule: str = setting(
        "MCP_CATALOG_SCHEDULE", time_of_day, "02:30", "When the catalog is rebuilt each night, `HH:MM` in UTC."
    )
    catalog_revalidate: float = setting(
        "MCP_CATALOG_REVALIDATE_SECONDS", number(1, 86_400), 300.0, "How often an instance looks for a newer catalog."
    )
    performance_monitoring: bool = setting(
        "MCP_PERFORMANCE_MONITORING", flag, True, "`false` sends no telemetry from this server."
    )
    workspace_id: str = setting(
        "MCP_LOG_ANALYTICS_WORKSPACE_ID", text, "", "Workspace the performance statistics are read from."
    )
    log_analytics_url: str = setting(
        "MCP_LOG_ANALYTICS_URL",
        web_address,
        "https://api.loganalytics.azure.com",
        "Where it answers queries; sovereign clouds have their own address.",
    )
    p95_threshold_ms: float = setting(
        "MCP_P95_THRESHOLD_MS", number(1, 600_000), 5_000.0, "p95 above it: the verdict is slow."
    )
    error_rate_threshold: float = setting(
        "MCP_ERROR_RATE_THRESHOLD",
        number(0, 1),
        0.05,
        "Share of failed calls, callers' own mistakes left aside, above it: the verdict is failing.",
    )
    application_insights: str = setting(
        "APPLICATIONINSIGHTS_CONNECTION_STRING", text, "", "Where telemetry goes; set by the platform.", secret=True
    )
    application_insights_auth: str = setting(
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        text,
        "",
        "`Authorization=AAD` (with `ClientId=…`): telemetry is sent with an identity.",
    )
    storage_connection: str = setting(
        "AzureWebJobsStorage", text, "", "Storage by connection string; the identity form is better.", secret=True
    )
    storage_uri: str = setting(
        "AzureWebJobsStorage__blobServiceUri", blob_service, "", "Storage by identity: the blob service's address."
    )
    storage_account: str = setting(
        "AzureWebJobsStorage__accountName",
        account_name,
        "",
        "In its place the account's name, where it is in `core.windows.net`.",
    )
    storage_client_id: str = setting(
        "AzureWebJobsStorage__clientId", text, "", "Client id of the identity that opens the storage."
    )
    stateless: bool = setting(
        "MCP_HTTP_STATELESS", flag, True, "Always true here; `false` is answered with a warning in the log."
    )
    json_answers: bool = setting(
        "MCP_HTTP_JSON", flag, True, "Always true here; `false` is answered with a warning in the log."
    )
    site_name: str = setting("WEBSITE_SITE_NAME", text, "", "The function app's name; set by the platform.")
    site_hostname: str = setting("WEBSITE_HOSTNAME", text, "", "Its host name; set by the platform.")
    platform_auth: bool = setting(
        "WEBSITE_AUTH_ENABLED", flag, False, "Whether App Service Authentication is on; set by the platform."
    )
    instance_id: str = setting("WEBSITE_INSTANCE_ID", text, "", "The instance; set by the platform.")
    container_name: str = setting("CONTAINER_NAME", text, "", "The instance on Flex; set by the platform.")
    container_app: str = setting("CONTAINER_APP_NAME", text, "", "The container app; set by the platform.")
    container_host: str = setting("HOSTNAME", text, "", "The instance in any other container; set by it.")
    host: HostLimits = HostLimits()
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()  # what the operator may want to know, and nothing that keeps the server from its work

    @property
    def on_azure(self) -> bool:
        """Return whether this runs on Azure: CONTAINER_NAME alone is set in many a container elsewhere."""
        return bool(self.container_app or (self.site_name and (self.instance_id or self.container_name)))

    @property
    def instance(self) -> str:
        given = (self.instance_id or self.container_name) if self.on_azure else ""
        return given or self.container_host or "local"

    @property
    def public_url(self) -> str:
        """Return where clients find this server, or nothing where no setting says it: a Host header is never believed."""
        site = self.site_hostname.lower() if self.on_azure else ""
        return self.public_address or (f"https://{site}" if site else "")

    @property
    def mcp_url(self) -> str:
        """Return the endpoint's address: what its tokens are meant for, as clients say it."""
        return f"{self.public_url}{MCP_PATH}"

    @property
    def metadata_url(self) -> str:
        """Return where the endpoint's metadata is: the well-known part goes between host and path (RFC 9728, 3.1)."""
        parts = urlsplit(self.mcp_url)
        return f"{parts.scheme}://{parts.netloc}{METADATA_PATH}{parts.path}"

    @property
    def has_facade(self) -> bool:
        """Return whether the sign-in façade is wanted and can do its part."""
        return self.oauth_facade and not self.problems

    @property
    def tenants(self) -> tuple[str, ...]:
        """Return the ids of the tenants callers may come from, the first that of this server."""
        own = self.tenant_id.lower()
        return self.allowed_tenants or ((own,) if is_guid(own) else ())

    @property
    def application_id_uri(self) -> str:
        """Return what a client puts before the name of a scope it asks Entra for."""
        own = f"api://{self.caller_client_id}" if self.caller_client_id else ""
        return self.own_audiences[0] if self.own_audiences else own

    @cached_property
    def audiences(self) -> frozenset[str]:
        """Return whom a caller's token may be meant for: v1.0 tokens name an Application ID URI, v2.0 the client id."""
        own = (self.caller_client_id, f"api://{self.caller_client_id}") if self.caller_client_id else ()
        return frozenset({*own, *self.own_audiences})

    @cached_property
    def offered_toolsets(self) -> frozenset[str]:
        return frozenset(self.toolsets)

    @property
    def storage_blob_uri(self) -> str:
        """Return the blob service's address, made of the account's name as the Functions host makes it."""
        named = f"https://{self.storage_account}.blob.core.windows.net" if self.storage_account else ""
        return self.storage_uri or named

    @property
    def has_shared_storage(self) -> bool:
        """Return whether storage is configured that all instances share."""
        return bool(self.storage_blob_uri or self.storage_connection)

    @property
    def tool_permits(self) -> int:
        """Return how many tool calls may be at work at once in this process."""
        share = max(1, (self.host.max_concurrent_requests or 100) * 3 // 4)
        return min(self.max_concurrent_requests or share, share)

    @cached_property
    def deadline_seconds(self) -> float:
        """Return how long a request may take that asks for no other time."""
        return min(self.limit_seconds, self.request_timeout)

    @cached_property
    def limit_seconds(self) -> float:
        """Return how long any request may take: inside the host's limits, less what the answer itself needs."""
        limit = min(self.host.function_timeout or LOAD_BALANCER_SECONDS, LOAD_BALANCER_SECONDS)
        return limit - margin(limit)


def margin(limit: float) -> float:
    """Return the seconds kept back from a host limit: at the limit the host restarts the worker."""
    return min(5.0, limit * 0.15)


def declared() -> list[Field[Any]]:
    """Return the fields that come from a variable, in the order of the README's table."""
    return [each for each in fields(Settings) if "name" in each.metadata]


def read_settings(environ: Mapping[str, str] | None = None, host_json: Path | None = None) -> Settings:
    """Read all settings. Nothing raises: what is wrong is in `problems`, one sentence each."""
    variables = os.environ if environ is None else environ  # noqa: TID251 - the one place that reads it
    folded = {name.lower(): value for name, value in variables.items()}
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for each in declared():
        name = each.metadata["name"]
        raw = (folded.get(name.lower(), "") if name.startswith(OF_THE_HOST) else variables.get(name, "")).strip()
        if not raw:
            continue
        try:
            values[each.name] = each.metadata["parse"](followed(raw))
        except ValueError as problem:
            wrong[name] = str(problem)
    problems = [f"{name} {problem}." for name, problem in wrong.items()]
    host = read_host_limits(folded, host_json, problems)
    draft = Settings(**values, host=host)
    missing = missing_settings(draft)
    unread, unknown = misspelt(variables, [each.metadata["name"] for each in declared()])
    problems += unread
    problems += [f"{name} is not set." for name in missing if name not in wrong]
    problems += contradictions(draft)
    notices = (*unknown, *without_effect(draft))
    return Settings(**values, host=host, problems=tuple(problems), missing=tuple(missing), notices=notices)
