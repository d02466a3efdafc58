"""The workflows are well formed, harmless where they could leak, and name only what exists."""

import re
from pathlib import Path

import pytest

from tests.dev_host import ROOT
from tests.infra.azure import KEY, Azure
from tests.infra.linters import complaints, documents

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
# A release by its exact number instead of a commit: see .github/zizmor.yml.
BY_RELEASE = {"Azure/functions-action"}

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
        name, _, reference = action.partition("@")
        pinned = re.fullmatch(r"v\d+\.\d+\.\d+" if name in BY_RELEASE else "[0-9a-f]{40}", reference)
        assert action.startswith("./") or pinned, action


@each_workflow
def test_rights_are_given_job_by_job_and_only_to_read_or_sign_in(path: Path) -> None:
    assert documents(path)[0]["permissions"] == {}
    for name, job in jobs(path).items():
        allowed = {("contents", "read"), ("id-token", "write")}
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
    pasted = 'python() { echo "asked: ${SMOKE_HEADER-}, $*"; }\n' + script("deploy.yml", "Smoke test")
    done = azure.paste(ROOT, pasted, GROUP="rg-d365mcp", APP="func-d365mcp", AUDIENCE=audience)
    assert done.returncode == 0, done.stderr
    asked = rf"asked: {header}, infra/smoke\.py https://func-d365mcp\.azurewebsites\.net\n$"
    assert re.search(asked, done.stdout), done.stdout


def test_what_a_deployment_would_change_is_asked_with_parameters_that_compile(azure: Azure) -> None:
    variables = {"AZURE_ENV_NAME": "d365mcp", "AZURE_LOCATION": "westeurope", "D365FO_BASE_URL": "https://x.example"}
    done = azure.paste(ROOT, script("bicep.yml", "What a deployment would change"), **variables)
    assert done.returncode == 0, done.stderr


@each_workflow
def test_every_file_that_is_named_exists(path: Path) -> None:
    words = [word.strip("\"'") for script in scripts(path) for word in script.split()]
    named = [word for word in words if re.match(r"(\./)?(infra|tests)/", word)]
    named += [action for action in uses(path) if action.startswith("./")]
    assert [word for word in named if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("script", ["infra/local/run", "infra/package", "infra/container/try", "tests/run", ".ci/run"])
def test_our_own_scripts_are_sound(script: str) -> None:
    assert complaints("shellcheck", str(ROOT / script)) == ""
