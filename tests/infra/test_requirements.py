"""The lock pins and hashes what requirements.txt asks for."""

import re

import pytest

from tests.dev_host import ROOT

PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
LOCK = (ROOT / "infra" / "requirements.lock").read_text()

pytestmark = pytest.mark.once


def pins(text: str) -> set[tuple[str, str]]:
    return {(name.lower(), version) for name, version in PIN.findall(text)}


def test_the_lock_holds_every_pin() -> None:
    wanted = pins((ROOT / "requirements.txt").read_text())
    assert wanted and wanted <= pins(LOCK), "make infra/requirements.lock anew: its first lines say how"


def test_everything_locked_has_a_hash() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.partition("-o infra/requirements.lock\n")[2])
    assert len(blocks) > len(pins((ROOT / "requirements.txt").read_text()))
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
