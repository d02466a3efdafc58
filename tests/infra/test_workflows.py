"""The workflows are well formed, harmless where they could leak, and name only what exists."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.dev_host import ROOT
from tests.infra.az.resource_manager import ID
from tests.infra.azure import KEY, Azure
from tests.infra.linters import complaints, documents

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
# What a job may do, beside reading the code and signing in to Azure.
MORE_RIGHTS = {"release": {("contents", "write"), ("attestations", "write")}}
# What the workflow tells main.bicepparam: each of its variables, but for secrets.
VARIABLES = {
    "AZURE_ENV_NAME": "d365mcp-test",
    "AZURE_LOCATION": "northeurope",
    "AZURE_PRINCIPAL_ID": ID,
    "AZURE_PRINCIPAL_TYPE": "ServicePrincipal",
    "AZURE_RESOURCE_GROUP": "rg-d365mcp",
    "OPERATOR_CLIENT_ID": ID,
    "D365FO_BASE_URL": "https://x.example",
    "D365FO_AUTH": "client_secret",
    "D365FO_TENANT_ID": ID,
    "D365FO_CLIENT_ID": ID,
    "AUTHENTICATION": "jwt",
    "MCP_CLIENT_ID": ID,
    "MCP_AUDIENCES": "api://tenant/d365mcp",
    "CLIENT_IDS": ID,
    "MCP_OAUTH_FACADE": "true",
    "MCP_OAUTH_CLIENT_ID": ID,
    "MCP_OAUTH_REDIRECT_URIS": "https://claude.ai/callback",
    "MCP_PUBLIC_URL": "https://mcp.contoso.com",
    "MCP_ALLOWED_ORIGINS": "https://inspector.contoso.com",
    "MCP_READ_ONLY": "false",
    "CURSOR_KEY_FROM_VAULT": "true",
    "HOSTING_PLAN": "FlexConsumption",
    "INSTANCE_MEMORY_MB": "4096",
    "MAXIMUM_INSTANCES": "7",
    "ROLLING_UPDATES": "false",
    "ALWAYS_READY_INSTANCES": "2",
    "NETWORKING": "privateData",
    "ALERT_EMAILS": "ops@contoso.com",
}
SECRETS = {"D365FO_CLIENT_SECRET", "MCP_CURSOR_KEY"}

pytestmark = pytest.mark.once
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def jobs(path: Path) -> dict[str, dict]:
    return documents(path)[0]["jobs"]


def steps(path: Path) -> list[dict]:
    return [step for job in jobs(path).values() for step in job.get("steps", ())]


def uses(path: Path) -> list[str]:
    return [step["uses"] for step in (*steps(path), *jobs(path).values()) if "uses" in step]


def scripts(path: Path) -> list[str]:
    return [step["run"] for step in steps(path) if "run" in step]


def test_there_are_workflows() -> None:
    assert {"ci.yml", "deploy.yml"} <= {path.name for path in WORKFLOWS}


@each_workflow
def test_a_workflow_has_github_s_form(path: Path) -> None:
    assert complaints("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path)) == ""


def test_nothing_leaks_or_comes_from_a_moving_tag() -> None:
    """Zizmor knows how workflows are attacked: credentials left behind, templates in scripts, tags that move."""
    found = complaints("zizmor", "--offline", "--no-progress", str(ROOT / ".github"))
    assert found == ""


def test_dependabot_s_file_has_its_form() -> None:
    path = ROOT / ".github" / "dependabot.yml"
    assert complaints("check-jsonschema", "--builtin-schema", "vendor.dependabot", str(path)) == ""


@each_workflow
def test_every_action_is_pinned(path: Path) -> None:
    for action in uses(path):
        assert action.startswith("./") or re.fullmatch("[0-9a-f]{40}", action.partition("@")[2]), action


@each_workflow
def test_rights_are_given_job_by_job_and_only_to_read_or_sign_in(path: Path) -> None:
    assert documents(path)[0]["permissions"] == {}
    for name, job in jobs(path).items():
        allowed = {("contents", "read"), ("id-token", "write"), *MORE_RIGHTS.get(name, ())}
        assert set(job["permissions"].items()) <= allowed, name


@each_workflow
def test_scripts_are_sound(path: Path) -> None:
    for script in scripts(path):
        plain = re.sub(r"\$\{\{.*?\}\}", "value", script)
        assert complaints("shellcheck", "--shell", "bash", "-", given_input=plain) == "", script


@pytest.fixture
def azure(tmp_path: Path, cli: dict[str, str]) -> Azure:
    return Azure(tmp_path / "azure", cli, {})


def script(workflow: str, step: str) -> str:
    [found] = (
        each["run"] for path in WORKFLOWS if path.name == workflow for each in steps(path) if each.get("name") == step
    )
    return found


@pytest.mark.parametrize("plan", ["FlexConsumption", "Consumption"])
@pytest.mark.parametrize(
    ("audience", "header"),
    [("", f"x-functions-key: {KEY}"), ("api://tenant/d365mcp", r"authorization: Bearer ey[\w.]+")],
)
def test_a_deployment_ends_with_asking_the_app_that_was_deployed(
    plan: str, audience: str, header: str, azure: Azure
) -> None:
    """The CLI answers in two shapes: Azure Resource Manager's own for Flex Consumption, a flat one for other plans."""
    azure.remember(groups=["rg-d365mcp"], apps={"func-d365mcp": plan})
    pasted = 'python() { echo "asked: ${SMOKE_HEADER-}, $*"; }\nunzip() { :; }\n' + script("deploy.yml", "Smoke test")
    done = azure.paste(ROOT, pasted, GROUP="rg-d365mcp", APP="func-d365mcp", AUDIENCE=audience)
    assert done.returncode == 0, done.stderr
    asked = rf"asked: {header}, infra/smoke\.py https://func-d365mcp\.azurewebsites\.net\n$"
    assert re.search(asked, done.stdout), done.stdout


def test_what_a_deployment_would_change_is_asked_with_all_its_parameters(azure: Azure) -> None:
    if shutil.which("jq") is None:
        pytest.skip("jq is not on PATH")
    source = (ROOT / "infra" / "main.bicepparam").read_text()
    settings = set(re.findall(r"^  (\w+): readEnv", source, re.MULTILINE))
    assert set(re.findall(r"readEnvironmentVariable\('(\w+)'", source)) == VARIABLES.keys() | settings | SECRETS
    given = VARIABLES | {name: f"a-{name}" for name in settings}
    asking = script("bicep.yml", "What a deployment would change")
    done = azure.paste(ROOT, asking, VARIABLES=json.dumps({**given, "ANOTHER": "one"}))
    assert done.returncode == 0, done.stderr
    asked = azure.known["asked"]
    assert asked.pop("settings") == {name: f"a-{name}" for name in settings}
    as_text = {",".join(value) if isinstance(value, list) else str(value) for value in asked.values()}
    assert {value.lower() for value in VARIABLES.values()} <= {value.lower() for value in as_text}


@each_workflow
def test_a_workflow_runs_once_at_a_time(path: Path) -> None:
    """Two deployments at once would overlap; a newer push makes an older check needless."""
    assert documents(path)[0]["concurrency"]["group"]


def test_what_was_built_and_tested_is_what_is_deployed_and_released() -> None:
    built = next(step for step in steps(ROOT / ".github/workflows/ci.yml") if step.get("name") == "Package")["run"]
    assert 'zip -qr "../dist/d365mcp-$PYTHON.zip"' in built
    deployment = jobs(ROOT / ".github" / "workflows" / "deploy.yml")
    [action] = (step for step in deployment["deploy"]["steps"] if "functions-action" in step.get("uses", ""))
    assert action["with"]["package"] == "dist/d365mcp-python3.13.zip" and action["with"]["remote-build"] is False
    assert not [
        step for job in deployment.values() for step in job.get("steps", ()) if "infra/package" in step.get("run", "")
    ]
    assert deployment["deploy"]["needs"] == deployment["release"]["needs"] == "ci"
    [proof] = (step for step in deployment["release"]["steps"] if "attest" in step.get("uses", ""))
    assert proof["with"]["subject-path"] == "dist/*"
    assert "dist/*" in script("deploy.yml", "Release")


def test_the_release_has_the_bicep_as_one_template(azure: Azure, tmp_path: Path) -> None:
    """For the portal's custom deployment."""
    shutil.copytree(ROOT / "infra", tmp_path / "infra")
    (tmp_path / "dist").mkdir()
    done = azure.paste(tmp_path, script("deploy.yml", "Compile the Bicep"))
    assert done.returncode == 0, done.stderr
    template = json.loads((tmp_path / "dist" / "main.json").read_text())
    assert "d365BaseUrl" in template["parameters"] and "functionAppName" in template["outputs"]


@each_workflow
def test_every_file_that_is_named_exists(path: Path) -> None:
    words = [word.strip("\"')") for script in scripts(path) for word in script.split()]
    named = [word for word in words if re.match(r"(\./)?(infra|tests)/", word)]
    named += [action for action in uses(path) if action.startswith("./")]
    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize(
    "script", ["infra/local/run", "infra/package", "infra/contents", "infra/container/try", "tests/run", ".ci/run"]
)
def test_our_own_scripts_are_sound(script: str) -> None:
    assert complaints("shellcheck", str(ROOT / script)) == ""
