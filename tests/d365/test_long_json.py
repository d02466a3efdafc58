"""A long answer is parsed as a short one is, and others go on meanwhile."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.d365 import responses
from d365mcp.d365.long_json import decoded
from d365mcp.d365.responses import DECODER, parsed
from d365mcp.errors import InvalidAnswer
from tests.d365.test_client import GROUPS, Runner
from tests.simulated import Simulator

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
blanks = st.sampled_from(["", " ", "\n", "\r\n\t"])


@given(st.dictionaries(st.text(), values), blanks, st.sampled_from([(",", ":"), (" ,\n", " : ")]))
def test_an_object_is_the_same_in_pieces(value: dict[str, Any], blank: str, separators: tuple[str, str]) -> None:
    text = blank + json.dumps(value, separators=separators) + blank
    assert decoded(text, DECODER) == DECODER.decode(text) == value


@given(st.dictionaries(st.text(), values, min_size=1), st.data())
def test_what_is_no_object_is_refused_as_it_is_whole(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value)
    place = data.draw(st.integers(0, len(text) - 1))
    broken = text[:place] + data.draw(st.sampled_from(["", ",", "}", "]", '"', "1", ":"])) + text[place + 1 :]
    try:
        expected = DECODER.decode(broken)
    except ValueError:
        with pytest.raises(ValueError):
            decoded(broken, DECODER)
    else:
        if isinstance(expected, dict):
            assert decoded(broken, DECODER) == expected


LONG = {
    "value": [{"dataAreaId": "usmf", "CustomerGroupId": f"{number}", "Text": "x" * 600} for number in range(40_000)]
}


@pytest.mark.parametrize(
    "text",
    ['{"value":[1,]}', '{"value":[1}', '{"value":[]} x', '{"value":[NaN]}', '{"value" [1]}', '{"value":', "[1]x"],
)
def test_a_long_body_that_is_not_json_is_told_as_a_short_one_is(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(responses, "LONG_BYTES", 0)
    with pytest.raises(InvalidAnswer, match="not JSON"):
        parsed(text.encode())


def test_others_go_on_while_a_long_page_is_parsed(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in simulator.identity_environment().items():
        monkeypatch.setenv(name, value)
    simulator.fault("/data/CustomerGroups", status=200, body=LONG)
    run = Runner(simulator.base_url)
    turns = {"parsing": False, "meanwhile": 0}
    original = responses.decoded

    def watched(text: str, decoder: json.JSONDecoder) -> dict[str, Any]:
        turns["parsing"] = True
        try:
            return original(text, decoder)
        finally:
            turns["parsing"] = False

    monkeypatch.setattr(responses, "decoded", watched)

    async def read(client: Any) -> int:
        async def others() -> None:
            while True:
                await asyncio.sleep(0.001)
                turns["meanwhile"] += turns["parsing"]

        waiting = asyncio.create_task(others())
        page = await client.query("CustomerGroups", GROUPS)
        waiting.cancel()
        return len(page.records)

    assert run(read) == 40_000
    assert turns["meanwhile"] >= 5  # a parser that keeps the interpreter lets nobody in
