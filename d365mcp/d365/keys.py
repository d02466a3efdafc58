"""Key predicates: which one record a URL names. Performs no I/O."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from d365mcp.d365.filters.literals import property_literal
from d365mcp.d365.filters.names import displayed
from d365mcp.d365.models import DataEntity
from d365mcp.errors import InvalidArgument

# All else is percent-encoded, a slash too: it would end the path segment.
_UNESCAPED = "':"


def key_predicate(entity: DataEntity, key: Mapping[str, Any]) -> str:
    """Return the key as it stands in a URL after the entity set, parentheses and all, percent-encoded once.

    Raises InvalidArgument naming all parts that are missing, unknown or wrong.
    """
    names = ", ".join(prop.name for prop in entity.key)
    if not names:
        raise InvalidArgument(f"{entity.entity_set} has no key: query it with a filter instead.")
    given = {name.casefold(): value for name, value in key.items()}
    problems = list(_misnamed(entity, key))
    literals: dict[str, str] = {}
    for prop in entity.key:
        if prop.name.casefold() not in given:
            problems.append(f"{prop.name} is missing.")
            continue
        try:
            literals[prop.name] = property_literal(given[prop.name.casefold()], prop, entity.enumerations)
        except InvalidArgument as error:
            problems.append(error.message)
    if problems:
        raise InvalidArgument(f"The key of {entity.entity_set} is {names}. " + " ".join(problems))
    return "(" + ",".join(f"{name}={quote(text, safe=_UNESCAPED)}" for name, text in literals.items()) + ")"


def _misnamed(entity: DataEntity, key: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the names in a key."""
    parts = {prop.name.casefold() for prop in entity.key}
    seen: set[str] = set()
    for name in key:
        if name.casefold() not in parts:
            yield f"{displayed(name)} is no part of it."
        if name.casefold() in seen:
            yield f"{displayed(name)} is given twice."
        seen.add(name.casefold())
