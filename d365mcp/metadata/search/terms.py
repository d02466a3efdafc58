"""Words of names, phrases and questions: how they are split and cut, and which of them are kin."""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from d365mcp.d365.models import VERSION
from d365mcp.metadata.search.synonyms import DATABASE_TABLES, SAME, SHORT, STOP_WORDS

Phrase = tuple[str, ...]  # words in their order

# Capitals begin a word in Latin script; other scripts have none, or know no camel case.
_WORD = re.compile(r"[A-ZÀ-ÖØ-Þ]+(?![a-zß-öø-ÿ])|[A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]+|\d+|[^\W\d_a-zA-ZÀ-ÿ]+")
NAME_LIKE = re.compile(r"\w+")
# Endings under which a word keeps its sense. Neither -er nor -ion is among them: a product is not its production.
_ENDINGS = (("ation", 5), ("ment", 6), ("ate", 4), ("ing", 4), ("ed", 4), ("e", 4))


def name_words(text: str) -> list[str]:
    """Return the words of a name or a label, cut to their stems; version suffixes and empty parts are none."""
    words = (SHORT.get(word, word) for word in (found.lower() for found in _WORD.findall(VERSION.sub("", text))))
    return [stem(word) for word in words if len(word) > 1]


def question_words(text: str) -> list[str]:
    """Return the stems of what a question is about."""
    named = NAME_LIKE.sub(lambda found: DATABASE_TABLES.get(found[0].lower(), VERSION.sub("", found[0])), text)
    words = [found.lower() for found in _WORD.findall(named)]
    return [*map(_written_out, [*filter(_says_something, words)] or words)]


# Phrases have hundreds of thousands of words, but some ten thousand different ones.
@lru_cache(maxsize=20_000)
def said_words(text: str) -> Phrase:
    """Return the words of a phrase, or of a part of it, as all phrases have them."""
    words = filter(_says_something, (found.lower() for found in _WORD.findall(text)))
    return tuple(usual(_written_out(word)) for word in words)


def _says_something(word: str) -> bool:
    return word not in STOP_WORDS and len(word) > 1


def _written_out(word: str) -> str:
    """Return the stem of a word that people said, an abbreviation's of what it stands for."""
    return stem(SHORT.get(word) or word)


# An index has millions of words, but thousands of different ones.
@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Cut a plural's ending, roughly: names and questions are cut alike."""
    for ending, rest in (
        ("ies", "y"),
        ("sses", "ss"),
        ("tuses", "tus"),
        ("nuses", "nus"),
        ("xes", "x"),
        ("ches", "ch"),
        ("s", ""),
    ):
        if word.endswith(ending) and len(word) > len(ending) + 2 and not word.endswith(("ss", "us", "is")):
            return word[: -len(ending)] + rest
    return word


def root(word: str) -> str:
    """Cut a stem to what it shares with its kin: transport for transportation, plan for planned, apply for applied."""
    if word.endswith("ied") and len(word) > len("tried"):
        return f"{word[:-3]}y"
    for ending, shortest in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= shortest:
            rest = word[: -len(ending)]
            doubled = ending in ("ing", "ed") and rest[-1] == rest[-2] and rest[-1] not in "lsz"
            return rest[:-1] if doubled else root(rest)
    return word


@lru_cache(maxsize=20_000)
def usual(word: str) -> str:
    """Return a stem as phrases have it: pay for payment, invoice for billed."""
    return _usual_roots().get(root(word), root(word))


@cache
def usual_words() -> dict[str, str]:
    """Return what else is said for a word of phrases, and that word: stems."""
    listed = read_lines(Path(__file__).with_name("usual_words.txt"))
    return {stem(other): stem(word) for word, others in listed for other in others.split(", ")}


@cache
def _usual_roots() -> dict[str, str]:
    return {root(other): root(word) for other, word in usual_words().items()}


def read_lines(*files: Path) -> Iterator[tuple[str, str]]:
    """Yield what stands before the colon of each line, and what behind it."""
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                first, rest = line.split(": ", 1)
                yield first, rest


MEANINGS = {
    tuple(question_words(said)): tuple(run for meant in meanings if (run := tuple(name_words(meant))))
    for said, meanings in SAME.items()
}
LONGEST = max(len(said) for said in MEANINGS)
