"""The server's settings, read once from the environment and host.json; every problem is reported together.

Two prefixes only: `D365FO_` (which F&O, as whom, what of it) and `MCP_` (how this server behaves), beside the
platform's own names. The README's table is rendered from the fields below.
"""

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

MINIMUM_CURSOR_KEY_BYTES = 32
# The platform's load balancer answers for us after 230 s, whatever functionTimeout says:
# https://learn.microsoft.com/azure/azure-functions/functions-scale#timeout
LOAD_BALANCER_SECONDS = 230.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MCP_PATH = "/mcp"
SIGNING_IN = ("easy_auth", "jwt")  # the values of MCP_AUTH with which callers sign in to Entra
METADATA_PATH = "/.well-known/oauth-protected-resource"
REFERENCE = "@microsoft.keyvault("
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def setting(name: str, parse: Callable[[str], Any], default: Any, text: str, *, secret: bool = False) -> Any:
    """Declare a settings field: the variable's name, how it is read, its default and its line in the README."""
    return field(
        default=default, repr=not secret, metadata={"name": name, "parse": parse, "text": text, "secret": secret}
    )


def text(value: str) -> str:
    return value


def flag(value: str) -> bool:
    """Read true or false as people write them."""
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if value.lower() not in known:
        raise ValueError("must be true or false")
    return known[value.lower()]


def names(value: str) -> tuple[str, ...]:
    """Read a comma-separated list."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def companies(value: str) -> tuple[str, ...]:
    """Read a list of companies; F&O writes them in lower case."""
    return tuple(name.lower() for name in names(value))


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        try:
            found = float(value)
        except ValueError:
            raise ValueError("must be a number") from None
        if not minimum <= found <= maximum:
            raise ValueError(f"must be between {minimum:g} and {maximum:g}")
        return found

    return parse


def whole(minimum: int, maximum: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        try:
            found = int(value)
        except ValueError:
            raise ValueError("must be a whole number") from None
        if not minimum <= found <= maximum:
            raise ValueError(f"must be between {minimum} and {maximum}")
        return found

    return parse


def one_of(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value.lower() not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value.lower()

    return parse


def some_of(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    def parse(value: str) -> tuple[str, ...]:
        found = tuple(name.lower() for name in names(value))
        if unknown := [name for name in found if name not in (*allowed, "all")]:
            raise ValueError(f"does not know {', '.join(unknown)}; it takes {', '.join(allowed)} or all")
        return allowed if "all" in found else found

    return parse


def web_address(value: str) -> str:
    """Read an https address without trailing slash; http only on loopback, where simulators and tests live."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address like https://contoso.operations.dynamics.com")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("must start with https://")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("must hold neither user name, query nor fragment")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def public_address(value: str) -> str:
    """Read the address clients use; that of the endpoint itself will do as well."""
    return web_address(value).removesuffix(MCP_PATH)


def redirect_uris(value: str) -> tuple[str, ...]:
    """Read where sign-ins may return to; one that leads anywhere else would hand over what they bring."""
    found = names(value)
    if not all(is_redirect_uri(urlsplit(uri)) and not set(uri) & set("*#\\ ") for uri in found):
        raise ValueError(
            "takes whole addresses without * or #: https://…, http:// on loopback, an app's own scheme://…"
        )
    return found


def is_redirect_uri(parts: SplitResult) -> bool:
    local = parts.scheme != "http" or parts.hostname in LOOPBACK
    return bool(parts.hostname) and not parts.username and local and parts.scheme != "javascript"


def tenant_ids(value: str) -> tuple[str, ...]:
    """Read a list of tenant ids; a token names its tenant by id alone, so a domain name would never fit."""
    found = tuple(name.lower() for name in names(value))
    if not all(is_guid(name) for name in found):
        raise ValueError("takes tenant ids (GUIDs), not domain names")
    return found


def is_guid(value: str) -> bool:
    return GUID.fullmatch(value) is not None


def certificate(value: str) -> bytes:
    """Read a certificate with its private key: PEM, or the base64 of a PFX, as a Key Vault reference gives it."""
    if value.startswith("-----BEGIN "):
        return value.replace("\\n", "\n").encode()  # app settings keep no line ends everywhere
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("must be PEM, or the base64 of a PFX") from None


def cursor_keys(value: str) -> tuple[bytes, ...]:
    keys = tuple(key.encode() for key in names(value))
    if any(len(key) < MINIMUM_CURSOR_KEY_BYTES for key in keys):
        raise ValueError(f"holds a key shorter than {MINIMUM_CURSOR_KEY_BYTES} bytes")
    return keys


TOOLSETS = ("data", "metadata", "environment", "performance", "services", "documents", "admin")


@dataclass(frozen=True)
class HostLimits:
    """What host.json lets the Functions host do: the one place where concurrency and timeouts are set."""

    function_timeout: float | None = 300.0  # seconds; None where the plan allows an unbounded one
    max_concurrent_requests: int | None = None
    max_outstanding_requests: int | None = None


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
        ("http://localhost/callback", "http://localhost/oauth/callback", "http://127.0.0.1/"),
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
    request_timeout: float | None = setting(
        "MCP_REQUEST_TIMEOUT", number(1, 1800), None, "Seconds for one request; lowers host.json's limit only."
    )
    connection_pool_size: int = setting(
        "MCP_CONNECTION_POOL_SIZE", whole(1, 1000), 100, "Connections to F&O kept at most."
    )
    max_result_chars: int = setting(
        "MCP_MAX_RESULT_CHARS", whole(2_000, 1_000_000), 60_000, "Characters in one result; more is paged."
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
        "MCP_CATALOG_SCHEDULE", text, "02:30", "When the catalog is rebuilt each night, `HH:MM` in UTC."
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
    storage_blob_uri: str = setting(
        "AzureWebJobsStorage__blobServiceUri", web_address, "", "Storage by identity: the blob service's address."
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
        """Return how long a request may take: inside the host's limits, less what the answer itself needs."""
        limit = min(self.host.function_timeout or LOAD_BALANCER_SECONDS, LOAD_BALANCER_SECONDS)
        own = min(self.request_timeout or limit, limit)
        return min(limit - margin(limit), own)


def margin(limit: float) -> float:
    """Return the seconds kept back from a host limit: at the limit the host restarts the worker."""
    return min(5.0, limit * 0.15)


def declared() -> list[Field[Any]]:
    """Return the fields that come from a variable, in the order of the README's table."""
    return [each for each in fields(Settings) if "name" in each.metadata]


def read_settings(environ: Mapping[str, str] | None = None, host_json: Path | None = None) -> Settings:
    """Read all settings. Nothing raises: what is wrong is in `problems`, one sentence each."""
    variables = os.environ if environ is None else environ  # noqa: TID251 - the one place that reads it
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for each in declared():
        raw = variables.get(each.metadata["name"], "").strip()
        if not raw:
            continue
        try:
            values[each.name] = each.metadata["parse"](followed(raw))
        except ValueError as problem:
            wrong[each.metadata["name"]] = str(problem)
    problems = [f"{name} {problem}." for name, problem in wrong.items()]
    host = read_host_limits(variables, host_json, problems)
    draft = Settings(**values, host=host)
    missing = missing_settings(draft)
    problems += [f"{name} is not set." for name in missing if name not in wrong]
    problems += contradictions(draft)
    return Settings(**values, host=host, problems=tuple(problems), missing=tuple(missing))


def followed(value: str) -> str:
    """Refuse a Key Vault reference as it stands: what the platform hands on when it cannot follow one.

    https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
    """
    if value.lower().startswith(REFERENCE):
        raise ValueError(
            "is a Key Vault reference that could not be followed: create the secret, and give the identity the role Key Vault Secrets User"
        )
    return value


def missing_settings(settings: Settings) -> list[str]:
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


def contradictions(settings: Settings) -> list[str]:
    """Say which settings cannot stand together."""
    found = []
    if settings.mcp_auth == "none" and settings.on_azure:
        found.append("MCP_AUTH is none, which is refused on Azure: set function_key, easy_auth or jwt.")
    if settings.on_azure and not settings.cursor_keys and not settings.has_shared_storage:
        found.append("MCP_CURSOR_KEY is not set, and no storage to share one: cursors would open on one instance only.")
    if settings.oauth_facade and settings.mcp_auth != "jwt":  # App Service Authentication tells clients of Entra itself
        found.append(f"MCP_OAUTH_FACADE is true, but its tokens do not do with MCP_AUTH={settings.mcp_auth}: set jwt.")
    if settings.mcp_auth == "easy_auth" and not settings.platform_auth:
        found.append(
            "MCP_AUTH is easy_auth, but App Service Authentication is off (WEBSITE_AUTH_ENABLED): turn it on, or set jwt."
        )
    if settings.mcp_auth == "easy_auth" and settings.tenant_id and not settings.tenants:
        found.append(
            "D365FO_TENANT_ID is no tenant id (a GUID), so callers cannot be held to it: set MCP_ALLOWED_TENANTS to the ids of theirs."
        )
    if settings.d365_auth == "on_behalf_of":
        found += on_behalf_contradictions(settings)
    return found


def on_behalf_contradictions(settings: Settings) -> list[str]:
    """Say why callers' tokens could not be exchanged: Entra does it for the app registration they are meant for."""
    if settings.mcp_auth not in SIGNING_IN:
        return [f"D365FO_AUTH is on_behalf_of, but with MCP_AUTH={settings.mcp_auth} callers bring no token: set jwt."]
    if settings.caller_client_id and settings.caller_client_id != settings.client_id:
        return ["MCP_CLIENT_ID and D365FO_CLIENT_ID differ, but on_behalf_of needs one app registration for both."]
    return []


def read_host_limits(variables: Mapping[str, str], host_json: Path | None, problems: list[str]) -> HostLimits:
    """Read host.json with the platform's own overrides (`AzureFunctionsJobHost__extensions__http__…`).

    https://learn.microsoft.com/azure/azure-functions/functions-host-json#override-hostjson-values
    """
    path = host_json or Path(__file__).parent.parent / "host.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig")) if path.exists() else {}
    except ValueError:
        problems.append(f"{path.name} is not valid JSON.")
        tree = {}
    overrides = {name.lower(): value for name, value in variables.items()}

    def value(*keys: str) -> Any:
        override = overrides.get("__".join(("azurefunctionsjobhost", *keys)).lower())
        if override:
            return override
        node: Any = tree
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    try:
        return HostLimits(
            function_timeout=seconds(value("functionTimeout")),
            max_concurrent_requests=limit(value("extensions", "http", "maxConcurrentRequests")),
            max_outstanding_requests=limit(value("extensions", "http", "maxOutstandingRequests")),
        )
    except ValueError as problem:
        problems.append(f"{path.name}: {problem}.")
        return HostLimits()


def seconds(value: Any) -> float | None:
    """Read a .NET time span, `[d.]hh:mm:ss`; -1 means no limit, nothing means the plan's default of five minutes."""
    if value is None:
        return 300.0
    if str(value) in ("-1", "-00:00:01"):
        return None
    days, _, clock = str(value).rpartition(".") if str(value).count(".") and ":" in str(value) else ("", "", str(value))
    try:
        hours, minutes, secs = (int(part) for part in clock.split(":"))
        total = float(int(days or 0) * 86_400 + hours * 3600 + minutes * 60 + secs)
    except ValueError:
        raise ValueError(f"functionTimeout {value!r} is not hh:mm:ss") from None
    if total <= 0:
        raise ValueError("functionTimeout must be above zero")
    return total


def limit(value: Any) -> int | None:
    """Read a count of requests; -1 means no limit."""
    if value is None or int(value) == -1:
        return None
    if int(value) < 1:
        raise ValueError("a request limit must be at least 1 (or -1 for none)")
    return int(value)
