"""Misspelt settings: named with the close one, and nothing of the platform's or of other programs called wrong."""

import itertools
import os
import re

import pytest

from d365mcp.settings import declared, read_settings
from tests.served import serving
from tests.simulated import Simulator

pytestmark = pytest.mark.alike

GOOD = {"D365FO_BASE_URL": "https://contoso.operations.dynamics.com"}
KNOWN = [each.metadata["name"] for each in declared()]
OURS = [name for name in KNOWN if name.startswith(("MCP_", "D365FO_"))]


def complaints(*names: str, value: str = "x") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return problems and notices of an environment that has these variables as well."""
    read = read_settings({**GOOD, **dict.fromkeys(names, value)})
    return read.problems, read.notices


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("MCP_TOOLSET", "MCP_TOOLSETS"),
        ("MCP_TOOL_SETS", "MCP_TOOLSETS"),
        ("MCP_READONLY", "MCP_READ_ONLY"),
        ("mcp_read_only", "MCP_READ_ONLY"),
        ("Mcp_Read_Only", "MCP_READ_ONLY"),
        ("MCP-READ-ONLY", "MCP_READ_ONLY"),
        ("MCPTOOLSETS", "MCP_TOOLSETS"),
        ("MPC_TOOLSETS", "MCP_TOOLSETS"),
        ("MCP_ALLOWED_TENANT", "MCP_ALLOWED_TENANTS"),
        ("MCP_ALLOW_ORIGINS", "MCP_ALLOWED_ORIGINS"),
        ("D365FO_COMPANY", "D365FO_COMPANIES"),
        ("D365FO_WRITEABLE_ENTITIES", "D365FO_WRITABLE_ENTITIES"),
        ("D365_COMPANIES", "D365FO_COMPANIES"),
        ("D365F0_COMPANIES", "D365FO_COMPANIES"),
        ("D365FO_URL", "D365FO_BASE_URL"),
        ("D365FO_MCP_REQUEST_TIMEOUT", "MCP_REQUEST_TIMEOUT"),
        ("AzureWebJobsStorage__blobServiceUrl", "AzureWebJobsStorage__blobServiceUri"),
        ("AzureWebJobsStorage_accountName", "AzureWebJobsStorage__accountName"),
        ("AzureWebJobStorage__clientId", "AzureWebJobsStorage__clientId"),
        ("APPLICATIONINSIGHTS_CONNECTIONSTRING", "APPLICATIONINSIGHTS_CONNECTION_STRING"),
        ("AZURE_CLIENTID", "AZURE_CLIENT_ID"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_one_that_is_meant(written: str, meant: str) -> None:
    problems, _ = complaints(written, value="usmf-secret")
    assert problems == (f"{written} is not a setting of this server: did you mean {meant}?",)


def test_a_client_is_told_of_a_limit_that_is_misspelt_instead_of_being_let_past_it(simulator: Simulator) -> None:
    with serving(simulator, D365FO_COMPANY="ussi", MCP_FOO="1") as served:
        error = served.refuse("query_entities", entity_name="CustomersV3", company="usmf")
        assert (error["code"], "did you mean D365FO_COMPANIES?" in error["message"]) == ("settings", True)
        assert served.requests("/data") == []
    with serving(simulator, MCP_FOO="1") as served:
        assert served.call("query_entities", entity_name="CustomersV3", top=1)["records"]
        listed = served.call("get_server_config")["settings_problems"]
        assert listed == ["MCP_FOO is not a setting of this server."]
        assert "MCP_FOO is not a setting" in served.host.log


def letters_gone(name: str) -> set[str]:
    """Return a name with one letter left out, doubled or swapped with the next, behind its prefix."""
    start = name.index("_") + 1
    found = set()
    for place in range(start, len(name)):
        found.add(name[:place] + name[place + 1 :])
        found.add(name[:place] + name[place] + name[place:])
        found.add(name[:place] + name[place + 1 : place + 2] + name[place] + name[place + 2 :])
    return found


@pytest.mark.parametrize("name", OURS)
def test_a_slip_of_one_letter_in_any_setting_is_a_problem(name: str) -> None:
    for slip in letters_gone(name) - set(KNOWN):
        (problem,), _ = complaints(slip)
        assert f"did you mean {name}?" in problem or any(f"did you mean {other}?" in problem for other in OURS), slip


@pytest.mark.parametrize("name", ["MCP_TENANTS", "MCP_SOMETHING_ELSE", "D365FO_LOG_LEVEL", "MCP_TIMEOUT"])
def test_what_may_be_somebody_elses_is_a_notice_and_keeps_nobody_from_work(name: str) -> None:
    """Claude Code's MCP_TIMEOUT may well be in the shell that starts this server on a laptop."""
    problems, (notice,) = complaints(name)
    assert problems == ()
    assert notice.startswith(f"{name} is not a setting of this server")
    assert ("did you mean" in notice) == (name in ("MCP_TENANTS", "MCP_TIMEOUT"))


def test_a_misspelt_setting_without_a_value_is_nothing() -> None:
    assert complaints("MCP_TOOLSET", value=" ") == ((), ())


def test_a_missing_setting_is_told_after_its_misspelling() -> None:
    read = read_settings({"D365FO_BASEURL": "https://contoso.operations.dynamics.com"})
    assert read.problems == (
        "D365FO_BASEURL is not a setting of this server: did you mean D365FO_BASE_URL?",
        "D365FO_BASE_URL is not set.",
    )


# What Azure Functions, App Service, Container Apps, Kubernetes, azure-identity, Core Tools and other programs set:
# https://learn.microsoft.com/azure/azure-functions/functions-app-settings
# https://learn.microsoft.com/azure/app-service/reference-app-settings
FOREIGN = re.findall(
    r"\S+",
    """
APPINSIGHTS_INSTRUMENTATIONKEY APPINSIGHTS_PROFILERFEATURE_VERSION APPINSIGHTS_SNAPSHOTFEATURE_VERSION
APPLICATIONINSIGHTS_ENABLE_AGENT APPLICATIONINSIGHTS_CONFIGURATION_CONTENT ApplicationInsightsAgent_EXTENSION_VERSION
APPLICATIONINSIGHTS_SAMPLING_PERCENTAGE APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL
APPSETTING_MCP_TOOLSETS APPSETTING_D365FO_BASE_URL APPSETTING_AzureWebJobsStorage__blobServiceUri
APPSETTING_APPLICATIONINSIGHTS_CONNECTION_STRING APPSETTING_AZURE_CLIENT_ID CUSTOMCONNSTR_MCP SQLAZURECONNSTR_D365FO
AzureWebJobsStorage__credential AzureWebJobsStorage__queueServiceUri AzureWebJobsStorage__tableServiceUri
AzureWebJobsStorage__fileServiceUri AzureWebJobsStorage__serviceUri AzureWebJobsStorage__tenantId
AzureWebJobsStorage__clientSecret AzureWebJobsStorage__managedIdentityResourceId AzureWebJobsStorage__endpoint
AzureWebJobsStorage__managedIdentityClientId AzureWebJobsStorage__managedIdentityObjectId
AzureWebJobsDashboard AzureWebJobsSecretStorageType AzureWebJobsSecretStorageSas AzureWebJobsKubernetesSecretName
AzureWebJobsSecretStorageKeyVaultUri AzureWebJobsSecretStorageKeyVaultClientId AzureWebJobsSecretStorageKeyVaultTenantId
AzureWebJobsSecretStorageKeyVaultClientSecret AzureWebJobsFeatureFlags AzureWebJobsDisableHomepage AzureWebJobsDotNetReleaseCompilation
AzureWebJobs.mcp.Disabled AzureWebJobsScriptRoot AzureWebEncryptionKey AzureFunctionsWebHost__hostid
AzureFunctionsJobHost__Logging__Console__IsEnabled AzureFunctionsJobHost__extensions__http__routePrefix
AZURE_FUNCTIONS_ENVIRONMENT AZURE_TENANT_ID AZURE_CLIENT_SECRET
AZURE_CLIENT_CERTIFICATE_PATH AZURE_CLIENT_CERTIFICATE_PASSWORD AZURE_CLIENT_SEND_CERTIFICATE_CHAIN AZURE_USERNAME
AZURE_PASSWORD AZURE_FEDERATED_TOKEN_FILE AZURE_REGIONAL_AUTHORITY_NAME AZURE_TOKEN_CREDENTIALS AZURE_SDK_TRACING_IMPLEMENTATION
AZURE_SUBSCRIPTION_ID AZURE_RESOURCE_GROUP AZURE_LOCATION AZURE_ENV_NAME AZURE_PRINCIPAL_ID AZURE_PRINCIPAL_TYPE AZURE_CONFIG_DIR
AZURE_KEYVAULT_RESOURCEENDPOINT AZURE_STORAGEBLOB_RESOURCEENDPOINT AZURE_CLIENT_ID_FRONTEND
IDENTITY_ENDPOINT IDENTITY_HEADER MSI_ENDPOINT MSI_SECRET IDENTITY_SERVER_THUMBPRINT
FUNCTIONS_EXTENSION_VERSION FUNCTIONS_WORKER_RUNTIME FUNCTIONS_WORKER_RUNTIME_VERSION FUNCTIONS_WORKER_PROCESS_COUNT
FUNCTIONS_REQUEST_BODY_SIZE_LIMIT FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED FUNCTION_APP_EDIT_MODE
FUNCTIONS_NODE_BLOCK_ON_ENTRY_POINT_ERROR FUNCTIONS_V2_COMPATIBILITY_MODE FUNCTIONS_LOGS_MOUNT_PATH FUNCTIONS_DEV_KEY
FUNCTIONS_WORKER_SHARED_MEMORY_DATA_TRANSFER_ENABLED DOCKER_SHM_SIZE DOCKER_REGISTRY_SERVER_URL
ENABLE_ORYX_BUILD SCM_DO_BUILD_DURING_DEPLOYMENT SCM_LOGSTREAM_TIMEOUT PIP_INDEX_URL PIP_EXTRA_INDEX_URL
PYTHON_ISOLATE_WORKER_DEPENDENCIES PYTHON_THREADPOOL_THREAD_COUNT PYTHON_ENABLE_DEBUG_LOGGING PYTHON_ENABLE_WORKER_EXTENSIONS
PYTHON_ENABLE_INIT_INDEXING PYTHON_SCRIPT_FILE_NAME PYTHONPATH PYTHON_VERSION
WEBSITE_SITE_NAME WEBSITE_HOSTNAME WEBSITE_INSTANCE_ID WEBSITE_OWNER_NAME WEBSITE_RESOURCE_GROUP WEBSITE_SLOT_NAME WEBSITE_SKU
WEBSITE_DEPLOYMENT_ID WEBSITE_HOME_STAMPNAME WEBSITE_STAMP_DEPLOYMENT_ID WEBSITE_PLATFORM_VERSION WEBSITE_COMPUTE_MODE
WEBSITE_AUTH_ENABLED WEBSITE_AUTH_V2_CONFIG_JSON WEBSITE_AUTH_ENCRYPTION_KEY WEBSITE_AUTH_SIGNING_KEY WEBSITE_AUTH_CLIENT_ID
WEBSITE_AUTH_DEFAULT_PROVIDER WEBSITE_AUTH_OPENID_ISSUER WEBSITE_AUTH_ALLOWED_AUDIENCES WEBSITE_AUTH_TOKEN_STORE
WEBSITE_AUTH_PRM_DEFAULT_WITH_SCOPES WEBSITE_AUTH_AAD_ALLOWED_TENANTS WEBSITE_AUTH_LOGOUT_PATH WEBSITE_AUTH_AUTO_AAD
WEBSITE_RUN_FROM_PACKAGE WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID WEBSITE_MOUNT_ENABLED WEBSITE_CONTENTSHARE
WEBSITE_CONTENTAZUREFILECONNECTIONSTRING WEBSITE_CONTENTOVERVNET WEBSITE_TIME_ZONE WEBSITE_DNS_SERVER WEBSITE_VNET_ROUTE_ALL
WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT WEBSITE_SWAP_WARMUP_PING_PATH WEBSITE_OVERRIDE_STICKY_DIAGNOSTICS_SETTINGS
WEBSITE_PRIVATE_IP WEBSITE_LOCAL_CACHE_OPTION WEBSITE_NODE_DEFAULT_VERSION WEBSITE_CLOUD_NAME WEBSITE_ARM_CACHE_ENABLED
WEBSITE_PLACEHOLDER_MODE WEBSITE_POD_NAME WEBSITE_LEGION_SERVICE_HOST WEBSITE_CORS_ALLOWED_ORIGINS WEBSITE_WARMUP_PATH
CONTAINER_NAME CONTAINER_APP_NAME CONTAINER_APP_REVISION CONTAINER_APP_HOSTNAME CONTAINER_APP_ENV_DNS_SUFFIX CONTAINER_APP_PORT
CONTAINER_APP_REPLICA_NAME CONTAINER_ENCRYPTION_KEY CONTAINER_START_CONTEXT_SAS_URI HOSTNAME HOME PATH LANG PWD
KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBERNETES_SERVICE_PORT_HTTPS KUBERNETES_PORT KUBERNETES_PORT_443_TCP_ADDR
MCP_SERVICE_HOST MCP_SERVICE_PORT MCP_SERVICE_PORT_HTTP MCP_PORT MCP_PORT_80_TCP MCP_PORT_80_TCP_PROTO MCP_PORT_80_TCP_PORT
MCP_PORT_80_TCP_ADDR D365FO_SERVICE_HOST D365FO_PORT D365FO_PORT_443_TCP D365FO_MCP_SERVICE_HOST MCP_GATEWAY_PORT_53_UDP_ADDR
D365MCP_SERVICE_HOST D365MCP_PORT_80_TCP_ADDR DYNAMICS365_URL D365_TENANT MCPORTER_CONFIG FASTMCP_LOG_LEVEL
""",
)


def test_nothing_of_the_platforms_or_of_kubernetes_is_called_wrong() -> None:
    assert len(FOREIGN) > 150
    assert complaints(*(name for name in FOREIGN if name not in KNOWN)) == ((), ())


def test_what_is_in_the_tests_own_environment_is_not_called_wrong() -> None:
    read = read_settings({**os.environ, **GOOD})
    assert not [problem for problem in read.problems if "no setting" in problem]


def test_no_setting_looks_like_another_ones_misspelling() -> None:
    every = dict.fromkeys(KNOWN, "1")
    assert not [problem for problem in read_settings(every).problems if "no setting" in problem]


def test_the_hosts_own_names_are_read_in_any_case_as_the_host_reads_them() -> None:
    for name in (
        "AzureWebJobsStorage__accountName",
        "AZUREWEBJOBSSTORAGE__ACCOUNTNAME",
        "azurewebjobsstorage__accountname",
    ):
        read = read_settings({**GOOD, name: "contoso1"})
        assert (read.storage_blob_uri, read.problems) == ("https://contoso1.blob.core.windows.net", ())


def test_storage_by_the_accounts_name_is_shared_storage_and_its_address_wins() -> None:
    name, address = {"AzureWebJobsStorage__accountName": "contoso1"}, "https://contoso2.blob.core.usgovcloudapi.net"
    assert read_settings({**GOOD, **name}).has_shared_storage
    both = read_settings({**GOOD, **name, "AzureWebJobsStorage__blobServiceUri": address})
    assert both.storage_blob_uri == address


@pytest.mark.parametrize(
    "name", ["Contoso", "contoso.blob.core.windows.net", "a", "x" * 25, "contoso/../x", "evil.example#"]
)
def test_an_accounts_name_is_nothing_else(name: str) -> None:
    (problem,) = read_settings({**GOOD, "AzureWebJobsStorage__accountName": name}).problems
    assert problem.startswith("AzureWebJobsStorage__accountName must be a storage account's name")


def test_all_that_is_misspelt_is_named_at_once() -> None:
    problems, notices = complaints("MCP_TOOLSET", "MCP_READONLY", "D365FO_COMPANY", "MCP_FOO")
    assert [problem.split()[0] for problem in itertools.chain(problems, notices)] == [
        "D365FO_COMPANY",
        "MCP_READONLY",
        "MCP_TOOLSET",
        "MCP_FOO",
    ]
