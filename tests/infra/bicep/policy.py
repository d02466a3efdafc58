"""What must hold of every deployment, whatever its parameters: no keys, no secrets in sight, nothing open, roles as narrow as they go."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d365mcp.server.messages import MAX_BODY_BYTES
from d365mcp.settings import declared, read_settings
from tests.infra.bicep.evaluate import Deployment, Resource
from tests.infra.bicep.syntax import BicepFile, Problem, parts, text, walk

SITE, SETTINGS = "Microsoft.Web/sites", "Microsoft.Web/sites/config"
STORAGE, CONTAINER = "Microsoft.Storage/storageAccounts", "Microsoft.Storage/storageAccounts/blobServices/containers"
PASSWORDS = "Microsoft.Web/sites/basicPublishingCredentialsPolicies"
COMPONENT, WORKSPACE = "Microsoft.Insights/components", "Microsoft.OperationalInsights/workspaces"
VAULT, SECRET = "Microsoft.KeyVault/vaults", "Microsoft.KeyVault/vaults/secrets"
CONTAINER_APP = "Microsoft.App/containerApps"
ROLE = "Microsoft.Authorization/roleAssignments"

# the resource type, the property, the values it may have
FIXED: list[tuple[str, str, tuple[Any, ...]]] = [
    (STORAGE, "properties.allowBlobPublicAccess", (False,)),
    (STORAGE, "properties.allowSharedKeyAccess", (False,)),
    (STORAGE, "properties.supportsHttpsTrafficOnly", (True,)),
    (STORAGE, "properties.minimumTlsVersion", ("TLS1_2", "TLS1_3")),
    (CONTAINER, "properties.publicAccess", ("None",)),
    (SITE, "identity.type", ("UserAssigned",)),
    (SITE, "properties.httpsOnly", (True,)),
    (SITE, "properties.siteConfig.minTlsVersion", ("1.2", "1.3")),
    (SITE, "properties.siteConfig.scmMinTlsVersion", ("1.2", "1.3")),
    # On Flex Consumption there is neither, and it refuses the words.
    (SITE, "properties.siteConfig.ftpsState", ("Disabled", None)),
    (SITE, "properties.siteConfig.remoteDebuggingEnabled", (False, None)),
    (PASSWORDS, "properties.allow", (False,)),
    (COMPONENT, "properties.DisableLocalAuth", (True,)),
    (CONTAINER_APP, "identity.type", ("UserAssigned",)),
    (CONTAINER_APP, "properties.configuration.ingress.allowInsecure", (False,)),
    (VAULT, "properties.enableRbacAuthorization", (True,)),
    (VAULT, "properties.enablePurgeProtection", (True,)),
]
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
NAMES = {
    STORAGE: r"[a-z0-9]{3,24}",
    CONTAINER: r"[a-z0-9](-?[a-z0-9]){2,62}",
    SITE: r"[A-Za-z0-9][A-Za-z0-9-]{0,58}[A-Za-z0-9]",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    VAULT: r"[A-Za-z](-?[A-Za-z0-9]){2,23}",
    WORKSPACE: r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    COMPONENT: r"[^%&\\?/]{0,259}[^%&\\?/. ]",
    ROLE: r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "Microsoft.Insights/workbooks": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "Microsoft.Resources/resourceGroups": r"[\w.()-]{0,89}[\w()-]",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][\w-]{2,127}",
}
# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": ("Storage Blob Data Owner", STORAGE),
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": ("Storage Blob Data Contributor", CONTAINER),
    "3913510d-42f4-4e42-8a64-420c390055eb": ("Monitoring Metrics Publisher", COMPONENT),
    "3b03c2da-16b3-4a49-8834-0f8130efdd3b": ("Log Analytics Data Reader", WORKSPACE),
    "4633458b-17de-408a-b874-0445c86b69e6": ("Key Vault Secrets User", VAULT),
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": ("Key Vault Secrets Officer", VAULT),
    "de139f84-1756-47ae-9be6-808fbbe84772": ("Website Contributor", SITE),
}
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings#flex-consumption-plan-deprecations
REFUSED_BY_FLEX = {
    "alwaysOn",
    "ftpsState",
    "functionAppScaleLimit",
    "functionsRuntimeScaleMonitoringEnabled",
    "linuxFxVersion",
    "preWarmedInstanceCount",
    "use32BitWorkerProcess",
}
# What the platform reads, not our code: https://learn.microsoft.com/azure/azure-functions/functions-app-settings
BODY_LIMIT = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
OF_THE_PLATFORM = {"AzureWebJobsStorage__credential", "WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES", BODY_LIMIT}
# Settings that Flex Consumption refuses, and what Consumption needs in place of functionAppConfig.
CONSUMPTION_ONLY = {
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_RUNTIME",
    "PYTHON_ISOLATE_WORKER_DEPENDENCIES",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID",
}
CONNECTION_STRING = re.compile(r"AccountKey=|SharedAccessSignature|[?&]sig=|InstrumentationKey=", re.IGNORECASE)
REFERENCE = re.compile(r"@Microsoft\.KeyVault\(VaultName=(?P<vault>[^;]+);SecretName=(?P<secret>[^)]+)\)")


def complaints(deployment: Deployment, secrets: tuple[str, ...], host_json: Path) -> list[str]:
    """Return what is wrong with a deployment that was given these secrets."""
    return [
        *fixed(deployment),
        *named(deployment),
        *publishing(deployment),
        *visible(deployment, secrets),
        *rights(deployment),
        *plan(deployment),
        *concurrency(deployment, json.loads(host_json.read_text())),
        *app_settings(deployment, host_json),
    ]


def fixed(deployment: Deployment) -> Iterator[str]:
    for kind, path, allowed in FIXED:
        for each in deployment.of(kind):
            value = at(each, path)
            if value not in allowed:
                yield f"{kind} {each.name}: {path} is {value!r}, not {' or '.join(map(repr, allowed))}."


def named(deployment: Deployment) -> Iterator[str]:
    """Find names Azure does not take, and resources that are made twice."""
    for each in deployment.resources:
        own = each.name.rpartition("/")[2]
        if not re.fullmatch(NAMES.get(each.type, ".+"), own):
            yield f"{each.type} cannot be named {own}."
    places = [(each.id, each.scope.id if isinstance(each.scope, Resource) else "") for each in deployment.resources]
    yield from (f"{place[0]} is made twice." for place in {each for each in places if places.count(each) > 1})


def at(resource: Resource, path: str) -> Any:
    value: Any = resource.body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def publishing(deployment: Deployment) -> Iterator[str]:
    closed = {each.name for each in deployment.of(PASSWORDS)}
    for site in deployment.of(SITE):
        for way in ("ftp", "scm"):
            if f"{site.name}/{way}" not in closed:
                yield f"{site.name}: publishing by password ({way}) is not switched off."


def visible(deployment: Deployment, secrets: tuple[str, ...]) -> Iterator[str]:
    """Find secrets outside the vault, and keys anywhere they could be read."""
    for outputs in deployment.outputs:
        for name, value in outputs.items():
            if CONNECTION_STRING.search(str(value)) or any(secret in str(value) for secret in secrets):
                yield f"the output {name} shows a key or a secret."
    for each in deployment.resources:
        if each.type != SECRET and any(secret in str(each.body) for secret in secrets):
            yield f"{each.type} {each.name} holds a secret: only the vault may."


def rights(deployment: Deployment) -> Iterator[str]:
    for each in deployment.of(ROLE):
        role = at(each, "properties.roleDefinitionId").rpartition("/")[2]
        where = each.scope.type if isinstance(each.scope, Resource) else "the resource group"
        name, narrow = ROLES.get(role, (role, "nothing: it is not one of those we need"))
        if where != narrow:
            yield f"the role {name} is given on {where}, not on {narrow}."
    given = {at(each, "properties.roleDefinitionId").rpartition("/")[2] for each in deployment.of(ROLE)}
    needed = {STORAGE: "Storage Blob Data Owner", COMPONENT: "Monitoring Metrics Publisher"}
    needed |= {WORKSPACE: "Log Analytics Data Reader", VAULT: "Key Vault Secrets User"}
    for kind, role in needed.items():
        if deployment.of(kind) and role not in {ROLES[each][0] for each in given if each in ROLES}:
            yield f"nobody is given the role {role}."


def plan(deployment: Deployment) -> Iterator[str]:
    """Flex Consumption refuses a site with properties of other plans; Consumption leaves FTP open unless told."""
    for site in deployment.of(SITE):
        given = set(at(site, "properties.siteConfig"))
        if at(site, "properties.functionAppConfig"):
            yield from (f"{site.name}: Flex Consumption refuses {name}." for name in sorted(given & REFUSED_BY_FLEX))
        elif missing := {"ftpsState", "linuxFxVersion"} - given:
            yield f"{site.name}: Consumption needs {', '.join(sorted(missing))}."


def concurrency(deployment: Deployment, host: dict[str, Any]) -> Iterator[str]:
    """On Flex Consumption the platform's default for Python is 1, and what is above host.json's limit would wait there."""
    most = host["extensions"]["http"]["maxConcurrentRequests"]
    for site in deployment.of(SITE):
        if at(site, "properties.functionAppConfig") is None:
            continue
        value = at(site, "properties.functionAppConfig.scaleAndConcurrency.triggers.http.perInstanceConcurrency")
        if value is None or not 1 < value <= most:
            yield f"{site.name}: perInstanceConcurrency is {value}, not from 2 to {most}."


def environment(deployment: Deployment) -> dict[str, str]:
    """Return the app settings as the app sees them: with the vault's secrets in place of references to them."""
    [settings] = (each for each in deployment.of(SETTINGS) if each.name.endswith("/appsettings"))
    secrets = {each.name: each.body["properties"]["value"] for each in deployment.of(SECRET)}
    return {
        name: REFERENCE.sub(lambda found: secrets.get(f"{found['vault']}/{found['secret']}", found[0]), value)
        for name, value in settings.body["properties"].items()
    }


def app_settings(deployment: Deployment, host_json: Path) -> Iterator[str]:
    """Read the app's settings as the server itself reads them."""
    given = environment(deployment)
    read = {each.metadata["name"] for each in declared()}
    is_flex = any(at(site, "properties.functionAppConfig") for site in deployment.of(SITE))
    known = read | OF_THE_PLATFORM | (set() if is_flex else CONSUMPTION_ONLY)
    yield from (f"nobody reads the app setting {name}." for name in sorted(set(given) - known))
    if not MAX_BODY_BYTES < int(given.get(BODY_LIMIT, 0)) < 2 * MAX_BODY_BYTES:
        yield f"{BODY_LIMIT} has to let pass what /mcp takes, {MAX_BODY_BYTES} bytes, and little more."
    if not is_flex:
        yield from (f"Consumption needs the app setting {name}." for name in sorted(CONSUMPTION_ONLY - set(given)))
    settings = read_settings({**given, **of_the_host(deployment)}, host_json)
    yield from settings.problems
    needed = {
        "AzureWebJobsStorage__blobServiceUri": settings.storage_blob_uri,
        "AzureWebJobsStorage__clientId": settings.storage_client_id,
        "AzureWebJobsStorage__credential": given.get("AzureWebJobsStorage__credential"),
        "APPLICATIONINSIGHTS_CONNECTION_STRING": settings.application_insights,
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": settings.application_insights_auth,
        "MCP_LOG_ANALYTICS_WORKSPACE_ID": settings.workspace_id,
        "AZURE_CLIENT_ID": settings.identity_client_id,
    }
    yield from (f"the app setting {name} is missing." for name, value in needed.items() if not value)
    if settings.storage_connection:
        yield "AzureWebJobsStorage is a connection string: storage is opened by identity."


def of_the_host(deployment: Deployment) -> dict[str, str]:
    """Return what the platform itself sets where the app runs."""
    signs_in = any(at(each, "properties.platform.enabled") for each in deployment.of(SETTINGS))
    return {
        "WEBSITE_SITE_NAME": "func",
        "WEBSITE_INSTANCE_ID": "1",
        "WEBSITE_HOSTNAME": "func.azurewebsites.net",
        **({"WEBSITE_AUTH_ENABLED": "True"} if signs_in else {}),
    }


def source_problems(file: BicepFile) -> Iterator[Problem]:
    """Find what no deployment may do, whichever way its conditions go: ask for keys, or show a secure parameter."""
    secure = {each.name for each in file.of("parameter").values() if "secure" in each.decorators}
    for node in walk(file.root):
        name = text(parts(node)[0]).rpartition(".")[2] if node.type == "call_expression" else ""
        if re.match(r"list[A-Z]|list$", name):
            yield file.problem(node, f"{name}() reads keys: give the identity a role in place of a key.")
        elif name in ("newGuid", "utcNow"):
            yield file.problem(
                node, f"{name}() makes each deployment another: derive names with guid() or uniqueString()."
            )
    for output in file.of("output").values():
        shown = {text(each) for each in walk(output.node) if each.type == "identifier"} & secure
        if shown:
            yield file.problem(output.node, f"the output {output.name} shows the secret {', '.join(sorted(shown))}.")
