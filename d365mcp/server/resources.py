"""The guide and the schemas as resources, and completion of names. Knows no SDK."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d365mcp.errors import TOOL_NAME, InvalidArgument
from d365mcp.tools.tool import ToolContext

MAX_COMPLETIONS = 50


@dataclass(frozen=True)
class Resource:
    """A resource that is listed by its own address."""

    uri: str
    name: str
    title: str
    mime_type: str = "application/json"


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


GUIDE = Resource("d365fo://guide", "guide", "How to use this server", "text/markdown")
ENTITIES = Template(
    "d365fo://entities/{name}",
    "Data entity",
    "The schema of a data entity, by entity set, public or AOT name.",
    "d365fo_get_entity_schema",
    "entity_name",
    "entity",
)
ENUMERATIONS = Template(
    "d365fo://enumerations/{name}",
    "Enumeration",
    "An enumeration's members.",
    "d365fo_get_enumeration_fields",
    "enumeration_name",
    "enumeration",
)
TEMPLATES = (ENTITIES, ENUMERATIONS)

# What most questions are about, listed by hand: who may search finds the rest.
MOST_USED = {
    "CustomersV3": "Customers",
    "VendorsV2": "Vendors",
    "ReleasedProductsV2": "Released products",
    "SalesOrderHeadersV2": "Sales orders",
    "SalesOrderLinesV2": "Sales order lines",
    "PurchaseOrderHeadersV2": "Purchase orders",
    "PurchaseOrderLinesV2": "Purchase order lines",
    "FreeTextInvoiceHeaders": "Free text invoices",
    "CustomerPaymentJournalLines": "Customer payments",
    "VendorPaymentJournalLines": "Vendor payments",
    "GeneralJournalAccountEntries": "General ledger entries",
    "MainAccounts": "Main accounts",
    "WarehousesOnHandV2": "Inventory on hand",
    "LegalEntities": "Companies (legal entities)",
}
SCHEMAS = tuple(Resource(ENTITIES.prefix + name, name, title) for name, title in MOST_USED.items())


def listed(*, metadata: bool) -> tuple[Resource, ...]:
    """Return the resources to list; the schemas for those who may read metadata."""
    return (GUIDE, *SCHEMAS) if metadata else (GUIDE,)


def guide(hidden: Set[str]) -> str:
    """Return the guide's text without the lines that name a tool which is not on offer."""
    lines = Path(__file__).with_name("guide.md").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if hidden.isdisjoint(TOOL_NAME.findall(line)))


def resolve(uri: str, *, metadata: bool) -> tuple[str, Mapping[str, Any]]:
    """Return the tool and arguments that answer a resource. Raises InvalidArgument naming those there are."""
    for template in TEMPLATES:
        name = uri.removeprefix(template.prefix)
        if uri.startswith(template.prefix) and name and "/" not in name:
            return template.tool, {template.argument: name}
    known = [GUIDE.uri, *(template.uri for template in TEMPLATES if metadata)]
    raise InvalidArgument(f"No such resource. On offer: {', '.join(known)}.")


def template_of(uri: str) -> Template | None:
    """Return the template with this address, `{name}` and all."""
    return next((each for each in TEMPLATES if each.uri == uri), None)


async def complete(template: Template, typed: str, context: ToolContext) -> list[str]:
    """Return names that go on from what was typed, the likeliest first."""
    if template.kind == "entity":
        result = await context.catalog.search_entities(typed, limit=MAX_COMPLETIONS)
        names = [hit.summary.entity_set for hit in result.hits]
    else:
        found = await context.catalog.search_others(typed, "enumeration", MAX_COMPLETIONS)
        names = [name for name, _ in found.found]
    folded = typed.casefold()
    return sorted(names, key=lambda name: not name.casefold().startswith(folded))
