"""The guide's shell blocks work as they are pasted: in order, in a fresh clone and in an archive of the repository.

Only `az` and `func` are stood in for. What the guide publishes is served by the dev host, and its smoke test asks that.
"""

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dev_host import ROOT
from tests.infra.azure import Azure
from tests.infra.bicep.finding import bring_graph
from tests.simulated import Simulator

pytestmark = pytest.mark.once

BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# What is not stood in for and needs more than this machine: an engine for containers, a cluster.
ELSEWHERE = re.compile(r"\b(docker|kubectl)\b|infra/container/try")


def blocks(page: str) -> list[str]:
    """Return the shell blocks of a page of the documentation."""
    found = BLOCK.findall((ROOT / page).read_text())
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def checkout(folder: Path, is_clone: bool) -> Path:
    """Lay all that is kept of the repository into a folder, as it is now."""
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
    if is_clone:
        git(folder, "init", "--quiet")
        git(folder, "add", "--all")
        git(folder, "-c", "user.name=n", "-c", "user.email=e@x.example", "commit", "--quiet", "--message", "All")
    return folder


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def pythons(*names: str) -> str:
    """Return where these are, as PATH has it: pyenv's count although another one is chosen there."""
    places = list[str]()
    for name in names:
        found = [shutil.which(name), *map(str, (Path.home() / ".pyenv" / "versions").glob(f"*/bin/{name}"))]
        works = [each for each in found if each and subprocess.run([each, "-V"], capture_output=True).returncode == 0]
        if not works:
            pytest.skip(f"{name} is not on PATH")
        places.append(str(Path(works[0]).parent))
    return os.pathsep.join(places)


@pytest.fixture
def azure(tmp_path: Path, simulator: Simulator) -> Iterator[Azure]:
    app = {"D365FO_BASE_URL": simulator.base_url, **simulator.identity_environment()}
    standing_in = Azure(tmp_path / "azure", app)
    yield standing_in
    standing_in.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)  # half a gigabyte of packages


@pytest.mark.parametrize("is_clone", [True, False], ids=["a clone", "an archive"])
def test_the_guide_works_as_it_is_pasted(is_clone: bool, azure: Azure, tmp_path: Path) -> None:
    azure.path = pythons("python3.12", "python3.13")
    if missing := [name for name in ("openssl", "zip") if shutil.which(name) is None]:
        pytest.skip(f"there is no {' and no '.join(missing)} on PATH")
    here = checkout(tmp_path / "checkout", is_clone)
    done = azure.paste(here, *(block for block in blocks("infra/README.md") if not ELSEWHERE.search(block)))
    assert done.returncode == 0, done.stderr
    assert "MCP works" in done.stdout
    assert {"deployment sub create", "functionapp keys list", "storage blob upload"} <= set(azure.known["called"])
    with zipfile.ZipFile(azure.folder / "uploaded.zip") as package:
        names = package.namelist()
    assert {"host.json", "function_app.py"} <= set(names)
    assert any(name.startswith(".python_packages/lib/site-packages/mcp/") for name in names)
    if is_clone:
        assert git(here, "status", "--porcelain") == ""
    assert azure.publish(here / "package") >= azure.publish(here), "what the guide leaves behind would be published"


def test_the_readme_s_way_works_after_its_first_lines(azure: Azure, tmp_path: Path) -> None:
    """Whoever tried the server on a laptop has told that shell how to sign in there."""
    azure.path = pythons("python3.13")
    here = checkout(tmp_path / "checkout", is_clone=False)
    [block] = (each for each in blocks("README.md") if "functionapp publish" in each)
    done = azure.paste(here, block, block, D365FO_AUTH="azure_cli")
    assert done.returncode == 0, done.stderr
    assert {"host.json", "function_app.py", "requirements.txt", "d365mcp"} <= azure.published()


@pytest.mark.parametrize("page", ["README.md", "infra/README.md"])
def test_a_block_has_nothing_that_a_shell_takes_amiss(page: str) -> None:
    """A Mac's zsh takes a # for an argument; a word in capitals would be somebody's to fill in."""
    for block in blocks(page):
        assert not re.search(r"(^|\s)#", block), block
        assert not re.search(r"(?<![$\w/])(NAME|GROUP|APP|TOKEN|PACKAGE_URL)\b(?!=)", block), block


def test_few_blocks_cannot_be_tried() -> None:
    assert len([block for block in blocks("infra/README.md") if ELSEWHERE.search(block)]) == 2
