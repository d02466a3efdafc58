"""The Bicep files of infra/: nothing in them that Azure would refuse, and nothing that must never come back."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from d365mcp.server.challenges import ROLES
from d365mcp.settings import read_settings
from tests.dev_host import ROOT
from tests.infra.bicep.check import bicep_files, problems
from tests.infra.bicep.evaluate import Deployment, Refused, deploy
from tests.infra.bicep.policy import SECRET, SETTINGS, SITE, at, complaints, environment, of_the_host, source_problems
from tests.infra.bicep.syntax import BicepFile, text
from tests.infra.bicep.values import misfits

pytestmark = pytest.mark.once

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
CONSUMPTION = {"hostingPlan": "Consumption"}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "a long name": {"environmentName": "Contoso-Production-West-Europe-1"},
    "Consumption": CONSUMPTION,
    "secrets": SECRETIVE,
    "secrets on Consumption": {**SECRETIVE, **CONSUMPTION},
    "private data": {"networking": "privateData", "fixedOutboundAddress": True},
    "private": {**SECRETIVE, "networking": "private", "privateVault": True},
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


def deployed(folder: Path = INFRA, **given: Any) -> Deployment:
    return deploy(folder / "main.bicep", **{**BASICS, **given})


def registered(**given: Any) -> Deployment:
    """Deploy the app registration; its outputs are called like the parameters of main.bicep they are for."""
    return deploy(INFRA / "entra" / "entra.bicep", environmentName=BASICS["environmentName"], **given)


def wrong(folder: Path, given: dict[str, Any]) -> list[str]:
    """Return all that is wrong with a folder of Bicep files, in one configuration."""
    found = [str(each) for path in bicep_files(folder) for each in source_problems(BicepFile(path))]
    if found:
        return found
    deployment = deployed(folder, **given)
    return complaints(deployment, SECRETS, HOST_JSON) + misfits(deployment)


def test_nothing_is_wrong_with_the_files() -> None:
    files = bicep_files(INFRA)
    assert {"main.bicep", "resources.bicep", "main.bicepparam"} <= {each.name for each in files}
    assert [str(each) for each in problems(files)] == []


@each_configuration
def test_a_deployment_keeps_what_is_promised(given: dict[str, Any]) -> None:
    assert wrong(INFRA, given) == []


def test_secrets_reach_the_app_through_the_vault() -> None:
    settings = read_settings(environment(deployed(**SECRETIVE)))
    assert settings.client_secret == SECRETS[0]
    assert settings.cursor_keys == (SECRETS[1].encode(),)


def test_an_instance_takes_as_many_requests_as_host_json_at_most() -> None:
    most = json.loads(HOST_JSON.read_text())["extensions"]["http"]["maxConcurrentRequests"]
    assert complaints(deployed(instanceConcurrency=most), SECRETS, HOST_JSON) == []
    with pytest.raises(Refused, match="instanceConcurrency"):
        deployed(instanceConcurrency=most + 1)


def test_main_offers_what_resources_can_do_with_the_same_words() -> None:
    """The parameters stand in both files: Bicep has no way to pass them on unsaid."""
    main, resources = BicepFile(INFRA / "main.bicep"), BicepFile(INFRA / "resources.bicep")
    for name, each in resources.of("parameter").items():
        offered = main.of("parameter")[name]
        same = {"location", "tags"}  # the resource group's here, asked for there
        assert name in same or text(offered.node) == text(each.node)
        decorated = {key: text(node) for key, node in offered.decorators.items() if key != "metadata"}
        assert name in same or decorated == {key: text(node) for key, node in each.decorators.items()}


def test_the_parameters_file_takes_settings_from_the_environment() -> None:
    variables = {"D365FO_BASE_URL": BASICS["d365BaseUrl"], "D365FO_COMPANIES": "usmf", "MCP_TOOLSETS": "data,services"}
    settings = read_settings(environment(deploy(INFRA / "main.bicepparam", variables)))
    assert (settings.companies, settings.toolsets) == (("usmf",), ("data", "services"))


@pytest.mark.parametrize(
    ("on_the_laptop", "deployed_with"), [("azure_cli", "managed_identity"), ("on_behalf_of", "on_behalf_of")]
)
def test_how_a_laptop_signs_in_is_no_way_for_an_app(on_the_laptop: str, deployed_with: str) -> None:
    variables = {"D365FO_BASE_URL": BASICS["d365BaseUrl"], "D365FO_AUTH": on_the_laptop}
    signing_in = {"AUTHENTICATION": "jwt", "MCP_CLIENT_ID": CLIENT}
    given = environment(deploy(INFRA / "main.bicepparam", {**variables, **signing_in}))
    assert given["D365FO_AUTH"] == deployed_with


def test_resources_can_be_deployed_alone_into_a_group_that_exists() -> None:
    alone = deploy(INFRA / "resources.bicep", environmentName="test", d365BaseUrl=BASICS["d365BaseUrl"])
    kinds = Counter(each.type for each in deployed().resources)
    assert Counter(each.type for each in alone.resources) == kinds - Counter(["Microsoft.Resources/resourceGroups"])


def test_a_second_deployment_makes_nothing_new() -> None:
    first, again = deployed(**SECRETIVE), deployed(**{**SECRETIVE, "d365ClientSecret": "", "cursorKey": ""})
    known = [(each.id, each.body.get("properties")) for each in first.resources if each.type != SECRET]
    assert [(each.id, each.body.get("properties")) for each in again.resources] == known


def test_azd_finds_the_files_the_code_and_the_app() -> None:
    told = (INFRA / "azure.yaml").read_text()
    path, module, service, project = re.findall(
        r"^ +path: (\S+)|^ +module: (\S+)|^  (\w+):$|^ +project: (\S+)", told, re.MULTILINE
    )
    assert (INFRA / path[0] / f"{module[1]}.bicepparam").exists()
    assert (INFRA / project[3] / "host.json").exists()
    [site] = deployed().of(SITE)
    assert site.body["tags"] == {"azd-env-name": BASICS["environmentName"], "azd-service-name": service[2]}


@pytest.mark.parametrize("public_url", ["", "https://mcp.contoso.com"])
@pytest.mark.parametrize("facade", [False, True])
def test_the_registration_fits_what_the_server_looks_for(facade: bool, public_url: str) -> None:
    made = registered(oauthFacade=facade, publicUrl=public_url)
    server, *clients = made.of("Microsoft.Graph/applications")
    app = deployed(authentication="jwt", oauthFacade=facade, publicUrl=public_url, **made.outputs[-1])
    settings = read_settings({**environment(app), **of_the_host(app)})
    assert settings.problems == ()
    assert [each["value"] for each in server.body["appRoles"]] == list(ROLES)
    assert [each["value"] for each in server.body["api"]["oauth2PermissionScopes"]] == list(ROLES)
    assert settings.require_roles
    assert settings.own_audiences == tuple(server.body["identifierUris"])
    assert settings.redirect_uris == read_settings({}).redirect_uris
    returning_to = [tuple(each.body["publicClient"]["redirectUris"]) for each in clients]
    assert returning_to == ([settings.redirect_uris] if facade else [])


def test_who_has_a_registration_without_roles_may_say_so() -> None:
    def required(**given: Any) -> bool:
        return read_settings(environment(deployed(**given))).require_roles

    jwt = {"authentication": "jwt", "authClientId": CLIENT}
    assert required(**jwt) and required(**{**jwt, "authentication": "easyAuth"})
    assert not required()
    assert not required(**jwt, settings={"MCP_REQUIRE_ROLES": "false"})


def test_a_registration_may_exchange_tokens_once_it_knows_the_app_s_identity() -> None:
    identity = deployed(**CONFIGURATIONS["on behalf of"]).outputs[-1]["identityPrincipalId"]
    trusted = registered(identityPrincipalId=identity).of("Microsoft.Graph/applications/federatedIdentityCredentials")
    assert [each.body["subject"] for each in trusted] == [identity]
    assert registered().of("Microsoft.Graph/applications/federatedIdentityCredentials") == []


@pytest.mark.parametrize(("read_only", "names"), [(True, ROLES[:1]), (False, ROLES[:2])])
def test_the_platform_tells_clients_the_scopes_the_server_would(read_only: bool, names: tuple[str, ...]) -> None:
    registration = registered().outputs[-1]
    variables = environment(deployed(authentication="easyAuth", readOnly=read_only, **registration))
    uri = read_settings(variables).application_id_uri
    assert variables["WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES"].split(",") == [f"{uri}/{name}" for name in names]
    assert registration["authAudiences"] == [uri]


def test_nothing_but_the_registration_needs_a_registry() -> None:
    """Who wants no registration needs neither a newer Bicep nor the way to its extension."""
    needing = {each.parent for each in bicep_files(INFRA) if "\nextension " in each.read_text()}
    assert needing == {INFRA / "entra"}
    assert "extensions" not in json.loads((INFRA / "bicepconfig.json").read_text())
    used = {each.reference for path in bicep_files(INFRA) for each in BicepFile(path).of("module").values()}
    assert used and [each for each in used if "entra" in each or ":" in each] == []


def test_app_service_authentication_is_turned_off_again() -> None:
    [signin] = (each for each in deployed().of(SETTINGS) if each.name.endswith("/authsettingsV2"))
    assert at(signin, "properties.platform.enabled") is False


def test_the_parameters_file_says_what_has_to_be_given() -> None:
    with pytest.raises(Refused, match="D365FO_BASE_URL"):
        deploy(INFRA / "main.bicepparam")


def test_flex_consumption_runs_the_newest_python_and_consumption_its_last() -> None:
    [flex] = deployed().of(SITE)
    [consumption] = deployed(hostingPlan="Consumption").of(SITE)
    assert at(flex, "properties.functionAppConfig.runtime") == {"name": "python", "version": "3.13"}
    assert at(consumption, "properties.siteConfig.linuxFxVersion") == "Python|3.12"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"d365BaseUrl": "http://contoso.operations.dynamics.com"}, "d365BaseUrl must start with https://"),
        ({"d365BaseUrl": ""}, "d365BaseUrl"),
        ({"hostingPlan": "Premium"}, "hostingPlan"),
        ({"instanceMemoryMB": 1024}, "instanceMemoryMB"),
        ({"maximumInstances": 0}, "maximumInstances"),
        ({"instanceConcurrency": 101}, "instanceConcurrency"),
        ({"retentionDays": 7}, "retentionDays"),
        ({"authentication": "none"}, "authentication"),
        ({"authentication": "easyAuth"}, "set authClientId"),
        ({"d365Auth": "client_secret"}, "set d365ClientId"),
        ({"authentication": "easyAuth", "authClientId": CLIENT, "oauthFacade": True}, "set authentication to jwt"),
        ({"authentication": "jwt", "authClientId": CLIENT, "oauthFacade": True}, "set facadeClientId"),
        ({"publicUrl": "https://mcp.contoso.com/mcp"}, "publicUrl is given without /mcp"),
        ({"hostingPlan": "Consumption", "networking": "private"}, "Consumption has no networks"),
        ({"cursorKey": "k" * 32}, "set cursorKeyFromVault"),
        ({"operatorId": "me@contoso.com"}, "operatorId must be an id of Entra"),
        ({"allowedOrigins": ["*"]}, "a * would let in every page"),
        ({"alwaysReadyInstances": 2, "maximumInstances": 1}, "alwaysReadyInstances is above maximumInstances"),
        ({"alwaysReadyInstances": 1, **CONSUMPTION}, "set alwaysReadyInstances to 0"),
        ({"hostLog": True, "diagnostics": False}, "set diagnostics"),
        ({"readOnly": "yes"}, "readOnly"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused) as refused:
        deployed(**given)
    assert named in str(refused.value)


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
    ("app/function.bicep", "  name: 'scm'", "  name: 'ftp'", {}, "publishing by password (scm)"),
    ("app/function.bicep", "allow: false", "allow: true", {}, "properties.allow is True"),
    ("app/function.bicep", "perInstanceConcurrency: instanceConcurrency", "", {}, "perInstanceConcurrency is None"),
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
    ("app/function.bicep", "isFlex ? {} : cons", "{}) //", CONSUMPTION, "needs the app setting"),
    ("app/function.bicep", "AzureWebJobsStorage__blobServiceUri", "AzureWebJobsStorage", {}, "a connection string"),
    ("app/storage.bicep", "  name: name\n", "  name: 'st-${name}'\n", {}, "storageAccounts cannot be named st-"),
    ("app/storage.bicep", "    name: container\n", "    name: 'package'\n", {}, "is made twice"),
    (
        "resources.bicep",
        "uniqueString(subscription().id",
        "uniqueString(newGuid()",
        {},
        "makes each deployment another",
    ),
    (
        "resources.bicep",
        "name: 'monitoring-${token}'",
        "name: 'monitoring/${token}'",
        {},
        "a deployment cannot be named",
    ),
    ("app/alerts.bicep", "severity: 2", "severity: '2'", {}, "severity takes int, not '2'"),
    ("app/function.bicep", "name: 'http'", "name: 1", {"alwaysReadyInstances": 1}, "name takes string, not 1"),
    ("app/storage.bicep", "name: sku\n", "name: toLower(sku)\n", {}, "not 'standard_lrs'"),
    ("app/storage.bicep", "    name: sku\n", "    name: empty(sku) ? sku : null\n", {}, "the property name is missing"),
    ("app/monitoring.bicep", "DisableLocalAuth: true", "DisableLocalAuth: false", {}, "DisableLocalAuth is False"),
    ("app/vault.bicep", "enableRbacAuthorization: true", "enableRbacAuthorization: false", SECRETIVE, "RbacAuth"),
    ("app/vault.bicep", "output name string = vault.name", "output s string = clientSecret", {}, "shows the secret"),
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
        "shows the secret",
    ),
    ("resources.bicep", "MCP_PUBLIC_URL: publicUrl", "MCP_CURSOR_KEY2: cursorKey", SECRETIVE, "only the vault may"),
    (
        "app/function.bicep",
        "output id string = app.id",
        "output k string = storage.listKeys().keys[0].value",
        {},
        "reads keys",
    ),
    (
        "app/function.bicep",
        "output id string = app.id",
        "output c string = component.properties.ConnectionString",
        {},
        "the output c shows a key",
    ),
]


@pytest.mark.parametrize(("name", "right", "wrong_text", "given", "said"), REGRESSIONS, ids=lambda each: str(each)[:40])
def test_a_regression_is_found(
    name: str, right: str, wrong_text: str, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = shutil.copytree(INFRA, tmp_path / "infra")
    source = (folder / name).read_text()
    assert right in source
    (folder / name).write_text(source.replace(right, wrong_text, 1))
    try:
        found = wrong(folder, given)
    except Refused as refused:
        found = [str(refused)]
    assert any(said in each for each in found), found
