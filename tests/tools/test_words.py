"""Hosts with many tools find them by words: a plain search for what people say finds a tool that fits.

Nothing but name, title and description is searched; Qwen Code, Claude and Copilot look there first.
"""

import re

import pytest

from d365mcp.tools import ALL_TOOLS
from d365mcp.tools.tool import Tool

READING = {"search_entities", "query_entities", "query_sql"}
PHRASES: dict[str, set[str]] = {
    "sales orders": READING,
    "open sales orders of a customer": READING,
    "invoice": READING | {"download_document"},
    "vendor invoices": READING,
    "customer balance": READING,
    "ERP finance": {"search_entities"},
    "Dynamics 365 Finance and Operations": {"search_entities"},
    "purchase order": READING | {"download_document"},
    "payments": READING,
    "general ledger entries": READING,
    "inventory on hand": READING,
    "products and prices": READING,
    "total revenue by customer": {"query_sql"},
    "employees of a project": {"search_entities"},
    "bank accounts": {"search_entities"},
    "create a sales order": {"create_entity_record"},
    "change a customer's credit limit": {"update_entity_record"},
    "delete a record": {"delete_entity_record"},
    "change an order with its lines": {"batch"},
    "post a journal": {"call_action", "search_actions"},
    "invoice as PDF": {"download_document"},
    "legal entities": {"get_environment_info"},
    "possible values of a status": {"search_enumerations", "get_enumeration_fields"},
    "slow response times": {"get_server_performance"},
}
LITTLE = frozenset("a an and as by for in its of on the to with".split())  # noqa: SIM905 - a sentence's small words


def words(text: str) -> set[str]:
    """Return a text's words; a plural is its singular."""
    found = re.findall(r"[a-z0-9&]+", text.casefold().replace("'s", ""))
    return {word.removesuffix("s") for word in found} - LITTLE


def hits(phrase: str, tool: Tool) -> int:
    said = words(f"{tool.name.replace('_', ' ')} {tool.title} {tool.description}")
    return len(words(phrase) & said)


@pytest.mark.parametrize(("phrase", "fitting"), PHRASES.items())
def test_a_plain_word_search_finds_a_tool_that_fits(phrase: str, fitting: set[str]) -> None:
    scores = {tool.name.removeprefix("d365fo_"): hits(phrase, tool) for tool in ALL_TOOLS}
    best = {name for name, score in scores.items() if score == max(scores.values()) > 0}
    assert best & fitting, (best, max(scores.values()))
    assert len(best) < 8


@pytest.mark.parametrize(
    "word", ["customer", "vendor", "sales order", "purchase order", "invoice", "payment", "product"]
)
def test_a_word_is_found_as_it_stands_in_singular_and_plural(word: str) -> None:
    descriptions = [tool.description for tool in ALL_TOOLS]
    for form in (word, f"{word}s"):
        assert any(re.search(rf"\b{form}\b", description) for description in descriptions), form


@pytest.mark.parametrize("tool", ALL_TOOLS, ids=lambda tool: tool.name)
def test_a_description_stands_for_itself(tool: Tool) -> None:
    assert tool.description.endswith(".")
    assert len(tool.description) <= 330
