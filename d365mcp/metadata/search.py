"""Ranks data entities by how well they fit a few words. Performs no I/O."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from d365mcp.d365.models import EntitySummary

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
VERSION = re.compile(r"V(\d+)$")


@dataclass(frozen=True)
class Hit:
    """An entity found, how well it fits, and why."""

    summary: EntitySummary
    score: float
    why: str
    label: str = ""
    key: tuple[str, ...] = ()


def search_summaries(words: str, rows: Iterable[EntitySummary]) -> list[Hit]:
    """Return the rows that have any of the words in a name, best first."""
    wanted = [stem(word) for word in split(words)]
    scored = [hit for row in rows if (hit := judge(row, wanted)) is not None]
    return sorted(scored, key=lambda hit: (-hit.score, len(hit.summary.entity_set), hit.summary.entity_set))


def judge(row: EntitySummary, wanted: list[str]) -> Hit | None:
    own = {stem(word) for name in (row.entity_set, row.public_name, row.aot_name) for word in split(name)}
    matched = [word for word in wanted if any(mine.startswith(word) for mine in own)]
    if not matched:
        return None
    coverage = len(matched) / len(wanted)
    precision = len(matched) / max(1, len({stem(word) for word in split(row.entity_set)}))
    version = VERSION.search(row.entity_set)
    bonus = 0.01 * int(version.group(1)) if version else 0.0
    penalty = 0.2 if row.is_read_only else 0.0
    return Hit(row, coverage + 0.5 * precision + bonus - penalty, f"name has {', '.join(matched)}")


def split(text: str) -> list[str]:
    """Return the words of a name or a question, in lower case; version suffixes are none."""
    return [word.lower() for word in WORDS.findall(VERSION.sub("", text))]


def stem(word: str) -> str:
    """Cut a plural's ending, roughly: names and questions are cut alike."""
    for ending, rest in (("ies", "y"), ("ses", "s"), ("s", "")):
        if word.endswith(ending) and len(word) > len(ending) + 2 and not word.endswith("ss"):
            return word[: -len(ending)] + rest
    return word
