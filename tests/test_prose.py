"""What people and models read is plain English: short sentences, and none of the words that were retired."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.alike

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "infra").glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]
PAGES += [ROOT / "d365mcp" / "server" / name for name in ("guide.md", "instructions.md")]
MOST_WORDS = 25
# The descriptions of tools are written for a search by words; tests/tools keeps watch over them.
FOR_MODELS = re.compile("<!-- tools -->.*?<!-- /tools -->", re.DOTALL)
CODE_BLOCK = re.compile(r"^( *)```.*?^ *```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile("<!--.*?-->", re.DOTALL)
CODE = re.compile("(`+).+?\\1", re.DOTALL)
LINK = re.compile(r"!?\[([^]]*)\]\([^)]*\)")
BLOCK_START = re.compile(r"^ *(?:#+|[-*]|\d+\.) +", re.MULTILINE)
SENTENCE_END = re.compile(r"(?<!e\.g)[.!?][)*\"”]*(?=\s|$)")
RETIRED = re.compile(
    r"\bof who\b|: who\b|\b(told|mend\w*|shown|noted|moments?|in vain|whom|whoever|somebody|keepers?|judg\w*|canar\w*|such(?! as\b))\b",
    re.IGNORECASE,
)


def blocks(text: str) -> Iterator[str]:
    """Yield what stands for itself: a heading, a paragraph, a list's item, a table's cell. Code counts as one word."""
    text = CODE_BLOCK.sub("\n", COMMENT.sub("\n", FOR_MODELS.sub("\n", text)))
    text = LINK.sub(r"\1", CODE.sub("CODE", text))
    for part in re.split(r"\n\s*\n", BLOCK_START.sub("\n\n", text)):
        if part.lstrip().startswith("|"):
            yield from (cell.strip() for cell in re.split(r"[|\n]", part))
        else:
            yield part.strip()


def sentences(text: str) -> Iterator[str]:
    for block in blocks(text):
        yield from (" ".join(each.split()) for each in SENTENCE_END.split(block))


def words(sentence: str) -> int:
    return len([word for word in sentence.split() if re.search(r"\w", word)])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_sentence_is_short(page: Path) -> None:
    long = [f"{words(each)}: {each}" for each in sentences(page.read_text()) if words(each) > MOST_WORDS]
    assert long == [], "\n".join(long)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_retired_word_is_left(page: Path) -> None:
    found = [each for each in sentences(page.read_text()) if RETIRED.search(each)]
    assert found == [], "\n".join(found)


def test_sentences_are_counted_as_a_reader_counts_them() -> None:
    text = """# A heading
One. Two `with code.` and [a link. In it](https://example.org/a.b)!
- an item
  goes on
1. number 1.0.0 | no cell
```sh
not one word. of this
```
| a cell | another. One |
|---|---|
"""
    assert [each for each in sentences(text) if re.search(r"\w", each)] == [
        "A heading One",
        "Two CODE and a link",
        "In it",
        "an item goes on",
        "number 1.0.0 | no cell",
        "a cell",
        "another",
        "One",
    ]
