"""How well, and how fast, search finds data entities: recall@1, recall@5, MRR, tokens of an answer, milliseconds.

    python -m tests.benchmarks.search ENTITIES.json.gz [--misses]

ENTITIES is a list of {name, label, module, fields: [[name, type, label, mandatory]]}, as derived from Microsoft's Common
Data Model. Misses of `tuned`, `tasks`, `trade`, `rounds` and `strangers` may shape the ranking. Misses of `held`, `tasks_held`,
`trade_held` and `strangers_held` nobody looks at, so they show how the ranking fares with questions it never saw.

- `tasks` are business tasks, written before the ranking that answers them. Every other one is held out.
- `trade` are more of them in everyday words, from all modules, written before anybody saw how they are answered. A half
  drawn at random is held out.
- `rounds` are seven times about a hundred tasks. Each was written before its answers were seen. Who wrote `trade` and
  `rounds` also wrote some of the phrases, so these two flatter the ranking a little.
- `strangers` are four times about a hundred tasks. Who wrote them, and who reviewed the answers, had seen neither the search,
  its phrases nor any other question. Nine in ten phrases are by others who had seen no question at all. A half drawn at
  random is held out.

Tokens are characters of compact JSON divided by four.
"""

import argparse
import gzip
import json
import re
import sqlite3
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from d365mcp.d365.models import EntitySummary
from d365mcp.metadata.search.entities import EntityFinder, Hit
from d365mcp.metadata.search.index import SearchDocument, write_index
from d365mcp.metadata.search.phrases import Phrasebook
from d365mcp.metadata.shared_connection import SharedConnection
from d365mcp.tools.entities import described_hit
from d365mcp.tools.results import compact

QUESTIONS = Path(__file__).parent.parent / "search" / "questions.json"
SHAPING = ("tuned", "tasks", "trade", "rounds", "strangers")
SHOWN = 10  # hits of an answer, where the caller says nothing else


def questions() -> dict[str, dict[str, list[str]]]:
    """Return, by set, the questions with the AOT names of the data entities that answer them."""
    read: dict[str, dict[str, list[str]]] = json.loads(QUESTIONS.read_text())
    return read


def finder(entities: list[dict[str, Any]], copies: int = 1) -> EntityFinder:
    """Index the entities; `copies` makes the catalog larger, for timing."""
    connection = sqlite3.connect(":memory:")
    phrasebook = Phrasebook()
    rows: list[EntitySummary] = []
    documents: list[SearchDocument] = []
    for copy in range(copies):
        for each in entities:
            name = each["name"] if not copy else f"{each['name']}X{copy}"
            public = re.sub(r"Entity$", "", name)
            rows.append(EntitySummary(name, public, public))
            fields = [text for field in each["fields"] for text in (field[0], field[2]) if text]
            label, phrases = each["label"] or "", phrasebook.of([each["name"]])
            documents.append(SearchDocument("entity", (name,), label, tuple(fields), name, phrases=phrases))
    write_index(connection, documents)
    return EntityFinder(SharedConnection(connection), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entities", type=Path)
    parser.add_argument("--misses", action="store_true", help="print what was not found first")
    options = parser.parse_args()
    entities = json.loads(gzip.decompress(options.entities.read_bytes()))
    found = finder(entities)
    for name, asked in questions().items():
        ranks = [rank(found, question, answers) for question, answers in asked.items()]
        print(f"{name}: {len(ranks)} questions, {measured(ranks)}")
        if options.misses and name in SHAPING:
            print_misses(
                found, {question: asked[question] for question, place in zip(asked, ranks, strict=True) if place != 1}
            )
    cuts = statistics.quantiles(times(large := finder(entities, copies=2)), n=20)
    print(f"tokens of an answer: p50 {statistics.median(tokens(found, entities)):.0f}")
    print(f"{len(large.rows)} entities: p50 {cuts[9]:.2f} ms, p95 {cuts[18]:.2f} ms")


def rank(found: EntityFinder, question: str, answers: list[str]) -> int:
    """Return the place of the first right answer, 0 for none."""
    names = [hit.summary.aot_name for hit in found.find(question).hits]
    return next((place for place, name in enumerate(names, 1) if name in answers), 0)


def measured(ranks: list[int]) -> str:
    first, five = (sum(0 < rank <= limit for rank in ranks) / len(ranks) for limit in (1, 5))
    mrr = sum(1 / rank for rank in ranks if rank) / len(ranks)
    return f"recall@1 {first:.3f}, recall@5 {five:.3f}, MRR {mrr:.3f}"


def print_misses(found: EntityFinder, missed: dict[str, list[str]]) -> None:
    for question, answers in missed.items():
        names = [hit.summary.aot_name for hit in found.find(question).hits[:4]]
        print(f"{rank(found, question, answers):5} {question}: {' '.join(names)}, not {answers[0]}")


def tokens(found: EntityFinder, entities: list[dict[str, Any]]) -> list[float]:
    """Return what each answer costs, with a key of two columns and a category, as most entities have."""
    known = {
        each["name"]: (each["label"] or "", ("dataAreaId", *(field[0] for field in each["fields"][:1])))
        for each in entities
    }
    costs = []
    for question in (question for asked in questions().values() for question in asked):
        hits = found.find(question).hits[:SHOWN]
        rows = [described_hit(with_details(hit, *known[hit.summary.aot_name])) for hit in hits]
        costs.append(len(compact({"entities": rows})) / 4)
    return costs


def with_details(hit: Hit, label: str, key: tuple[str, ...]) -> Hit:
    return replace(hit, label=label, key=key, summary=replace(hit.summary, category="Master"))


def times(found: EntityFinder) -> list[float]:
    """Return the milliseconds that each question takes."""
    spent = []
    for question in (question for asked in questions().values() for question in asked):
        began = time.perf_counter()
        found.find(question)
        spent.append((time.perf_counter() - began) * 1000)
    return spent


if __name__ == "__main__":
    main()
