"""The Bicep files of infra/: nothing in them that Azure would refuse, and nothing that must never come back."""

import pytest

from tests.dev_host import ROOT
from tests.infra.bicep.check import bicep_files, problems

pytestmark = pytest.mark.once

INFRA = ROOT / "infra"


def test_nothing_is_wrong_with_the_files() -> None:
    assert [str(each) for each in problems(bicep_files(INFRA))] == []
