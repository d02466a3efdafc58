"""What must hold of every deployment, whatever its parameters: no keys, no secrets in sight, nothing open, roles as narrow as they go.

A deployment is a snapshot: what only Azure knows, and every secure parameter, is an expression in it (`[reference(…)]`).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from d365mcp.server.messages import MAX_BODY_BYTES
from d365mcp.settings import declared, read_settings

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
REFUSED_BY_FLEX = {"alwaysOn", "ftpsState", "functionAppScaleLimit", "linuxFxVersion", "preWarmedInstanceCount"}
REFUSED_BY_FLEX |= {"functionsRuntimeScaleMonitoringEnabled", "use32BitWorkerProcess"}
# What the platform reads, not our code: https://learn.microsoft.com/azure/azure-functions/functions-app-settings
BODY_LIMIT = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
OF_THE_PLATFORM = {"AzureWebJobsStorage__credential", "WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES", BODY_LIMIT}
OF_THE_PLATFORM |= {"OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID"}
# Settings that Flex Consumption refuses, and what Consumption needs in place of functionAppConfig.
CONSUMPTION_ONLY = {"FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_WORKER_RUNTIME", "PYTHON_ISOLATE_WORKER_DEPENDENCIES"}
CONSUMPTION_ONLY |= {"WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID"}
NEEDED = {"APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "APPLICATIONINSIGHTS_CONNECTION_STRING", "AZURE_CLIENT_ID"}
NEEDED |= {f"AzureWebJobsStorage__{each}" for each in ("blobServiceUri", "clientId", "credential")}
NEEDED |= {"MCP_LOG_ANALYTICS_WORKSPACE_ID"}
# What reads keys, what shows them to whoever may read a deployment, and what makes each deployment another; a secret's end may.
FORBIDDEN = re.compile(r'\b(?:list[A-Z]?\w*|newGuid|(?<!dateTimeAdd\()utcNow)\(|"value": "\[[^"]*\.ConnectionString')
SECURE_PARAMETER = re.compile(r"\bparameters\('(\w+)'\)")
EXPRESSION = re.compile(r"\[(?!\[).*\]", re.DOTALL)
# What only Azure knows, as the server reads it.
MADE_UP = {
    r"reference\([^()]*\)\.primaryEndpoints\.blob": "https://st.blob.core.windows.net/",
    r"reference\([^()]*\)\.(clientId|customerId|principalId)": "33333333-4444-5555-6666-777777777777",
    r"reference\([^()]*\)\.ConnectionString": "InstrumentationKey=33333333-4444-5555-6666-777777777777;IngestionEndpoint=https://x.example/",
    r"environment\(\)\.authentication\.loginEndpoint": "https://login.microsoftonline.com/",
    r"createObject\(.*\)\[environment\(\)\.name\]": "https://api.loganalytics.azure.com",
}
REFERENCE = re.compile(r"@Microsoft\.KeyVault\(VaultName=(?P<vault>[^;]+);SecretName=(?P<secret>[^)]+)\)")


class Deployment:
    """What a deployment would make."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.resources: list[dict[str, Any]] = snapshot["predictedResources"]
        self.outputs: dict[str, Any] = snapshot.get("outputs", {})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.resources if each["type"].partition("@")[0] == kind]


def complaints(deployment: Deployment, host_json: Path) -> list[str]:
    """Return what is wrong with a deployment."""
    return [
        *fixed(deployment),
        *named(deployment),
        *publishing(deployment),
        *visible(deployment),
        *rights(deployment),
        *plan(deployment, json.loads(host_json.read_text())["extensions"]["http"]["maxConcurrentRequests"]),
        *app_settings(deployment, host_json),
    ]


def fixed(deployment: Deployment) -> Iterator[str]:
    for kind, path, allowed in FIXED:
        for each in deployment.of(kind):
            value = at(each, path)
            if value not in allowed:
                yield f"{kind} {each['name']}: {path} is {value!r}, not {' or '.join(map(repr, allowed))}."


def named(deployment: Deployment) -> Iterator[str]:
    """Find names Azure does not take, or that nobody could read before a deployment, and resources that are made twice."""
    for each in deployment.resources:
        if each["type"] == ROLE or "name" not in each:
            continue
        own = each["name"].rpartition("/")[2]
        if EXPRESSION.fullmatch(each["name"]):
            yield f"{each['type']}: the name is an expression: {each['name']}"
        elif not re.fullmatch(NAMES.get(each["type"], ".+"), own):
            yield f"{each['type']} cannot be named {own}."
    ids = [each["id"] for each in deployment.resources if "id" in each]
    yield from (f"{each} is made twice." for each in {each for each in ids if ids.count(each) > 1})


def at(resource: dict[str, Any], path: str) -> Any:
    value: Any = resource
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def publishing(deployment: Deployment) -> Iterator[str]:
    closed = {each["name"] for each in deployment.of(PASSWORDS)}
    for site in deployment.of(SITE):
        for way in ("ftp", "scm"):
            if f"{site['name']}/{way}" not in closed:
                yield f"{site['name']}: publishing by password ({way}) is not switched off."


def visible(deployment: Deployment) -> Iterator[str]:
    """Find secrets outside the vault: a secure parameter is an expression wherever it is read."""
    for each in deployment.resources:
        read = SECURE_PARAMETER.findall(json.dumps(each)) if each["type"] != SECRET else []
        for name in sorted(set(read)):
            yield f"{each['type']} {each['name']} reads the secret {name}: only the vault may."
    for each in deployment.of(SECRET):
        if not SECURE_PARAMETER.search(at(each, "properties.value")):
            yield f"{each['name']} is of no secure parameter: everybody may read it in the deployment."


def rights(deployment: Deployment) -> Iterator[str]:
    given = [(role_of(each), scope_of(each)) for each in deployment.of(ROLE)]
    for role, where in given:
        name, narrow = ROLES.get(role, (role, "nothing: it is not one of those we need"))
        if where != narrow:
            yield f"the role {name} is given on {where}, not on {narrow}."
    needed = {STORAGE: "Storage Blob Data Owner", COMPONENT: "Monitoring Metrics Publisher"}
    needed |= {WORKSPACE: "Log Analytics Data Reader", VAULT: "Key Vault Secrets User"}
    for kind, name in needed.items():
        if deployment.of(kind) and name not in {ROLES[role][0] for role, _ in given if role in ROLES}:
            yield f"nobody is given the role {name}."


def role_of(assignment: dict[str, Any]) -> str:
    return str(at(assignment, "properties.roleDefinitionId")).rpartition("/")[2]


def scope_of(assignment: dict[str, Any]) -> str:
    """Return the type of what a role is given on."""
    place = assignment["id"].removeprefix("[extensionResourceId('").partition("'")[0].partition(f"/providers/{ROLE}")[0]
    kind, *rest = place.partition("/providers/")[2].split("/")
    return "/".join([kind, *rest[::2]]) or "the resource group"


def plan(deployment: Deployment, most: int) -> Iterator[str]:
    """Flex Consumption refuses properties of other plans, and its default for Python is one request at a time.

    More than host.json's limit would wait there. Consumption leaves FTP open unless it is closed.
    """
    at_once = "properties.functionAppConfig.scaleAndConcurrency.triggers.http.perInstanceConcurrency"
    for site in deployment.of(SITE):
        given, concurrency = set(at(site, "properties.siteConfig")), at(site, at_once)
        if at(site, "properties.functionAppConfig"):
            yield from (f"{site['name']}: Flex Consumption refuses {name}." for name in sorted(given & REFUSED_BY_FLEX))
            if concurrency is None or not 1 < concurrency <= most:
                yield f"{site['name']}: perInstanceConcurrency is {concurrency}, not from 2 to {most}."
        elif missing := {"ftpsState", "linuxFxVersion"} - given:
            yield f"{site['name']}: Consumption needs {', '.join(sorted(missing))}."


def environment(deployment: Deployment) -> dict[str, str]:
    """Return the app settings as the app sees them: with the vault's secrets in place of references to them."""
    [settings] = (each for each in deployment.of(SETTINGS) if each["name"].endswith("/appsettings"))
    secrets = {each["name"]: each["properties"]["value"] * 2 for each in deployment.of(SECRET)}
    return {
        name: REFERENCE.sub(lambda found: secrets.get(f"{found['vault']}/{found['secret']}", found[0]), known(value))
        for name, value in settings["properties"].items()
    }


def known(value: str) -> str:
    """Return a value with what only Azure knows made up."""
    if not EXPRESSION.fullmatch(value):
        return value
    for expression, made_up in MADE_UP.items():
        value = re.sub(expression, f"'{made_up}'", value)
    if form := re.fullmatch(r"\[format\('(.*)', '(.*)'\)\]", value):
        return form[1].format(form[2])
    return value.removeprefix("['").removesuffix("']")


def app_settings(deployment: Deployment, host_json: Path) -> Iterator[str]:
    """Read the app's settings as the server itself reads them."""
    for each in deployment.of(SETTINGS):
        if isinstance(each["properties"], str):
            yield f"{each['name']} is one expression, and nobody can read it: {each['properties']}"
            return
    given = environment(deployment)
    read = {each.metadata["name"] for each in declared()}
    is_flex = any(at(site, "properties.functionAppConfig") for site in deployment.of(SITE))
    known = read | OF_THE_PLATFORM | (set() if is_flex else CONSUMPTION_ONLY)
    yield from (f"nobody reads the app setting {name}." for name in sorted(set(given) - known))
    if not MAX_BODY_BYTES < int(given.get(BODY_LIMIT, 0)) < 2 * MAX_BODY_BYTES:
        yield f"{BODY_LIMIT} has to let pass what /mcp takes, {MAX_BODY_BYTES} bytes, and little more."
    if not is_flex:
        yield from (f"Consumption needs the app setting {name}." for name in sorted(CONSUMPTION_ONLY - set(given)))
    yield from (f"the app setting {name} is missing." for name in sorted(NEEDED) if not given.get(name))
    settings = read_settings({**given, **of_the_host(deployment)}, host_json)
    yield from settings.problems
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


def source_problems(template: Any) -> Iterator[str]:
    """Find what no compiled template may do, whichever way its conditions go."""
    for found in FORBIDDEN.findall(json.dumps(template)):
        yield f"a role takes the place of a key, and names are the same each time: {found}"
