"""Fixtures for whatever is deployed."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dev_host import ROOT
from tests.infra.azure import azure_cli
from tests.infra.bicep.compiler import Compiler
from tests.infra.bicep.finding import bring_graph
from tests.infra.bicep.policy import Deployment


@pytest.fixture(scope="session")
def infra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of infra/ that needs no registry."""
    return bring_graph(shutil.copytree(ROOT / "infra", tmp_path_factory.mktemp("compiled") / "infra"))


@pytest.fixture(scope="session")
def deployed(compiler: Compiler, infra: Path) -> Callable[..., Deployment]:
    """Return what a template of infra/ would make of these parameters; the same question is asked once."""
    answers = dict[str, Deployment]()

    def answer(template: str, **given: Any) -> Deployment:
        asked = json.dumps([template, given])
        if asked not in answers:
            answers[asked] = Deployment(compiler.snapshot(infra / template, **given))
        return answers[asked]

    return answer


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory, bicep: str) -> Iterator[dict[str, str]]:
    """azure-cli's own code, running."""
    with azure_cli(tmp_path_factory.mktemp("azure-cli"), bicep) as running:
        yield running
