"""The Bicep files of infra/: what they would deploy, by Azure Resource Manager's own engine, and what must never come back."""

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from d365mcp.server.auth.roles import ROLES
from d365mcp.settings import read_settings
from tests.conftest import ON_A_LAPTOP
from tests.dev_host import ROOT
from tests.infra.bicep.compiler import Compiler, RefusedError
from tests.infra.bicep.policy import (
    SECRET,
    SETTINGS,
    SITE,
    Deployment,
    at,
    complaints,
    environment,
    of_the_host,
    source_problems,
)

pytestmark = pytest.mark.once

Deploy = Callable[..., Deployment]
INFRA = ROOT / "infra"
HOST_JSON = ROOT / "host.json"
BASICS = {
    "environmentName": "test",
    "location": "westeurope",
    "d365BaseUrl": "https://contoso.operations.dynamics.com",
}
SECRETS = ("canary-client-secret", "canary-cursor-key-of-32-characters")
CLIENT = "aebc6443-996d-45c2-90f0-388ff96faa56"
PUBLIC_CLIENT = "11111111-2222-3333-4444-555555555555"
SECRETIVE = {
    "d365Auth": "client_secret",
    "d365ClientId": CLIENT,
    "d365ClientSecret": SECRETS[0],
    "cursorKeyFromVault": True,
    "cursorKey": SECRETS[1],
}
PRIVATE = {**SECRETIVE, "networking": "private", "privateVault": True}
CONSUMPTION = {"hostingPlan": "Consumption"}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "a long name": {"environmentName": "Contoso-Production-West-Europe-1"},
    "Consumption": CONSUMPTION,
    "secrets": SECRETIVE,
    "secrets on Consumption": {**SECRETIVE, **CONSUMPTION},
    "private data": {"networking": "privateData", "fixedOutboundAddress": True},
    "private": PRIVATE,
    "an operator": {**SECRETIVE, "operatorId": CLIENT},
    "other choices": {
        "storageSku": "Standard_GZRS",
        "instanceMemoryMB": 4096,
        "alwaysReadyInstances": 2,
        "operatorId": CLIENT,
        "operatorType": "Group",
        "tags": {"cost-centre": "0815"},
        "allowedOrigins": ["https://inspector.contoso.com"],
    },
    "alerts": {"alertEmails": ["a@contoso.com", "b@contoso.com"], "diagnostics": False},
    "jwt": {"authentication": "jwt", "authClientId": CLIENT},
    "easyAuth": {"authentication": "easyAuth", "authClientId": CLIENT, "readOnly": False},
    "named audiences": {
        "authentication": "easyAuth",
        "authClientId": CLIENT,
        "authAudiences": ["api://tenant/d365mcp"],
    },
    "façade": {"authentication": "jwt", "authClientId": CLIENT, "oauthFacade": True, "facadeClientId": PUBLIC_CLIENT},
    "on behalf of": {"authentication": "jwt", "authClientId": CLIENT, "d365Auth": "on_behalf_of"},
}
each_configuration = pytest.mark.parametrize("given", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())


@pytest.fixture(scope="module")
def app(deployed: Deploy) -> Deploy:
    """Deploy main.bicep with these parameters, beside those that have to be given."""
    return lambda **given: deployed("main.bicep", **{**BASICS, **given})


@pytest.fixture(scope="module")
def registered(deployed: Deploy) -> Deploy:
    """Deploy the app registration."""
    return lambda **given: deployed("entra/entra.bicep", environmentName=BASICS["environmentName"], **given)


def outputs(registration: Deployment) -> dict[str, Any]:
    """Return what main.bicep takes from it, with ids that only Entra knows made up."""
    found = registration.outputs
    drawn = {name: CLIENT for name, value in found.items() if "reference(" in str(value)}
    return {**found, **drawn}


@each_configuration
def test_a_deployment_keeps_what_is_promised(given: dict[str, Any], app: Deploy) -> None:
    assert complaints(app(**given), HOST_JSON) == []


@pytest.mark.parametrize("template", ["main.bicep", "entra/entra.bicep", "container/containerapp.bicep"])
def test_no_template_reads_keys_or_shows_them(template: str, compiler: Compiler, infra: Path) -> None:
    assert list(source_problems(compiler.compiled(infra / template))) == []


def test_secrets_reach_the_app_through_the_vault(app: Deploy) -> None:
    settings = read_settings(environment(app(**SECRETIVE)))
    assert settings.client_secret and "parameters('d365ClientSecret')" in settings.client_secret
    assert [b"parameters('cursorKey')" in key for key in settings.cursor_keys] == [True]


def test_a_secret_that_is_left_out_stays_as_it_is(app: Deploy) -> None:
    conditions = {each["name"].rpartition("/")[2]: each["condition"] for each in app(**SECRETIVE).of(SECRET)}
    assert conditions == {
        "d365fo-client-secret": "[and(true(), not(empty(parameters('d365ClientSecret'))))]",
        "cursor-key": "[and(true(), not(empty(parameters('cursorKey'))))]",
    }


def test_a_secret_runs_out_a_year_after_it_was_given_or_when_it_shall(app: Deploy) -> None:
    def ends(**given: Any) -> list[Any]:
        return [at(each, "properties.attributes.exp") for each in app(**SECRETIVE, **given).of(SECRET)]

    assert ends() == ["[dateTimeToEpoch(dateTimeAdd(utcNow(), 'P1Y'))]"] * 2
    assert ends(vaultExpiresOn="2027-12-31T00:00:00Z") == [datetime(2027, 12, 31, tzinfo=UTC).timestamp()] * 2


@pytest.mark.parametrize(("wanted", "flex", "consumption"), [(1, 1, 1), (1000, 1000, 100)])
def test_instances_have_the_limits_that_azure_has(wanted: int, flex: int, consumption: int, app: Deploy) -> None:
    [one], [other] = (app(maximumInstances=wanted, **plan).of(SITE) for plan in ({}, CONSUMPTION))
    assert at(one, "properties.functionAppConfig.scaleAndConcurrency.maximumInstanceCount") == flex
    assert at(other, "properties.siteConfig.functionAppScaleLimit") == consumption


@pytest.mark.parametrize(("given", "strategy"), [({}, "RollingUpdate"), ({"rollingUpdates": False}, "Recreate")])
def test_an_update_lets_running_calls_end(given: dict[str, Any], strategy: str, app: Deploy) -> None:
    [site] = app(**given).of(SITE)
    assert at(site, "properties.functionAppConfig.siteUpdateStrategy") == {"type": strategy}


def test_an_instance_takes_as_many_requests_as_host_json_at_most(app: Deploy) -> None:
    most = json.loads(HOST_JSON.read_text())["extensions"]["http"]["maxConcurrentRequests"]
    assert complaints(app(instanceConcurrency=most), HOST_JSON) == []
    with pytest.raises(RefusedError, match="instanceConcurrency"):
        app(instanceConcurrency=most + 1)


def test_main_offers_what_resources_can_do_with_the_same_words(compiler: Compiler, infra: Path) -> None:
    """The parameters stand in both files: Bicep has no way to pass them on unsaid."""
    main = compiler.compiled(infra / "main.bicep")["parameters"]
    resources = compiler.compiled(infra / "resources.bicep")["parameters"]
    elsewhere = {"location", "tags", "resourceGroupName"}  # the resource group's
    assert main.keys() - elsewhere == resources.keys() - elsewhere
    assert [name for name in resources.keys() - elsewhere if main[name] != resources[name]] == []


def test_the_parameters_file_takes_settings_from_the_environment(app: Deploy, compiler: Compiler, infra: Path) -> None:
    """How a laptop signs in is no way for an app."""
    parameters = compiler.compiled(infra / "main.bicepparam")["parameters"]
    given = environment(app(**{name: each["value"] for name, each in parameters.items()}))
    settings = read_settings(given)
    assert (settings.companies, settings.toolsets) == (("usmf",), ("data", "services"))
    assert given["D365FO_AUTH"] == "managed_identity"


def test_the_parameters_file_says_whether_roles_are_required_where_the_environment_does(
    bicep: str, compiler: Compiler, infra: Path
) -> None:
    def given(asked: Compiler) -> dict[str, str]:
        return dict(asked.compiled(infra / "main.bicepparam")["parameters"]["settings"]["value"])

    assert "MCP_REQUIRE_ROLES" not in given(compiler)  # then it is required where callers sign in
    with Compiler(bicep, **ON_A_LAPTOP, MCP_REQUIRE_ROLES="false") as other:
        assert given(other)["MCP_REQUIRE_ROLES"] == "false"


def test_resources_can_be_deployed_alone_into_a_group_that_exists(app: Deploy, deployed: Deploy) -> None:
    alone = deployed("resources.bicep", environmentName="test", d365BaseUrl=BASICS["d365BaseUrl"])
    kinds = Counter(each["type"] for each in app().resources)
    assert Counter(each["type"] for each in alone.resources) == kinds - Counter(["Microsoft.Resources/resourceGroups"])


def test_azd_finds_the_files_the_code_and_the_app(app: Deploy) -> None:
    text = (INFRA / "azure.yaml").read_text()
    path, module, service, project = re.findall(
        r"^ +path: (\S+)|^ +module: (\S+)|^  (\w+):$|^ +project: (\S+)", text, re.MULTILINE
    )
    assert (INFRA / path[0] / f"{module[1]}.bicepparam").exists()
    assert (INFRA / project[3] / "host.json").exists()
    [site] = app().of(SITE)
    assert site["tags"] == {"azd-env-name": BASICS["environmentName"], "azd-service-name": service[2]}


@pytest.mark.parametrize("public_url", ["", "https://mcp.contoso.com"])
@pytest.mark.parametrize("facade", [False, True])
def test_the_registration_fits_what_the_server_looks_for(
    facade: bool, public_url: str, registered: Deploy, app: Deploy
) -> None:
    made = registered(oauthFacade=facade, publicUrl=public_url)
    server, *clients = (each["properties"] for each in made.of("Microsoft.Graph/applications"))
    deployment = app(authentication="jwt", oauthFacade=facade, publicUrl=public_url, **outputs(made))
    settings = read_settings({**environment(deployment), **of_the_host(deployment)})
    assert settings.problems == ()
    assert [each["value"] for each in server["appRoles"]] == list(ROLES)
    assert [each["value"] for each in server["api"]["oauth2PermissionScopes"]] == list(ROLES)
    assert settings.require_roles
    assert settings.own_audiences == tuple(server["identifierUris"])
    assert settings.redirect_uris == read_settings({}).redirect_uris
    returning_to = [tuple(each["publicClient"]["redirectUris"]) for each in clients]
    assert returning_to == ([settings.redirect_uris] if facade else [])


def test_who_has_a_registration_without_roles_may_say_so(app: Deploy) -> None:
    def required(**given: Any) -> bool:
        return read_settings(environment(app(**given))).require_roles

    jwt = {"authentication": "jwt", "authClientId": CLIENT}
    assert required(**jwt) and required(**{**jwt, "authentication": "easyAuth"})
    assert not required()
    assert not required(**jwt, settings={"MCP_REQUIRE_ROLES": "false"})


@pytest.mark.parametrize(("d365_auth", "grants"), [("managed_identity", 0), ("on_behalf_of", 1)])
def test_a_registration_trusts_the_app_s_identity_once_it_knows_it(
    d365_auth: str, grants: int, registered: Deploy
) -> None:
    """With easyAuth that takes the place of a client secret; only on_behalf_of exchanges callers' tokens as well."""
    kind, granted = (
        "Microsoft.Graph/applications/federatedIdentityCredentials",
        "Microsoft.Graph/oauth2PermissionGrants",
    )
    made = registered(identityPrincipalId=CLIENT, d365Auth=d365_auth)
    assert [at(each, "properties.subject") for each in made.of(kind)] == [CLIENT]
    assert len(made.of(granted)) == grants
    assert registered(d365Auth=d365_auth).of(kind) == registered(d365Auth=d365_auth).of(granted) == []


def test_app_service_authentication_needs_no_secret_and_admits_the_workflow(app: Deploy) -> None:
    given = {"authentication": "easyAuth", "authClientId": CLIENT}
    deployment = app(**given, operatorClientId=PUBLIC_CLIENT)
    [signin] = (each for each in deployment.of(SETTINGS) if each["name"].endswith("/authsettingsV2"))
    entra = at(signin, "properties.identityProviders.azureActiveDirectory")
    settings = environment(deployment)
    assert settings[entra["registration"]["clientSecretSettingName"]] == settings["AZURE_CLIENT_ID"]
    assert PUBLIC_CLIENT in entra["validation"]["defaultAuthorizationPolicy"]["allowedApplications"]
    assert "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID" not in environment(app(**{**given, "authentication": "jwt"}))


@pytest.mark.parametrize(("read_only", "names"), [(True, ROLES[:1]), (False, ROLES[:2])])
def test_the_platform_tells_clients_the_scopes_the_server_would(
    read_only: bool, names: tuple[str, ...], registered: Deploy, app: Deploy
) -> None:
    registration = outputs(registered())
    variables = environment(app(authentication="easyAuth", readOnly=read_only, **registration))
    uri = read_settings(variables).application_id_uri
    assert variables["WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES"].split(",") == [f"{uri}/{name}" for name in names]
    assert registration["authAudiences"] == [uri]


def test_nothing_but_the_registration_needs_a_registry() -> None:
    """Who wants no registration needs neither a newer Bicep nor the way to its extension."""
    sources = {path: path.read_text() for path in INFRA.rglob("*.bicep")}
    assert {path.parent for path, source in sources.items() if "\nextension " in source} == {INFRA / "entra"}
    assert "extensions" not in json.loads((INFRA / "bicepconfig.json").read_text())
    used = {each for source in sources.values() for each in re.findall(r"^module \w+ '(.+)'", source, re.MULTILINE)}
    assert used and [each for each in used if "entra" in each or ":" in each] == []


def test_app_service_authentication_is_turned_off_again(app: Deploy) -> None:
    [signin] = (each for each in app().of(SETTINGS) if each["name"].endswith("/authsettingsV2"))
    assert at(signin, "properties.platform.enabled") is False


def test_flex_consumption_runs_the_newest_python_and_consumption_its_last(app: Deploy) -> None:
    [flex] = app().of(SITE)
    [consumption] = app(hostingPlan="Consumption").of(SITE)
    assert at(flex, "properties.functionAppConfig.runtime") == {"name": "python", "version": "3.13"}
    assert at(consumption, "properties.siteConfig.linuxFxVersion") == "Python|3.12"


@pytest.mark.parametrize("location", ["US Gov Virginia", "China North 3", "westeurope"])
def test_private_names_are_those_of_the_cloud(location: str, app: Deploy) -> None:
    zones = {each["name"] for each in app(**PRIVATE, location=location).of("Microsoft.Network/privateDnsZones")}
    ends = {"U": ".usgovcloudapi.net .azurewebsites.us", "C": ".cn", "w": ".windows.net .azure.net .azurewebsites.net"}
    assert len(zones) == 3 and all(zone.endswith(tuple(ends[location[0]].split())) for zone in zones)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"d365BaseUrl": "http://contoso.operations.dynamics.com"}, "d365BaseUrl must start with https://"),
        ({"d365BaseUrl": ""}, "d365BaseUrl"),
        ({"hostingPlan": "Premium"}, "hostingPlan"),
        ({"instanceMemoryMB": 1024}, "instanceMemoryMB"),
        ({"maximumInstances": 0}, "maximumInstances"),
        ({"maximumInstances": 1001}, "maximumInstances"),
        ({"operatorClientId": "id-d365mcp-deploy"}, "operatorClientId must be an id of Entra"),
        ({"instanceConcurrency": 101}, "instanceConcurrency"),
        ({"retentionDays": 7}, "retentionDays"),
        ({"authentication": "none"}, "authentication"),
        ({"authentication": "easyAuth"}, "set authClientId"),
        ({"d365Auth": "client_secret"}, "set d365ClientId"),
        ({"authentication": "easyAuth", "authClientId": CLIENT, "oauthFacade": True}, "set authentication to jwt"),
        ({"authentication": "jwt", "authClientId": CLIENT, "oauthFacade": True}, "set facadeClientId"),
        ({"publicUrl": "https://mcp.contoso.com/mcp"}, "publicUrl is given without /mcp"),
        ({"hostingPlan": "Consumption", "networking": "private"}, "Consumption has no networks"),
        ({"operatorId": "me@contoso.com"}, "operatorId must be an id of Entra"),
        ({"allowedOrigins": ["*"]}, "a * would let in every page"),
        ({"alwaysReadyInstances": 2, "maximumInstances": 1}, "alwaysReadyInstances is above maximumInstances"),
        ({"alwaysReadyInstances": 1, **CONSUMPTION}, "set alwaysReadyInstances to 0"),
        ({"hostLog": True, "diagnostics": False}, "set diagnostics"),
        ({"readOnly": "yes"}, "readOnly"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_name(given: dict[str, Any], named: str, app: Deploy) -> None:
    with pytest.raises(RefusedError) as refused:
        app(**given)
    assert named in str(refused.value)


def test_a_wrong_secret_is_refused_although_no_engine_but_azure_s_own_can_see_it(
    compiler: Compiler, infra: Path
) -> None:
    """They stand in the name of a deployment, since what is hidden must not hide the names of resources."""
    template = json.dumps(compiler.compiled(infra / "resources.bicep"))
    for refused in ("set d365Auth to client_secret", "set cursorKeyFromVault", "must have 32 characters"):
        assert refused in template
    assert "format('workbook-{0}{1}', variables('token'), variables('secretsChecked'))" in template


# the file, what stands there, what is written instead, the configuration it shows in, what is said about it
REGRESSIONS = [
    (
        "app/storage.bicep",
        "allowBlobPublicAccess: false",
        "allowBlobPublicAccess: true",
        {},
        "allowBlobPublicAccess is",
    ),
    ("app/storage.bicep", "    allowSharedKeyAccess: false\n", "", {}, "allowSharedKeyAccess is None, not False"),
    ("app/storage.bicep", "'TLS1_2'", "'TLS1_0'", {}, "minimumTlsVersion is 'TLS1_0'"),
    ("app/storage.bicep", "publicAccess: 'None'", "publicAccess: 'Blob'", {}, "publicAccess is 'Blob'"),
    ("app/function.bicep", "httpsOnly: true", "httpsOnly: false", {}, "httpsOnly is False"),
    ("app/function.bicep", "  minTlsVersion: '1.2'", "  minTlsVersion: '1.0'", {}, "siteConfig.minTlsVersion is '1.0'"),
    (
        "app/function.bicep",
        "ftpsState: 'Disabled'",
        "ftpsState: 'AllAllowed'",
        CONSUMPTION,
        "ftpsState is 'AllAllowed'",
    ),
    ("app/function.bicep", "  ftpsState: 'Disabled'\n", "", CONSUMPTION, "Consumption needs ftpsState"),
    ("app/function.bicep", "isFlex ? siteConfig :", "!isFlex ? siteConfig :", {}, "Flex Consumption refuses ftpsState"),
    ("app/function.bicep", "  name: 'scm'", "  name: 'ftp'", {}, "defined with this same name"),
    ("app/function.bicep", "allow: false", "allow: true", {}, "properties.allow is True"),
    ("app/function.bicep", "perInstanceConcurrency: i", "perInstanceConcurrency: 1 * 0 + 0 * i", {}, "is 0, not from"),
    ("app/function.bicep", "perInstanceConcurrency: inst", "perInstanceConcurrency: 4 * inst", {}, "is 200, not from"),
    (
        "app/function.bicep",
        "  AZURE_CLIENT_ID:",
        "  AZURE_CLIENTID:",
        {},
        "nobody reads the app setting AZURE_CLIENTID",
    ),
    ("app/function.bicep", "  AZURE_CLIENT_ID: identityClientId\n", "", {}, "AZURE_CLIENT_ID is missing"),
    ("app/function.bicep", "isFlex ? {} : consumptionOnly", "consumptionOnly", {}, "FUNCTIONS_WORKER_RUNTIME"),
    (
        "app/function.bicep",
        "isFlex ? {} : consumptionOnly",
        "isFlex ? consumptionOnly : {}",
        CONSUMPTION,
        "needs the app setting",
    ),
    ("app/function.bicep", "AzureWebJobsStorage__blobServiceUri", "AzureWebJobsStorage", {}, "a connection string"),
    ("app/storage.bicep", "  name: name\n", "  name: 'st-${name}'\n", {}, "storageAccounts cannot be named st-"),
    ("app/storage.bicep", "    name: container\n", "    name: 'package'\n", {}, "is made twice"),
    (
        "resources.bicep",
        "uniqueString(subscription().id",
        "uniqueString(newGuid()",
        {},
        "BCP065",
    ),
    (
        "resources.bicep",
        "name: 'monitoring-${token}'",
        "name: 'monitoring/${token}'",
        {},
        "separated by '/'",
    ),
    ("app/alerts.bicep", "severity: 2", "severity: '2'", {}, 'property "severity" expected'),
    ("app/function.bicep", "name: 'http'", "name: 1", {"alwaysReadyInstances": 1}, 'property "name" expected'),
    ("app/storage.bicep", "    name: sku\n", "    name: empty(sku) ? sku : null\n", {}, "BCP321"),
    ("app/monitoring.bicep", "DisableLocalAuth: true", "DisableLocalAuth: false", {}, "DisableLocalAuth is False"),
    ("app/vault.bicep", "enableRbacAuthorization: true", "enableRbacAuthorization: false", SECRETIVE, "RbacAuth"),
    (
        "app/vault.bicep",
        "output name string = vault.name",
        "output s string = clientSecret",
        {},
        "outputs-should-not-contain-secrets",
    ),
    ("app/roles.bicep", "3b03c2da-16b3", "73c42c96-874c", {}, "not one of those we need"),
    ("app/roles.bicep", "scope: storage\n", "", {}, "is given on the resource group"),
    ("app/roles.bicep", "  scope: component\n", "  scope: workspace\n", {}, "Monitoring Metrics Publisher is given on"),
    (
        "resources.bicep",
        "MCP_READ_ONLY: readOnly",
        "MCP_READONLY: readOnly",
        {},
        "nobody reads the app setting MCP_READONLY",
    ),
    ("resources.bicep", "D365FO_BASE_URL: d365BaseUrl", "D365FO_BASE_URL: ''", {}, "D365FO_BASE_URL is not set"),
    ("resources.bicep", "'0.${padLeft", "'5.${padLeft", {}, "MCP_ERROR_RATE_THRESHOLD must"),
    (
        "resources.bicep",
        "output keyVaultName string = hasVault",
        "output keyVaultName string = hasVault ? d365ClientSecret : !hasVault",
        SECRETIVE,
        "outputs-should-not-contain-secrets",
    ),
    ("resources.bicep", "MCP_PUBLIC_URL: publicUrl", "MCP_CURSOR_KEY2: cursorKey", SECRETIVE, "only the vault may"),
    (
        "app/function.bicep",
        "output id string = app.id",
        "output k string = storage.listKeys().keys[0].value\noutput id string = app.id",
        {},
        "outputs-should-not-contain-secrets",
    ),
    (
        "app/function.bicep",
        "output id string = app.id",
        "output c string = component.properties.ConnectionString\noutput id string = app.id",
        {},
        ".ConnectionString",
    ),
]


@pytest.mark.parametrize(("name", "right", "wrong", "given", "found"), REGRESSIONS, ids=lambda each: str(each)[:40])
def test_a_regression_is_found(
    name: str, right: str, wrong: str, given: dict[str, Any], found: str, compiler: Compiler, infra: Path
) -> None:
    source = (infra / name).read_text()
    assert right in source
    try:
        (infra / name).write_text(source.replace(right, wrong, 1))
        assert found in " ".join(all_that_is_wrong(compiler, infra / "main.bicep", given))
    finally:
        (infra / name).write_text(source)


def all_that_is_wrong(compiler: Compiler, main: Path, given: dict[str, Any]) -> list[str]:
    try:
        deployment = Deployment(compiler.snapshot(main, **{**BASICS, **given}))
    except RefusedError as refused:
        return [str(refused)]
    return (
        complaints(deployment, HOST_JSON) or compiler.complaints(main) or list(source_problems(compiler.compiled(main)))
    )
