"""How well, and how fast, search finds data entities: recall@1, recall@5, MRR, milliseconds.

    python -m tests.benchmarks.search ENTITIES.json.gz [--misses]

ENTITIES is a list of {name, label, module, fields: [[name, type, label, mandatory]]}, as derived from Microsoft's Common
Data Model. Every third question is reported apart. That third is no independent measure: its misses were seen while the
ranking was first tuned, and its patterns were written by the same hand.
"""

import argparse
import gzip
import json
import re
import sqlite3
import statistics
import time
from pathlib import Path
from typing import Any

from d365mcp.d365.models import EntitySummary
from d365mcp.metadata.ranking import EntityFinder
from d365mcp.metadata.search import Document, write_index

QUESTIONS = Path(__file__).parent.parent / "search" / "questions.txt"


def questions() -> list[tuple[str, re.Pattern[str]]]:
    lines = [line for line in QUESTIONS.read_text().splitlines() if line and not line.startswith("#")]
    pairs = [line.split("|", 1) for line in lines]
    return [(asked.strip(), re.compile(f"^(?:{pattern.strip()})$")) for asked, pattern in pairs]


def finder(entities: list[dict[str, Any]], copies: int = 1) -> EntityFinder:
    """Index the entities; `copies` makes the catalog larger, for timing."""
    connection = sqlite3.connect(":memory:")
    rows: list[EntitySummary] = []
    documents: list[Document] = []
    for copy in range(copies):
        for each in entities:
            name = each["name"] if not copy else f"{each['name']}X{copy}"
            public = re.sub(r"Entity$", "", name)
            rows.append(EntitySummary(name, public, public))
            fields = [text for field in each["fields"] for text in (field[0], field[2]) if text]
            documents.append(Document("entity", (name,), each["label"] or "", tuple(fields), name))
    write_index(connection, documents)
    return EntityFinder(connection, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entities", type=Path)
    parser.add_argument("--misses", action="store_true", help="print what was not found first")
    options = parser.parse_args()
    entities = json.loads(gzip.decompress(options.entities.read_bytes()))
    found = finder(entities)
    ranks: dict[str, list[int]] = {"two thirds": [], "every third": []}
    for number, (asked, pattern) in enumerate(questions()):
        hits = [hit.summary.aot_name for hit in found.find(asked)[:20]]
        rank = next((place for place, name in enumerate(hits, 1) if pattern.match(name)), 0)
        ranks["every third" if number % 3 == 2 else "two thirds"].append(rank)
        if options.misses and rank != 1:
            print(f"{rank:3} {asked}: {hits[:4]}")
    for name, places in ranks.items():
        total = len(places)
        first, five = sum(rank == 1 for rank in places) / total, sum(0 < rank <= 5 for rank in places) / total
        mrr = sum(1 / rank for rank in places if rank) / total
        print(f"{name}: {total} questions, recall@1 {first:.3f}, recall@5 {five:.3f}, MRR {mrr:.3f}")
    large = finder(entities, copies=2)
    times = []
    for asked, _ in questions():
        began = time.perf_counter()
        large.find(asked)
        times.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(times, n=20)
    print(f"{len(large.rows)} entities: p50 {cuts[9]:.2f} ms, p95 {cuts[18]:.2f} ms")


if __name__ == "__main__":
    main()
