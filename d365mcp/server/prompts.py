"""The four jobs users start with, as prompts. Knows no SDK."""

from collections.abc import Mapping
from typing import NamedTuple

from d365mcp.errors import InvalidArgument
from d365mcp.server.auth.access import Access


class Prompt(NamedTuple):
    """A prompt: its text with its arguments in braces. None is required: of the first, the text asks the person."""

    name: str
    title: str
    description: str
    arguments: Mapping[str, str]
    question: str
    text: str
    toolsets: tuple[str, ...]  # of the tools it names
    changes_data: bool = False

    def is_offered(self, access: Access) -> bool:
        """Return whether a request may use all tools that the prompt names, and write if the prompt leads to that."""
        allowed = all(access.allows(toolset, read_only=True) for toolset in self.toolsets)
        return allowed and (access.may_write or not self.changes_data)

    def filled(self, given: Mapping[str, str]) -> str:
        """Return the text; without its first argument, which hosts leave out of a bare command, it asks for it first.

        Raises InvalidArgument for an argument that is unknown.
        """
        if wrong := [f"no argument {name}" for name in given if name not in self.arguments]:
            raise InvalidArgument(f"{self.name}: {'; '.join(wrong)}. It takes {', '.join(self.arguments)}.")
        said = {name: given.get(name, "").strip() for name in self.arguments}
        first = next(iter(said))
        text = self.text.format(**{name: value or "(not said)" for name, value in said.items()})
        return text if said[first] else f"First ask me: {self.question} Wait for my answer, then go on.\n\n{text}"


PROMPTS = (
    Prompt(
        "explore_environment",
        "Explore an environment",
        "Learn what an environment holds, and which data entities matter for a subject.",
        {"subject": "What you are interested in, e.g. order to cash"},
        "What are you interested in, e.g. order to cash?",
        "Get to know this Finance & Operations environment for the subject: {subject}.\n"
        "1. d365fo_get_environment_info: versions, companies, default company.\n"
        "2. d365fo_search_entities with the subject's words; d365fo_get_entity_schema for the three that fit best.\n"
        "3. A few rows of each (select few properties, top 5), in a company that has data.\n"
        "Then summarise: which entities, their keys and how they join, which companies have data, what is unclear.",
        ("environment", "metadata", "data"),
    ),
    Prompt(
        "answer_business_question",
        "Answer a business question",
        "Answer a question with figures from Finance & Operations, and show how they were found.",
        {"question": "The question", "company": "Legal entity, e.g. usmf"},
        "What do you want to know, and for which company?",
        "Answer from Finance & Operations: {question}\nCompany: {company}.\n"
        "Find the data entities with d365fo_search_entities and check columns with d365fo_get_entity_schema. Use "
        "d365fo_query_sql for totals, rankings and joins, d365fo_query_entities for lists. Filter by company, dates and "
        "status before anything else. Say which entities, filters and company the figures come from, and whether any "
        "answer was partial.",
        ("metadata", "data"),
    ),
    Prompt(
        "prepare_data_change",
        "Prepare a data change",
        "Prepare creating, changing or deleting records, rehearse it, and do it only when it is confirmed.",
        {"change": "What should change", "company": "Legal entity, e.g. usmf"},
        "What should change, and in which company?",
        "Prepare this change in Finance & Operations: {change}\nCompany: {company}.\n"
        "1. Find the entity and read its schema: key, mandatory properties, enumerations.\n"
        "2. Read the records concerned as they are, with their etags.\n"
        "3. Rehearse each write with dry_run true and show the requests.\n"
        "4. Wait for an explicit yes. Then write, with if_match for changes, and read back what was stored.\n"
        "If an outcome is unknown, look for the change before trying again.",
        ("metadata", "data"),
        changes_data=True,
    ),
    Prompt(
        "check_slow_integration",
        "Check a slow integration",
        "Find out why calls through this server are slow or fail.",
        {"window": "How far to look back, e.g. 1h"},
        "How far should I look back, e.g. 1h?",
        "Find out why calls to Finance & Operations are slow or fail. Look back: {window}.\n"
        "1. d365fo_get_server_performance for the window: percentiles by tool, errors, throttles, share of F&O.\n"
        "2. d365fo_get_environment_info: does F&O answer, and how fast?\n"
        "3. d365fo_get_server_config: limits and timeouts.\n"
        "Tell whether the time goes to F&O, to waiting for permits, to throttling or to cold starts, and name the "
        "setting or the query to change.",
        ("performance", "environment"),
    ),
)


def offered(access: Access) -> list[Prompt]:
    """Return the prompts a request may use."""
    return [prompt for prompt in PROMPTS if prompt.is_offered(access)]


def prompt_named(name: str, access: Access) -> Prompt:
    """Return a prompt that is on offer. Raises InvalidArgument naming those that are."""
    by_name = {prompt.name: prompt for prompt in offered(access)}
    if name not in by_name:
        raise InvalidArgument(f"No prompt {name[:80]}. On offer: {', '.join(by_name) or 'none'}.")
    return by_name[name]
