"""Schemas as resources: templates for entities and enumerations, and completion of their names. Knows no SDK."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from d365mcp.errors import InvalidArgument
from d365mcp.tools.tool import ToolContext

MAX_COMPLETIONS = 50


@dataclass(frozen=True)
class Template:
    """A kind of resource: which tool's answer it is, and where its names come from."""

    uri: str  # with {name}
    name: str
    description: str
    tool: str
    argument: str
    kind: str

    @property
    def prefix(self) -> str:
        return self.uri.removesuffix("{name}")


TEMPLATES = (
    Template(
        "d365fo://entities/{name}",
        "Data entity",
        "The schema of a data entity, by entity set, public or AOT name.",
        "d365fo_get_entity_schema",
        "entity_name",
        "entity",
    ),
    Template(
        "d365fo://enumerations/{name}",
        "Enumeration",
        "An enumeration's members.",
        "d365fo_get_enumeration_fields",
        "enumeration_name",
        "enumeration",
    ),
)


def resolve(uri: str) -> tuple[str, Mapping[str, Any]]:
    """Return the tool and arguments that answer a resource. Raises InvalidArgument for an unknown address."""
    for template in TEMPLATES:
        name = uri.removeprefix(template.prefix)
        if uri.startswith(template.prefix) and name and "/" not in name:
            return template.tool, {template.argument: name}
    raise InvalidArgument(f"No such resource: there are {', '.join(template.uri for template in TEMPLATES)}.")


def template_of(uri: str) -> Template | None:
    """Return the template with this address, `{name}` and all."""
    return next((each for each in TEMPLATES if each.uri == uri), None)


async def complete(template: Template, typed: str, context: ToolContext) -> list[str]:
    """Return names that go on from what was typed, the likeliest first."""
    if template.kind == "entity":
        result = await context.catalog.search_entities(typed, limit=MAX_COMPLETIONS)
        names = [hit.summary.entity_set for hit in result.hits]
    else:
        names = [found.shown for found in await context.catalog.search_others(typed, "enumeration", MAX_COMPLETIONS)]
    folded = typed.casefold()
    return sorted(names, key=lambda name: not name.casefold().startswith(folded))
