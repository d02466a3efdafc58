"""The real compiler and its linter have nothing to say about the files of infra/."""

from pathlib import Path

import pytest

from tests.dev_host import ROOT
from tests.infra.bicep.compiler import Compiler
from tests.infra.bicep.finding import NotFoundError, program

pytestmark = pytest.mark.once

INFRA = ROOT / "infra"
FILES = sorted(str(path.relative_to(INFRA)) for path in INFRA.rglob("*.bicep*") if path.suffix != ".json")
# main.bicep brings along those of app/.
ROOTS = [name for name in FILES if not name.startswith(("app/", "resources"))]


def test_every_file_is_compiled() -> None:
    assert {"main.bicep", "main.bicepparam", "entra/entra.bicep", "entra/entra.bicepparam"} <= set(ROOTS)
    source = "".join((INFRA / name).read_text() for name in FILES)
    assert [name for name in FILES if name not in ROOTS and f"'{name}'" not in source] == []


@pytest.mark.parametrize("name", ROOTS)
def test_a_file_and_all_it_uses_compile_without_a_warning(name: str, infra: Path, compiler: Compiler) -> None:
    assert compiler.complaints(infra / name) == []


# the file, what stands there, what is written instead, what the compiler calls it
MISTAKES = [
    ("main.bicepparam", "any(int(", "(int(", "BCP033"),
    ("main.bicepparam", "'D365FO_BASE_URL'", "'NOBODY_SETS_IT'", "NOBODY_SETS_IT"),
    ("main.bicepparam", "param location", "param place", "BCP259"),
    ("resources.bicep", "network!.outputs.id", "network.outputs.id", "BCP318"),
    ("app/storage.bicep", "allowSharedKeyAccess", "allowSharedKeysAccess", "BCP089"),
    ("entra/entra.bicep", "appRoleAssignmentRequired", "appRoleAssignmentsRequired", "BCP089"),
    ("main.bicep", "@secure()\nparam cursorKey", "param cursorSecret string = ''\nparam cursorKey", "no-unused-params"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "code"), MISTAKES, ids=str)
def test_a_mistake_is_found(name: str, right: str, wrong: str, code: str, infra: Path, compiler: Compiler) -> None:
    path = infra / name
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
