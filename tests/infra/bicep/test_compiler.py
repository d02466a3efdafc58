"""The real compiler and its linter have nothing to say about the files of infra/."""

import shutil
from pathlib import Path

import pytest

from tests.dev_host import ROOT
from tests.infra.bicep.check import bicep_files
from tests.infra.bicep.compiler import Compiler, NotFoundError, bring_graph, program

pytestmark = pytest.mark.once

INFRA = ROOT / "infra"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(INFRA, tmp_path_factory.mktemp("compiled") / "infra")
    bring_graph(folder)
    return folder


@pytest.mark.parametrize("name", [str(path.relative_to(INFRA)) for path in bicep_files(INFRA)])
def test_a_file_compiles_without_a_warning(name: str, files: Path, compiler: Compiler) -> None:
    assert compiler.complaints(files / name) == []


# the file, what stands there, what is written instead, what the compiler calls it
MISTAKES = [
    ("main.bicepparam", "any(int(", "(int(", "BCP033"),
    ("main.bicepparam", "param location", "param place", "BCP259"),
    ("resources.bicep", "network!.outputs.id", "network.outputs.id", "BCP318"),
    ("app/storage.bicep", "allowSharedKeyAccess", "allowSharedKeysAccess", "BCP089"),
    ("entra/entra.bicep", "appRoleAssignmentRequired", "appRoleAssignmentsRequired", "BCP089"),
    ("main.bicep", "@secure()\nparam cursorKey", "param cursorSecret string = ''\nparam cursorKey", "no-unused-params"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "code"), MISTAKES, ids=str)
def test_a_mistake_is_found(name: str, right: str, wrong: str, code: str, files: Path, compiler: Compiler) -> None:
    path = files / name
    source = path.read_text()
    assert right in source
    try:
        path.write_text(source.replace(right, wrong, 1))
        assert any(code in each for each in compiler.complaints(path))
    finally:
        path.write_text(source)


def test_the_compiler_is_looked_for_where_people_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(path: Path) -> str:
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("BICEP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "on-path"))
    with pytest.raises(NotFoundError, match="az bicep install"):
        program()
    by_az = installed(tmp_path / ".azure" / "bin" / "bicep")
    assert program() == by_az
    on_path = installed(tmp_path / "on-path" / "bicep")
    assert program() == on_path
    monkeypatch.setenv("BICEP", installed(tmp_path / "named" / "bicep"))
    assert program() == str(tmp_path / "named" / "bicep")


@pytest.mark.parametrize("script", ["#!/bin/sh\necho 'no ICU here' >&2\nexit 1\n", "#!/nowhere/sh\n"])
def test_a_compiler_that_does_not_start_is_named(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bicep"
    broken.write_text(script)
    broken.chmod(0o755)
    monkeypatch.setenv("BICEP", str(broken))
    with pytest.raises(NotFoundError, match=f"{broken} does not start"):
        program()
