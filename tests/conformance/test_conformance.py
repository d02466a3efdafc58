"""The official conformance suite passes against our HTTP code, with fixtures in place of our tools."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cached import node_packages
from tests.dev_host import ROOT, DevHost

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
PACKAGES = ("node", "@modelcontextprotocol/conformance")


@dataclass(frozen=True)
class Suite:
    """The suite's command line."""

    modules: Path

    @property
    def package(self) -> Path:
        return self.modules / "@modelcontextprotocol" / "conformance"

    def run(self, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.modules / "node" / "bin" / "node", self.package / "dist" / "index.js", "server", "--url", url]
        return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)

    def required(self, revision: str) -> set[str]:
        """The scenarios a protocol revision requires of a server."""
        requirements = (self.package / "requirements" / f"{revision}.yaml").read_text()
        section = re.search(r"^server:\n((?:  - .*\n)+)", requirements, re.MULTILINE)
        assert section is not None
        return set(re.findall(r"- (\S+)", section[1]))


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(node_packages(*PACKAGES))


@pytest.fixture(scope="module")
def fixtures_url(suite: Suite) -> Iterator[str]:
    with DevHost(HERE / "app") as host:
        yield f"{host.base_url}/mcp"


# Not required yet, since the suite's own server does not pass them.
PENDING = {"http-header-validation", "http-custom-header-server-validation", "json-schema-2020-12"}


@pytest.mark.parametrize(
    ("revision", "required", "passing", "more"), [("2026-07-28", 37, 37, PENDING), ("2025-11-25", 30, 26, set())]
)
def test_all_that_a_revision_requires_of_a_stateless_server_passes(
    suite: Suite, fixtures_url: str, tmp_path: Path, revision: str, required: int, passing: int, more: set[str]
) -> None:
    expected_failures = str(HERE / f"expected-failures-{revision}.yml")
    options = ["--requirements", revision, "--expected-failures", expected_failures, "--output-dir", str(tmp_path)]
    done = suite.run(fixtures_url, *options)
    summary = done.stdout[done.stdout.find("=== SUMMARY ===") :]
    assert done.returncode == 0, summary + done.stderr
    scenarios = suite.required(revision)
    passed = set(re.findall(r"^✓ (\S+): ", summary, re.MULTILINE))
    assert (len(scenarios), len(scenarios & passed)) == (required, passing), summary
    assert more <= passed, summary


@pytest.fixture(scope="module")
def own_url(suite: Suite) -> Iterator[str]:
    """The server itself, over an F&O that no scenario reaches."""
    with DevHost(ROOT, environ={"D365FO_BASE_URL": "http://localhost:9", "MCP_AUTH": "none"}) as host:
        yield f"{host.base_url}/mcp"


@pytest.mark.parametrize(
    ("revision", "scenario"),
    [
        ("2026-07-28", "tools-list"),
        ("2026-07-28", "prompts-list"),
        ("2026-07-28", "resources-list"),
        ("2026-07-28", "caching"),
        ("2025-11-25", "prompts-list"),
        ("2025-11-25", "resources-list"),
        ("2026-07-28", "http-header-validation"),
        ("2026-07-28", "input-required-result-unsupported-methods"),
        ("2026-07-28", "dns-rebinding-protection"),
        ("2025-11-25", "dns-rebinding-protection"),
        *((revision, name) for revision in ("2025-11-25", "2025-06-18") for name in ("server-initialize", "ping")),
        *((revision, "tools-list") for revision in ("2025-11-25", "2025-06-18")),
    ],
)
def test_the_server_itself_passes_what_needs_no_fixture(
    suite: Suite, own_url: str, tmp_path: Path, revision: str, scenario: str
) -> None:
    done = suite.run(own_url, "--scenario", scenario, "--spec-version", revision, "--output-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Passed: ([1-9]\d*)/\1, 0 failed, 0 warnings", done.stdout), done.stdout
