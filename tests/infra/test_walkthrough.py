"""The guide's shell blocks work as they are pasted: in order, in an archive of the repository as in a fresh clone.

`az` is azure-cli's own code; Azure itself and `func` are stood in for. What the guide publishes is served by the dev host,
and its smoke test asks that.
"""

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cached import python_environment
from tests.dev_host import ROOT
from tests.infra.azure import Azure
from tests.infra.bicep.finding import bring_graph
from tests.infra.programs import python
from tests.simulated import Simulator

pytestmark = pytest.mark.once

BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# What is not stood in for and needs more than this machine: an engine for containers, a cluster.
ELSEWHERE = re.compile(r"\b(docker|kubectl)\b|infra/container/try")


def blocks(page: str) -> list[str]:
    """Return the shell blocks of a page of the documentation."""
    found = BLOCK.findall((ROOT / page).read_text())
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def archive(folder: Path) -> Path:
    """Lay all that is kept of the repository into a folder, as it is now. What Git knows of it lies beside that."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    bring_graph(folder / "infra")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=n", "-c", "user.email=e@x.example", "commit", "--quiet", "--message", "All")
    (folder / ".git").rename(folder.with_suffix(".git"))
    return folder


def clone(folder: Path) -> Path:
    """Let an archive be a clone."""
    folder.with_suffix(".git").rename(folder / ".git")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def azure(tmp_path: Path, simulator: Simulator, cli: dict[str, str]) -> Iterator[Azure]:
    app = {"D365FO_BASE_URL": simulator.base_url, **simulator.identity_environment()}
    made = Azure(tmp_path / "azure", cli, app)
    made.path = os.pathsep.join(str(Path(python(version)).parent) for version in ("3.12", "3.13"))
    [beside] = python_environment("httptools==0.9.0", python=python("3.13")).parent.parent.glob("lib/*/*")
    made.remember(beside=str(beside))
    yield made
    made.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)  # half a gigabyte of packages


def test_the_guide_works_as_it_is_pasted(azure: Azure, tmp_path: Path) -> None:
    if missing := [name for name in ("openssl", "zip") if shutil.which(name) is None]:
        pytest.skip(f"there is no {' and no '.join(missing)} on PATH")
    here = archive(tmp_path / "checkout")
    done = azure.paste(here, *(block for block in blocks("infra/README.md") if not ELSEWHERE.search(block)))
    assert done.returncode == 0, done.stderr
    assert "MCP works" in done.stdout
    assert {"deployment sub create", "functionapp keys list", "storage blob upload"} <= set(azure.known["called"])
    secrets = azure.known["secrets"]
    assert re.fullmatch("[0-9a-f]{64},an-older-key", secrets["cursor-key"]["value"])
    assert secrets["d365fo-client-secret"]["value"] == "a-new-secret"
    assert all(secrets[name]["attributes"]["exp"] for name in ("cursor-key", "d365fo-client-secret"))
    with zipfile.ZipFile(azure.folder / "uploaded.zip") as package:
        names = package.namelist()
        bytecode = [name for name in names if name.endswith(".cpython-312.pyc")]
        assert {"host.json", "function_app.py"} <= set(names)
        assert len(bytecode) > 2000 and {package.read(name)[4] for name in bytecode} == {1}, "it looks at times"
    assert git(clone(here), "status", "--porcelain") == ""
    assert azure.packed(here / "package") >= azure.packed(here) - {"requirements.txt"}, "leftovers would be published"


def test_the_readme_s_way_works_after_its_first_lines(azure: Azure, tmp_path: Path) -> None:
    """A shell in which the server was tried on a laptop still says how to sign in there."""
    here = archive(tmp_path / "checkout")
    [block] = (each for each in blocks("README.md") if "functionapp publish" in each)
    done = azure.paste(here, block, D365FO_AUTH="azure_cli")
    assert done.returncode == 0, done.stderr
    assert {"host.json", "function_app.py", "d365mcp"} <= azure.published()


@pytest.mark.parametrize("page", ["README.md", "infra/README.md"])
def test_a_block_has_nothing_that_a_shell_takes_amiss(page: str) -> None:
    """A Mac's zsh takes a # for an argument; a word in capitals would be for the reader to fill in."""
    for block in blocks(page):
        assert not re.search(r"(^|\s)#", block), block
        assert not re.search(r"(?<![$\w/])(NAME|GROUP|APP|TOKEN|PACKAGE_URL)\b(?!=)", block), block


def test_a_newcomer_needs_twelve_commands_at_most() -> None:
    """From the sign-in to the first answer to a client: infra/smoke.py is one."""
    guide = (ROOT / "infra" / "README.md").read_text()
    first = guide.partition("## First deployment")[2].partition("\n## ")[0]
    lines = [line.strip() for _, block in BLOCK.findall(first) for line in block.splitlines()]
    commands = lines[lines.index("az login") :]
    assert "infra/smoke.py" in commands[-1] and len(commands) <= 12, commands


def test_few_blocks_cannot_be_tried() -> None:
    assert len([block for block in blocks("infra/README.md") if ELSEWHERE.search(block)]) == 3


def test_no_other_page_of_the_guide_has_commands_that_are_never_pasted() -> None:
    others = [path for path in (ROOT / "infra").glob("*.md") if path.name != "README.md"]
    assert others and [path.name for path in others if blocks(f"infra/{path.name}")] == []
