"""The image and what runs it fit together and fit the function: ports, probes, keys, settings. Nothing is built here."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pathspec import GitIgnoreSpec, PathSpec

from d365mcp.settings import declared, read_settings
from tests.dev_host import ROOT
from tests.infra.bicep.policy import CONTAINER_APP, Deployment, at, fixed, named, visible
from tests.infra.linters import complaints, documents

CONTAINER = ROOT / "infra" / "container"
DOCKERFILE = (CONTAINER / "Dockerfile").read_text()
APP = (CONTAINER / "containerapp.bicep").read_text()
MANIFESTS = sorted((ROOT / "infra" / "kubernetes").glob("*.yaml"))
PLATFORM = ("AzureWebJobsStorage__", "AzureFunctionsJobHost__")

pytestmark = pytest.mark.once
each_manifest = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def kinds() -> dict[str, dict[str, Any]]:
    found = [document for path in MANIFESTS for document in documents(path)]
    by_kind = {document["kind"]: document for document in found}
    assert len(by_kind) == len(found)
    return by_kind


@pytest.fixture(scope="module")
def container(kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return kinds["Deployment"]["spec"]["template"]["spec"]["containers"][0]


# What the Functions host reads as keys, by its name; the second opens every function that asks for one.
# https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script.WebHost/Security/KeyManagement/ContainerAppsSecretsRepository.cs
KEY_FILES = {"host.master", "host.function.default"}


def port() -> str:
    found = re.search(r"ASPNETCORE_URLS=http://\+:(\d+)", DOCKERFILE)
    assert found
    return found[1]


def test_the_image_has_no_known_flaw() -> None:
    assert complaints("hadolint", str(CONTAINER / "Dockerfile")) == ""


def test_the_image_holds_the_function_and_nothing_else() -> None:
    """What passes .dockerignore and is copied is what .funcignore leaves, but for the requirements."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = listed.stdout.splitlines()
    undeployed = GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text().splitlines())
    # Docker's patterns begin at the root, Git's anywhere.
    rooted = re.sub(r"^(!?)(?=\w)", r"\1/", (CONTAINER / "Dockerfile.dockerignore").read_text(), flags=re.MULTILINE)
    unseen = PathSpec.from_lines("gitignore", rooted.split())
    sent = {path for path in files if not unseen.match_file(path)}
    deployed = {path for path in files if not undeployed.match_file(path)}
    assert sent == deployed - {"requirements.txt"} | {"infra/requirements.lock"}
    sources = {name for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()}
    assert all(path in sources or path.split("/")[0] in sources for path in sent)


def test_the_image_runs_without_rights_on_one_port(container: dict[str, Any]) -> None:
    assert re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE) == ["1654"]
    assert int(port()) > 1024
    assert f"EXPOSE {port()}" in DOCKERFILE
    assert f"http://127.0.0.1:{port()}/health" in DOCKERFILE
    assert f"var port = {port()}\n" in APP
    assert str(container["ports"][0]["containerPort"]) == port()


def test_the_host_is_given_the_keys_it_reads(kinds: dict[str, dict[str, Any]], container: dict[str, Any]) -> None:
    objects = kinds["SecretProviderClass"]["spec"]["parameters"]["objects"]
    assert set(re.findall(r"objectAlias: (\S+)", objects)) == KEY_FILES | {"cursor-key"}
    assert set(re.findall(r"path: '([a-z_.]+)'", APP)) == KEY_FILES
    assert set(re.findall(r"host\.\w+[.\w]*", (CONTAINER / "try").read_text())) == KEY_FILES
    assert container["volumeMounts"][0]["mountPath"] == "/run/secrets/functions-keys"
    assert "mountPath: '/run/secrets/functions-keys'" in APP


def test_the_host_s_key_storage_is_the_one_that_rests() -> None:
    """With `kubernetes` one anonymous request that brings any key starts a loop without a pause.

    https://github.com/Azure/azure-functions-host/issues/11554
    """
    assert re.findall(r"AzureWebJobsSecretStorageType=(\w+)", DOCKERFILE) == ["containerapps"]
    overriding = [
        path.name for path in (*MANIFESTS, CONTAINER / "containerapp.bicep") if "SecretStorage" in path.read_text()
    ]
    assert overriding == []


@each_manifest
def test_a_manifest_has_kubernetes_form(path: Path) -> None:
    assert complaints("kubernetes-validate", "--strict", str(path)) == ""


def test_a_mistake_in_a_manifest_would_be_found(tmp_path: Path) -> None:
    wrong = tmp_path / "deployment.yaml"
    wrong.write_text((ROOT / "infra" / "kubernetes" / "deployment.yaml").read_text().replace("httpGet", "httpGets", 1))
    assert "httpGets" in complaints("kubernetes-validate", "--strict", str(wrong))


def test_the_manifests_name_each_other(kinds: dict[str, dict[str, Any]], container: dict[str, Any]) -> None:
    deployment, provider = kinds["Deployment"]["spec"], kinds["SecretProviderClass"]["spec"]
    pod = deployment["template"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    assert kinds["Service"]["spec"]["selector"].items() <= labels.items()
    assert kinds["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == kinds["Deployment"]["metadata"]["name"]
    assert pod["serviceAccountName"] == kinds["ServiceAccount"]["metadata"]["name"]
    assert container["envFrom"][0]["configMapRef"]["name"] == kinds["ConfigMap"]["metadata"]["name"]
    assert container["envFrom"][1]["secretRef"]["name"] == provider["secretObjects"][0]["secretName"]
    volume = pod["volumes"][0]["csi"]["volumeAttributes"]
    assert volume["secretProviderClass"] == kinds["SecretProviderClass"]["metadata"]["name"]
    assert len({document["metadata"]["namespace"] for document in kinds.values()}) == 1


def test_probes_ask_a_route_that_asks_nobody(container: dict[str, Any]) -> None:
    assert '@app.route(route="health"' in (ROOT / "function_app.py").read_text()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
    assert "path: '/health'" in APP


def test_pods_have_bounds_and_no_rights(kinds: dict[str, dict[str, Any]], container: dict[str, Any]) -> None:
    assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys() == {"cpu", "memory"}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = kinds["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1654


def test_the_settings_are_complete(kinds: dict[str, dict[str, Any]]) -> None:
    secret = {entry["key"] for entry in kinds["SecretProviderClass"]["spec"]["secretObjects"][0]["data"]}
    given = {**kinds["ConfigMap"]["data"], **dict.fromkeys(secret, "k" * 32)}
    assert given.keys() <= {each.metadata["name"] for each in declared()}
    assert read_settings(given).problems == ()


@pytest.fixture(scope="module")
def container_app(deployed: Callable[..., Deployment]) -> Deployment:
    return deployed(
        "container/containerapp.bicep",
        environmentName="cae-test",
        image="contoso.azurecr.io/d365mcp:1.0.0",
        identityName="id-test",
        vaultName="kv-test",
        d365BaseUrl="https://contoso.operations.dynamics.com",
        blobServiceUri="https://contoso.blob.core.windows.net",
        applicationInsightsConnectionString="InstrumentationKey=00000000-0000-0000-0000-000000000000",
    )


def test_the_container_app_s_settings_are_complete(container_app: Deployment) -> None:
    [app] = container_app.of(CONTAINER_APP)
    secrets = {each["name"]: "k" * 32 for each in at(app, "properties.configuration.secrets")}
    [image] = at(app, "properties.template.containers")
    given = {each["name"]: each["value"] if "value" in each else secrets[each["secretRef"]] for each in image["env"]}
    known = {each.metadata["name"] for each in declared()}
    assert [name for name in given if name not in known and not name.startswith(PLATFORM)] == []
    settings = read_settings({**given, "CONTAINER_APP_NAME": "d365mcp"})
    assert settings.problems == ()
    assert settings.on_azure and settings.has_shared_storage and settings.application_insights


def test_the_container_app_is_closed_where_it_must_be(container_app: Deployment) -> None:
    assert [*fixed(container_app), *named(container_app), *visible(container_app)] == []
    [app] = container_app.of(CONTAINER_APP)
    [rule] = at(app, "properties.template.scale.rules")
    host = json.loads((ROOT / "host.json").read_text())
    requests = int(rule["http"]["metadata"]["concurrentRequests"])
    assert 1 < requests <= host["extensions"]["http"]["maxConcurrentRequests"]
