"""Words of names and questions: how they are split and cut, and which of them are kin. Pure."""

import re
from functools import lru_cache

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
    kept = [word for word in words if word not in STOP_WORDS and len(word) > 1]
    return [stem(SHORT.get(word) or word) for word in (kept or words)]


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
    """Cut a stem to what it shares with its kin: transport for transportation, plan for planned."""
    for ending, shortest in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= shortest:
            rest = word[: -len(ending)]
            doubled = ending in ("ing", "ed") and rest[-1] == rest[-2] and rest[-1] not in "lsz"
            return rest[:-1] if doubled else root(rest)
    return word


MEANINGS = {
    tuple(question_words(said)): tuple(run for meant in meanings if (run := tuple(name_words(meant))))
    for said, meanings in SAME.items()
}
LONGEST = max(len(said) for said in MEANINGS)
