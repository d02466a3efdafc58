"""What a question is about that says a task: to "close a month" is to change a fiscal period. tasks.txt has them."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from d365mcp.metadata.search.synonyms import TASK_WORDS
from d365mcp.metadata.search.terms import Phrase, name_words, question_words, root, stem

Task = tuple[frozenset[str], tuple[Phrase, ...]]  # its words, and what they mean


def task_meanings(words: Sequence[str]) -> list[tuple[Phrase, ...]]:
    """Return for each word of a question what the tasks it stands in mean: those of most words first."""
    usual = _usual(words)
    known = frozenset(usual)
    found: dict[str, dict[Phrase, None]] = {word: {} for word in usual}
    met: set[str] = set()
    tasks = [task for word in found for task in _tasks().get(word, ()) if task[0] <= known]
    for parts, meanings in sorted(tasks, key=lambda task: -len(task[0])):
        if not parts <= met:
            met |= parts
            for word in parts:
                found[word] |= dict.fromkeys(meanings)
    return [tuple(found[word]) for word in usual]


@cache
def task_words() -> frozenset[str]:
    """Return the words of all tasks: they are understood, though no name may have them."""
    said = [word for _, tasks in _listed(_text(), ";") for task in tasks for word in question_words(task)]
    return frozenset([*said, *_same()])


@cache
def _tasks() -> dict[str, list[Task]]:
    """Return the tasks by the first of their words."""
    found: dict[str, list[Task]] = {}
    for meanings, tasks in _listed(_text(), ";"):
        meant = tuple(tuple(name_words(each)) for each in meanings.split(","))
        for task in tasks:
            words = frozenset(_usual(question_words(task)))
            found.setdefault(min(words), []).append((words, meant))
    return found


@cache
def _same() -> dict[str, str]:
    return {stem(other): stem(word) for word, others in _listed(TASK_WORDS, ",") for other in others}


@cache
def _usual_roots() -> dict[str, str]:
    return {root(other): root(word) for other, word in _same().items()}


def _usual(words: Iterable[str]) -> list[str]:
    """Return words as tasks have them: bill for invoice, paid for pay, and without their endings."""
    return [_usual_roots().get(root(word), root(word)) for word in words]


def _text() -> str:
    return Path(__file__).with_name("tasks.txt").read_text(encoding="utf-8")


def _listed(text: str, separator: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what stands before the colon of each line, and the parts behind it."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            first, others = line.split(":")
            yield first, [each.strip() for each in others.split(separator)]
