"""The settings as one frozen record: each with its variable, how it is read, its default, and its line in the manual.

Two prefixes only: `D365FO_` (which F&O, as which identity, how much of it) and `MCP_` (how this server behaves), beside
the platform's own names. The table of settings is rendered from the fields below.
"""

from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from d365mcp.settings.host_json import HostLimits
from d365mcp.settings.parsing import (
    MCP_PATH,
    account_name,
    blob_service,
    certificate,
    company_ids,
    cursor_keys,
    flag,
    is_guid,
    number_between,
    one_word_of,
    plain_text,
    public_address,
    redirect_uris,
    tenant_ids,
    time_of_day,
    web_address,
    whole_between,
    words,
    words_of,
)

# The platform's load balancer answers for us after 230 s, whatever functionTimeout says:
# https://learn.microsoft.com/azure/azure-functions/functions-scale#timeout
LOAD_BALANCER_SECONDS = 230.0
METADATA_PATH = "/.well-known/oauth-protected-resource"


def _setting(name: str, parse: Callable[[str], Any], default: Any, text: str, *, secret: bool = False) -> Any:
    """Declare a settings field: the variable's name, how it is read, its default and its line in the table of settings."""
    return field(
        default=default, repr=not secret, metadata={"name": name, "parse": parse, "text": text, "secret": secret}
    )


RESULT_FORMS = ("both", "text")
LEAST_RESULT_CHARS, MOST_RESULT_CHARS = 2_000, 1_000_000
TOOLSETS = ("data", "metadata", "environment", "performance", "services", "documents", "admin")


@dataclass(frozen=True)
class Settings:
    """All settings. `problems` lists what has to be corrected; the server starts all the same and says so."""

    base_url: str = _setting(
        "D365FO_BASE_URL", web_address, "", "The environment: `https://….operations.dynamics.com`. Required."
    )
    d365_auth: str = _setting(
        "D365FO_AUTH",
        one_word_of("managed_identity", "client_secret", "workload_identity", "azure_cli", "on_behalf_of"),
        "managed_identity",
        "The identity F&O is called with: `managed_identity`, `client_secret`, `workload_identity` (Kubernetes), `azure_cli` (a laptop) or `on_behalf_of` (the caller).",
    )
    tenant_id: str = _setting(
        "D365FO_TENANT_ID", plain_text, "", "Entra tenant, for `client_secret` and `on_behalf_of`."
    )
    client_id: str = _setting(
        "D365FO_CLIENT_ID", plain_text, "", "App registration, for `client_secret` and `on_behalf_of`."
    )
    client_secret: str = _setting(
        "D365FO_CLIENT_SECRET", plain_text, "", "Its secret (a Key Vault reference is best).", secret=True
    )
    client_certificate: bytes = _setting(
        "D365FO_CLIENT_CERTIFICATE",
        certificate,
        b"",
        "In the secret's place for `on_behalf_of`: its certificate with the private key, PEM or the base64 of a PFX.",
        secret=True,
    )
    authority: str = _setting(
        "AZURE_AUTHORITY_HOST",
        web_address,
        "https://login.microsoftonline.com",
        "Entra's address, for sovereign clouds.",
    )
    identity_client_id: str = _setting(
        "AZURE_CLIENT_ID", plain_text, "", "Client id of a user-assigned managed identity."
    )
    companies: tuple[str, ...] = _setting(
        "D365FO_COMPANIES", company_ids, (), "Companies that may be touched at all, e.g. `usmf,ussi`; unset: all."
    )
    writable_entities: tuple[str, ...] = _setting(
        "D365FO_WRITABLE_ENTITIES", words, (), "Entity sets that may be written; unset: all, once writes are on."
    )
    allowed_actions: tuple[str, ...] = _setting(
        "D365FO_ALLOWED_ACTIONS", words, (), "Actions that may be invoked, as patterns (`CustomersV3.*`); unset: none."
    )
    allowed_services: tuple[str, ...] = _setting(
        "D365FO_ALLOWED_SERVICES", words, (), "JSON services, as patterns (`Group/Service/Operation`); unset: none."
    )
    languages: tuple[str, ...] = _setting(
        "D365FO_LANGUAGES", words, ("en-US",), "Languages whose labels the catalog keeps; the first is the default."
    )
    mcp_auth: str = _setting(
        "MCP_AUTH",
        one_word_of("function_key", "easy_auth", "jwt", "none"),
        "function_key",
        "Who may call: `function_key`, `easy_auth`, `jwt` or `none` (refused on Azure).",
    )
    caller_client_id: str = _setting(
        "MCP_CLIENT_ID", plain_text, "", "Client id of the app registration callers sign in to, for `jwt`."
    )
    public_address: str = _setting(
        "MCP_PUBLIC_URL",
        public_address,
        "",
        "Where clients find this server, e.g. `https://mcp.contoso.com`; unset: the site's own host name.",
    )
    allowed_tenants: tuple[str, ...] = _setting(
        "MCP_ALLOWED_TENANTS", tenant_ids, (), "Tenants callers may come from, by id; unset: `D365FO_TENANT_ID`."
    )
    require_roles: bool = _setting(
        "MCP_REQUIRE_ROLES",
        flag,
        False,
        "`true` where the app registration has app roles: a user without a role may do nothing, whatever their client's scopes.",
    )
    own_audiences: tuple[str, ...] = _setting(
        "MCP_AUDIENCES",
        words,
        (),
        "Further Application ID URIs of that app registration, beside `api://CLIENT-ID`; the first names the scopes.",
    )
    oauth_facade: bool = _setting(
        "MCP_OAUTH_FACADE", flag, False, "`true` lets clients sign in that cannot talk to Entra themselves."
    )
    oauth_client_id: str = _setting(
        "MCP_OAUTH_CLIENT_ID", plain_text, "", "Client id of the public client all of them sign in as, with the façade."
    )
    redirect_uris: tuple[str, ...] = _setting(
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
    read_only: bool = _setting("MCP_READ_ONLY", flag, True, "`false` lets tools create, change and delete.")
    toolsets: tuple[str, ...] = _setting(
        "MCP_TOOLSETS",
        words_of(*TOOLSETS),
        ("data", "metadata", "environment", "performance"),
        f"Groups of tools on offer: {', '.join(TOOLSETS)} or all. A request may narrow them (`X-MCP-Toolsets`).",
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "MCP_ALLOWED_HOSTS", words, (), "Further Host names to answer to, beside the site's own and loopback."
    )
    allowed_origins: tuple[str, ...] = _setting(
        "MCP_ALLOWED_ORIGINS", words, (), "Origins of browser clients to answer, e.g. `https://inspector.contoso.com`."
    )
    max_concurrent_requests: int | None = _setting(
        "MCP_MAX_CONCURRENT_REQUESTS",
        whole_between(1, 10_000),
        None,
        "Calls that reach F&O at once; lowers host.json's share, never raises it.",
    )
    request_timeout: float = _setting(
        "MCP_REQUEST_TIMEOUT",
        number_between(1, 1800),
        45.0,
        "Seconds for one request, inside host.json's limit: many clients wait 60. A request may ask for other (`X-MCP-Timeout`).",
    )
    connection_pool_size: int = _setting(
        "MCP_CONNECTION_POOL_SIZE", whole_between(1, 1000), 100, "Connections to F&O kept at most."
    )
    max_result_chars: int = _setting(
        "MCP_MAX_RESULT_CHARS",
        whole_between(LEAST_RESULT_CHARS, MOST_RESULT_CHARS),
        20_000,
        "Characters in one result; more is paged. A request may ask for another number (`X-MCP-Max-Result-Chars`).",
    )
    result_form: str = _setting(
        "MCP_RESULT_FORM",
        one_word_of(*RESULT_FORMS),
        "both",
        "Results as text and structure (`both`) or as `text` alone, which says the same. A request may ask for the other (`X-MCP-Result-Form`).",
    )
    sql_concurrency: int = _setting(
        "MCP_SQL_CONCURRENCY", whole_between(1, 64), 2, "SQL statements at work at once in one process of this server."
    )
    sql_memory_mb: int = _setting(
        "MCP_SQL_MEMORY_MB",
        whole_between(160, 1_000_000),
        896,
        "Memory in MB that SQL may take in one instance; its statements at work share it evenly, none has less than 160.",
    )
    sql_parallel_pages: int = _setting(
        "MCP_SQL_PARALLEL_PAGES",
        whole_between(1, 8),
        4,
        "Requests to F&O at once, of all `d365fo_query_sql` calls together.",
    )
    max_document_bytes: int = _setting(
        "MCP_MAX_DOCUMENT_BYTES",
        whole_between(10_000, 100_000_000),
        5_000_000,
        "Size of a document that is still returned.",
    )
    cursor_keys: tuple[bytes, ...] = _setting(
        "MCP_CURSOR_KEY",
        cursor_keys,
        (),
        "Keys that seal continuation cursors, at least 32 bytes each; the first seals, all open.",
        secret=True,
    )
    catalog_schedule: str = _setting(
        "MCP_CATALOG_SCHEDULE", time_of_day, "02:30", "When the catalog is rebuilt each night, `HH:MM` in UTC."
    )
    catalog_revalidate: float = _setting(
        "MCP_CATALOG_REVALIDATE_SECONDS",
        number_between(1, 86_400),
        300.0,
        "How often an instance looks for a newer catalog.",
    )
    performance_monitoring: bool = _setting(
        "MCP_PERFORMANCE_MONITORING", flag, True, "`false` sends no telemetry from this server."
    )
    workspace_id: str = _setting(
        "MCP_LOG_ANALYTICS_WORKSPACE_ID", plain_text, "", "Workspace the performance statistics are read from."
    )
    log_analytics_url: str = _setting(
        "MCP_LOG_ANALYTICS_URL",
        web_address,
        "https://api.loganalytics.azure.com",
        "Where it answers queries; sovereign clouds have their own address.",
    )
    p95_threshold_ms: float = _setting(
        "MCP_P95_THRESHOLD_MS", number_between(1, 600_000), 5_000.0, "p95 above it: the verdict is slow."
    )
    error_rate_threshold: float = _setting(
        "MCP_ERROR_RATE_THRESHOLD",
        number_between(0, 1),
        0.05,
        "Share of failed calls, callers' own mistakes left aside, above it: the verdict is failing.",
    )
    application_insights: str = _setting(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        plain_text,
        "",
        "Where telemetry goes; set by the platform.",
        secret=True,
    )
    application_insights_auth: str = _setting(
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        plain_text,
        "",
        "`Authorization=AAD` (with `ClientId=…`): telemetry is sent with an identity.",
    )
    storage_connection: str = _setting(
        "AzureWebJobsStorage", plain_text, "", "Storage by connection string; the identity form is better.", secret=True
    )
    storage_uri: str = _setting(
        "AzureWebJobsStorage__blobServiceUri", blob_service, "", "Storage by identity: the blob service's address."
    )
    storage_account: str = _setting(
        "AzureWebJobsStorage__accountName",
        account_name,
        "",
        "In its place the account's name, where it is in `core.windows.net`.",
    )
    storage_client_id: str = _setting(
        "AzureWebJobsStorage__clientId", plain_text, "", "Client id of the identity that opens the storage."
    )
    stateless: bool = _setting(
        "MCP_HTTP_STATELESS", flag, True, "Always true here; `false` is answered with a warning in the log."
    )
    json_answers: bool = _setting(
        "MCP_HTTP_JSON", flag, True, "Always true here; `false` is answered with a warning in the log."
    )
    site_name: str = _setting("WEBSITE_SITE_NAME", plain_text, "", "The function app's name; set by the platform.")
    site_hostname: str = _setting("WEBSITE_HOSTNAME", plain_text, "", "Its host name; set by the platform.")
    platform_auth: bool = _setting(
        "WEBSITE_AUTH_ENABLED", flag, False, "Whether App Service Authentication is on; set by the platform."
    )
    instance_id: str = _setting("WEBSITE_INSTANCE_ID", plain_text, "", "The instance; set by the platform.")
    container_name: str = _setting("CONTAINER_NAME", plain_text, "", "The instance on Flex; set by the platform.")
    container_app: str = _setting("CONTAINER_APP_NAME", plain_text, "", "The container app; set by the platform.")
    container_host: str = _setting("HOSTNAME", plain_text, "", "The instance in any other container; set by it.")
    host: HostLimits = HostLimits()
    problems: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()  # worth knowing, but nothing that stops the server

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
        """Return the endpoint's address, which clients name as the resource of their tokens."""
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
        """Return the audiences a caller's token may have: v1.0 tokens name an Application ID URI, v2.0 the client id."""
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
    """Return the fields that come from a variable, in the order of the table."""
    return [each for each in fields(Settings) if "name" in each.metadata]
