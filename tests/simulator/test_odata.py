"""What Microsoft's own OData library refuses, F&O refuses; what the library takes, F&O takes but for what is known.

`odata_verdicts.json` holds what Microsoft.OData.Core 7.7 said of filters on six of the shipped entity sets, one per kind:
type of the property, operator, form of the value, and verdict.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.once

VERDICTS = json.loads(Path(__file__).with_name("odata_verdicts.json").read_text(encoding="utf-8"))

# What the library's grammar has and F&O has not, or is not known to have.
BEYOND_FO = re.compile(
    r"""
      \s(in|has)\s | \w\(.*\) | /\$count | \$it | @p | duration' | \{ | NaN | INF | \d-\d-\d\b
    | ^(true|false|null|not\ true)$ | eq\ null\s*$ | ^null\ | -\ 1 | -\(       # conditions without a property, or of a record
    | DataEntities\.\w+'[^']*' | \s[a-z]{2}\s'\w*'$                          # members in order, by number, as bare text
    | ExternalUser\ [gl][te]                                                 # the order of true and false
    """,
    re.VERBOSE,
)


@pytest.mark.parametrize("entity_set", VERDICTS)
def test_what_the_library_refuses_is_refused(fo: httpx.Client, entity_set: str) -> None:
    taken = [text for text in VERDICTS[entity_set]["refused"] if answer(fo, entity_set, text) != 400]
    assert taken == []


@pytest.mark.parametrize("entity_set", VERDICTS)
def test_what_the_library_takes_is_taken_unless_fo_is_known_to_refuse_it(fo: httpx.Client, entity_set: str) -> None:
    answers = {text: answer(fo, entity_set, text) for text in VERDICTS[entity_set].get("taken", [])}
    assert set(answers.values()) <= {200, 400}
    assert [text for text, status in answers.items() if status == 400 and not BEYOND_FO.search(text)] == []


def answer(fo: httpx.Client, entity_set: str, condition: str) -> int:
    return fo.get(f"/data/{entity_set}", params={"$filter": condition, "$top": 1}).status_code
