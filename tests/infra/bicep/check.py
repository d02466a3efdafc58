"""Checks Bicep files without Azure and without the Bicep compiler: syntax, names, modules, parameters, resource bodies, lint.

It finds less than `az bicep build`, which the workflow runs as well, but it runs wherever the tests do.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.infra.bicep.bodies import body_problems
from tests.infra.bicep.lint import lint_problems
from tests.infra.bicep.modules import module_problems, parameter_file_problems
from tests.infra.bicep.names import name_problems
from tests.infra.bicep.start import start_problems
from tests.infra.bicep.syntax import BicepFile, Problem, syntax_problems


def bicep_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.bicep")) + sorted(folder.rglob("*.bicepparam"))


def problems(paths: Iterable[Path]) -> list[Problem]:
    """Return what is wrong with Bicep files, the syntax alone where it is broken."""
    return [problem for path in paths for problem in file_problems(BicepFile(path))]


def file_problems(file: BicepFile) -> Iterator[Problem]:
    broken = list(syntax_problems(file))
    yield from broken
    if not broken:
        yield from name_problems(file)
        yield from module_problems(file)
        yield from start_problems(file)
        yield from lint_problems(file)
        yield from parameter_file_problems(file) if file.is_parameters else body_problems(file)
