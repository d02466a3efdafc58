"""What Microsoft's own OData library refuses, F&O refuses; what the library takes, F&O takes but for what is known.

`odata_verdicts.json` holds what Microsoft.OData.Core 7.7 said of filters on six of the shipped entity sets, of other URLs,
and of bodies of creates: one per kind. `test_judged.py` asks the library itself, where it is found.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.once

VERDICTS = json.loads(Path(__file__).with_name("odata_verdicts.json").read_text(encoding="utf-8"))
FILTERS, URLS, BODIES = VERDICTS["filters"], VERDICTS["urls"], VERDICTS["bodies"]

# What the library's grammar of filters has and F&O has not, or is not known to have.
BEYOND_FO = re.compile(
    r"""
      \s(in|has)\s | \w\(.*\) | /\$count | \$it | @p | duration' | \{ | NaN | INF | \d-\d-\d\b
    | ^(true|false|null|not\ true)$ | eq\ null\s*$ | ^null\ | -\ 1 | -\(  # conditions without a property, or of a record
    | DataEntities\.\w+'[^']*' | \s[a-z]{2}\s'\w*'$                       # members in order, by number, as bare text
    | ExternalUser\ [gl][te]                                              # the order of true and false
    """,
    re.VERBOSE,
)


@pytest.mark.parametrize("entity_set", FILTERS)
def test_filters_that_the_library_refuses_are_refused(fo: httpx.Client, entity_set: str) -> None:
    assert [text for text in FILTERS[entity_set]["refused"] if filtered(fo, entity_set, text) != 400] == []


@pytest.mark.parametrize("entity_set", FILTERS)
def test_filters_that_the_library_takes_are_taken_unless_fo_is_known_to_refuse_them(
    fo: httpx.Client, entity_set: str
) -> None:
    answers = {text: filtered(fo, entity_set, text) for text in FILTERS[entity_set].get("taken", [])}
    assert set(answers.values()) <= {200, 400}
    assert [text for text, status in answers.items() if status == 400 and not BEYOND_FO.search(text)] == []


def filtered(fo: httpx.Client, entity_set: str, condition: str) -> int:
    return fo.get(f"/data/{entity_set}", params={"$filter": condition, "$top": 1}).status_code


@pytest.mark.parametrize("url", URLS["refused"])
def test_a_url_that_the_library_refuses_is_refused(fo: httpx.Client, url: str) -> None:
    is_segment = "?" not in url and not url.endswith(")")  # an unknown one is not found; a key is refused as it is read
    assert fo.get(f"/data/{url}").status_code in ((400, 404) if is_segment else (400,))


@pytest.mark.parametrize("url", URLS["taken"])
def test_a_url_that_the_library_takes_is_taken(fo: httpx.Client, url: str) -> None:
    assert fo.get(f"/data/{url}").status_code in (200, 404)


@pytest.mark.parametrize(("entity_set", "body"), BODIES["refused"])
def test_a_body_that_the_library_refuses_is_refused(fo: httpx.Client, entity_set: str, body: str) -> None:
    reply = fo.post(f"/data/{entity_set}", content=body)
    assert (reply.status_code, "Infolog" in reply.text) == (400, False), reply.text


@pytest.mark.parametrize(("entity_set", "body"), BODIES["taken"])
def test_a_body_that_the_library_takes_gets_as_far_as_the_business_logic(
    fo: httpx.Client, entity_set: str, body: str
) -> None:
    reply = fo.post(f"/data/{entity_set}", content=body)
    beyond_fo = '"true"' in body or "12345678901234567890" in body
    assert reply.status_code == 201 or "Infolog" in reply.text or beyond_fo, reply.text
