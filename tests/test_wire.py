"""JSON is read and written in one way, and bodies are read within bounds."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp import wire
from d365mcp.wire import (
    CONTAINER_VALUES,
    MAX_CALLER_VALUES,
    MAX_DEPTH,
    MAX_VALUES,
    TooDeep,
    TooLarge,
    TooManyValues,
    read_bounded,
    read_caller_json,
    read_json,
    write_json,
)

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
blanks = st.sampled_from(["", " ", "\n", "\r\n\t"])


@pytest.fixture(autouse=True, scope="module")
def long_from_the_first_byte() -> Any:
    """Read every object of these tests in pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "LONG_BYTES", 0)
        yield


@given(st.dictionaries(st.text(), values), blanks, st.sampled_from([(",", ":"), (" ,\n", " : ")]))
def test_an_object_is_the_same_in_pieces(value: dict[str, Any], blank: str, separators: tuple[str, str]) -> None:
    text = blank + json.dumps(value, separators=separators) + blank
    assert read_json(text) == json.loads(text) == value


@given(st.dictionaries(st.text(), values, min_size=1), st.data())
def test_what_is_no_object_is_refused_as_it_is_whole(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value)
    place = data.draw(st.integers(0, len(text) - 1))
    broken = text[:place] + data.draw(st.sampled_from(["", ",", "}", "]", '"', "1", ":"])) + text[place + 1 :]
    try:
        expected = json.loads(broken)
    except ValueError:
        with pytest.raises(ValueError):
            read_json(broken)
    else:
        assert read_json(broken) == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"value":[1,]}',
        '{"value":[1}',
        '{"value":[]} x',
        '{"value":[NaN]}',
        '{"value" [1]}',
        '{"value":',
        "[1]x",
        "NaN",
    ],
)
def test_what_is_not_json_is_refused_whoever_sent_it(text: str) -> None:
    for read in (read_json, read_caller_json):
        with pytest.raises(ValueError):
            read(text)


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', r'"\ud800"', '"\ud800"', '{"a":{"b":1,"b":1}}'])
def test_what_parsers_disagree_on_is_refused_from_callers_alone(text: str) -> None:
    assert read_json(text) == json.loads(text)
    with pytest.raises(ValueError):
        read_caller_json(text)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_the_encodings_of_json_are_read(encoding: str) -> None:
    assert read_json('{"a":"é"}'.encode(encoding)) == {"a": "é"}


@pytest.mark.parametrize("read", [read_json, read_caller_json])
@pytest.mark.parametrize("unit", [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_json_is_read_up_to_the_depth_that_is_allowed(read: Any, unit: tuple[str, str]) -> None:
    opening, closing = unit
    levels = MAX_DEPTH // (len(closing))
    read(opening * levels + '"[[[{{"' + closing * levels)
    for deeper in (levels + 1, 3 * levels, 50 * levels):
        with pytest.raises(TooDeep):
            read(opening * deeper + '"]]"' + closing * deeper)


@pytest.mark.parametrize(("read", "most"), [(read_json, MAX_VALUES), (read_caller_json, MAX_CALLER_VALUES)])
@pytest.mark.parametrize(
    ("value", "weight"), [("1", 1), ('""', 1), ("{}", 1 + CONTAINER_VALUES), ("[]", 1 + CONTAINER_VALUES)]
)
def test_more_values_than_memory_should_hold_are_refused(read: Any, most: int, value: str, weight: int) -> None:
    with pytest.raises(TooManyValues):
        read(f"[{','.join([value] * (most // weight + 2))}]")


@pytest.mark.parametrize("read", [read_json, read_caller_json])
def test_what_stands_in_a_text_is_one_value(read: Any) -> None:
    text = '{"a":[1,"b"]},' * (MAX_CALLER_VALUES // 10)
    assert read(json.dumps([text])) == [text]


@pytest.fixture(params=["with the tools' library", "before it is imported"])
def writer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write with the tools' library, or as the first answers of a process do."""
    if request.param == "before it is imported":
        monkeypatch.delitem(sys.modules, "pydantic_core", raising=False)
    else:
        import pydantic_core  # noqa: F401


@pytest.mark.usefixtures("writer")
def test_what_is_written_is_read_again() -> None:
    @given(values)
    def check(value: Any) -> None:
        written = write_json(value)
        assert json.loads(written) == read_json(written) == read_caller_json(written) == value

    check()


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": [1, None, True], "a": {}}, '{"b":[1,null,true],"a":{}}'),
        ('é/<\x7f\u2028"\\\n\x1f', '"é/<\x7f\u2028\\"\\\\\\n\\u001f"'),
        (2**70, "1180591620717411303424"),
        (0.1, "0.1"),
        ((1, 2), "[1,2]"),
        ({"a\ud800": ["\udfff"]}, '{"a\ufffd":["\ufffd"]}'),
        ("\U0001f600", '"\U0001f600"'),
    ],
)
def test_json_is_written_in_one_way(value: Any, written: str) -> None:
    assert write_json(value) == written.encode()


@pytest.mark.usefixtures("writer")
def test_what_nests_deeper_than_the_tools_library_writes_is_written() -> None:
    value: list[Any] = []
    for _ in range(300):
        value = [value]
    assert write_json(value) == b"[" * 301 + b"]" * 301


def test_a_body_is_read_up_to_its_bound_and_no_further() -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10):
            sent += 1
            yield b"1234"

    assert asyncio.run(read_bounded(chunks(), 40)) == b"1234" * 10
    sent = 0
    with pytest.raises(TooLarge):
        asyncio.run(read_bounded(chunks(), 10))
    assert sent == 3


# Each writes for a reader of its own: people, F&O, a digest that must not change, a file of the host's.
JSON_OF_THEIR_OWN = {"commands", "d365/filters/literals", "settings/host_json", "tools/policy", "wire"}


def test_one_module_reads_and_writes_json() -> None:
    package = Path(wire.__file__).parent
    importers = {
        path.relative_to(package).with_suffix("").as_posix()
        for path in package.rglob("*.py")
        if re.search(r"^\s*(?:import json\b|from (?:json|jiter|pydantic_core) import)", path.read_text(), re.MULTILINE)
    }
    # The database process knows the standard library alone.
    apart = ("commands/", "simulator/", "sql/child/")
    others = {name for name in importers if not f"{name}/".startswith(apart)}
    assert others == JSON_OF_THEIR_OWN - {"commands"}
