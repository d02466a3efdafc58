"""The phrases that people say for standard data: how they are written down, and that they are found again."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from d365mcp.d365.models import VERSION
from d365mcp.metadata.search import phrases
from d365mcp.metadata.search.phrases import Phrasebook
from d365mcp.metadata.search.terms import read_lines, said_words, usual_words

pytestmark = pytest.mark.alike

SAID = sorted(Path(phrases.__file__).with_name("said").glob("*.txt"))


def names() -> Iterator[str]:
    for listed, _ in read_lines(*SAID):
        yield from listed.split(", ")


def test_each_entity_has_one_line() -> None:
    assert len(SAID) == 7
    assert [name for name, count in Counter(names()).items() if count > 1] == []


def test_names_are_entities_without_version() -> None:
    assert [
        name for name in names() if not re.fullmatch(r"[A-Z]\w+|[a-z]{3}[A-Z]\w+", name) or VERSION.search(name)
    ] == []


def test_phrases_are_words_people_say() -> None:
    for listed, text in read_lines(*SAID):
        said = text.split("; ")
        assert len({*said}) == len(said), listed
        for phrase in said:
            assert 0 < len(phrase.split()) <= 12, (listed, phrase)
            assert phrase == phrase.strip().lower(), (listed, phrase)
            assert not re.search(r"\d|[?:]", phrase), (listed, phrase)
            assert said_words(phrase), (listed, phrase)


def test_a_usual_word_stands_for_others_alone() -> None:
    """Or what a word means would depend on how often it is looked up."""
    words = usual_words()
    assert not {other for other, word in words.items() if other != word} & {*words.values()}


@pytest.mark.parametrize(
    "forms",
    ["apply applies applied applying", "supply supplies supplied", "plan plans planned planning", "pay paid payment",
     "transport transportation", "approve approved approval", "receive received", "vary varied", "bill billed invoice"],
)  # fmt: skip
def test_the_forms_of_a_word_are_one(forms: str) -> None:
    assert len({said_words(form) for form in forms.split()}) == 1


@pytest.mark.parametrize(
    "known_as",
    [
        pytest.param(["CustCustomerV3Entity"], id="its AOT name"),
        pytest.param(["CustCustomerV9Entity"], id="a version to come"),
        pytest.param(["CustomerV3Entity"], id="a name without the module"),
        pytest.param(["IsvCarEntity", "CustomerV3"], id="its public name"),
    ],
)
def test_an_entity_s_phrases_are_found_by_any_of_its_names(known_as: list[str]) -> None:
    found = Phrasebook().of(known_as)
    assert len(found) > 10
    assert any("buy" in phrase for phrase in found)


def test_an_entity_nobody_knows_has_no_phrases() -> None:
    assert Phrasebook().of(["IsvCarEntity", "IsvCar"]) == []
