"""What the page on security says is tested where it says so, and every exception to the linter has its reason."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
THREATS = (ROOT / "infra" / "security.md").read_text().partition("## Threats\n")[2].partition("\n## ")[0]
TESTS = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", THREATS)
SOURCES = [path for folder in ("d365mcp", "infra", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
# What a lint exception looks like, up to its code; the reason stands behind it.
EXCEPTION = re.compile(r"#\s*(?:ruff:\s*)?noqa:\s*S\d+(?P<reason>.*)")

pytestmark = pytest.mark.once


def test_each_threat_names_its_test() -> None:
    rows = [line for line in THREATS.splitlines() if line.startswith("| ") and not line.startswith("| what ")]
    assert len(rows) == len(TESTS) > 30


@pytest.mark.parametrize(("name", "path"), TESTS)
def test_a_test_that_the_threat_model_names_is_there(name: str, path: str) -> None:
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_every_exception_from_the_security_rules_has_its_reason_beside_it() -> None:
    bare = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in SOURCES
        for line in path.read_text().splitlines()
        if (found := EXCEPTION.search(line)) and len(found["reason"].strip(" #-").split()) < 3
    ]
    assert bare == []


def test_the_security_rules_are_on_for_all_that_is_deployed() -> None:
    configuration = (ROOT / ".ruff.toml").read_text()
    assert '"S"' in configuration.partition("select = ")[2].partition("]")[0]
    excepted = configuration.partition("[lint.per-file-ignores]")[2].partition("\n[")[0]
    assert not re.search(r'^"(d365mcp|function_app|\*)', excepted, re.MULTILINE)
