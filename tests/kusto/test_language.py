"""The check itself: a check that never complains would be none."""

import pytest

from tests.kusto.language import problems

pytestmark = pytest.mark.once


def test_mistakes_in_kql_are_found_and_named() -> None:
    found = problems(
        {
            "good": "AppDependencies | summarize percentilew(DurationMs, ItemCount, 95) by Name",
            "column": "AppDependencies | where DurationMS > 1",
            "table": "AppDependency | take 1",
            "arity": "AppDependencies | summarize percentilew(DurationMs, 95)",
            "syntax": "AppDependencies | where | take 1",
            "scope": "dependencies | where TimeGenerated > ago(1h)",
        }
    )
    assert found.pop("good") == []
    assert all(found.values())
    assert "DurationMS" in found["column"][0]
