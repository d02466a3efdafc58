"""Names in requests: put right where the schema knows them, refused where they are none. Performs no I/O."""

import re
from collections.abc import Iterable, Sequence

from d365mcp.d365.models import COMPANY, DataEntity, EntityProperty, NavigationProperty
from d365mcp.errors import InvalidArgument, UnknownName, close_names

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,199}", re.ASCII)
_MOST_LINKS = 15
MOST_SUGGESTIONS = 5
UNWRITABLE = re.compile("[\x00\ud800-\udfff]")


def identifier(text: str, kind: str) -> str:
    """Return a name that may stand in a URL. Raises InvalidArgument for anything but letters, digits, `_` and `.`."""
    if not IDENTIFIER.fullmatch(text):
        raise InvalidArgument(f"{displayed(text)} is no {kind}: names are letters, digits, underscores and dots.")
    return text


def refuse_unwritable(what: str, text: str) -> None:
    """Raise InvalidArgument for text that no URL and no JSON can carry."""
    if UNWRITABLE.search(text):
        raise InvalidArgument(f"{what} contains a NUL or half of a surrogate pair, which cannot be sent.")


def displayed(value: object) -> str:
    """Return a value as messages quote it: short."""
    if isinstance(value, list | tuple | dict):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of this size"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return UNWRITABLE.sub("?", text if len(text) <= 60 else text[:58] + "…")


def property_named(name: str, entity: DataEntity) -> EntityProperty:
    """Return a property by its name in any case. Raises UnknownName with the close ones."""
    if (found := find_property(name, entity)) is None:
        raise _unknown_property(name, entity)
    return found


def find_property(name: str, entity: DataEntity) -> EntityProperty | None:
    refuse_unwritable("A property's name", name)
    found = entity.names_by_folded.get(name.casefold())
    return entity.properties[found] if found else None


def _unknown_property(name: str, entity: DataEntity) -> UnknownName:
    hint = f"d365fo_get_entity_schema lists the properties of {entity.entity_set}."
    if name.casefold() == COMPANY.casefold():
        hint = f"{place_of_company(entity)}: leave dataAreaId out."
    if name == "*":
        hint = "Name those you need. d365fo_get_entity_record with include_empty shows all of one record."
    return UnknownName("property", name, close_names(name, entity.properties), hint=hint)


def place_of_company(entity: DataEntity) -> str:
    """Return what an entity without dataAreaId has instead."""
    columns = entity.company_columns
    place = f"has its company in {columns[0]}" if columns else "is shared by all companies"
    return f"{entity.entity_set} {place}"


def properties_named(names: Iterable[str], entity: DataEntity) -> list[EntityProperty]:
    """Return several properties. Raises UnknownName, or InvalidArgument that reports all the unknown ones."""
    found = {name: find_property(name, entity) for name in names}
    if unknown := [name for name, prop in found.items() if prop is None]:
        raise unknown_properties(unknown, entity)
    return [prop for prop in found.values() if prop]


def unknown_properties(names: Sequence[str], entity: DataEntity) -> InvalidArgument:
    """Return one error for all the names: close ones for the first few, for it takes time to look for them."""
    errors = [_unknown_property(name, entity) for name in names[:MOST_SUGGESTIONS]]
    if len(names) == 1:
        return errors[0]
    more = len(names) - len(errors)
    rest = f" There is none by {more} other names, too." if more else ""
    return InvalidArgument(" ".join(error.message for error in errors) + rest, hint=errors[0].hint)


def navigation_named(name: str, entity: DataEntity) -> NavigationProperty:
    """Return a navigation property by its name in any case. Raises UnknownName with the close ones."""
    refuse_unwritable("A navigation property's name", name)
    links = {link.name.casefold(): link for link in entity.navigation_properties}
    found = links.get(name.casefold())
    if found is None:
        names = [link.name for link in entity.navigation_properties]
        raise UnknownName("navigation property", name, close_names(name, names), hint=_offered_links(names, entity))
    return found


def _offered_links(names: list[str], entity: DataEntity) -> str:
    if not names:
        return f"{entity.entity_set} has none: query the other entity itself, or join them with d365fo_query_sql."
    listed = ", ".join([*names[:_MOST_LINKS], "…"] if len(names) > _MOST_LINKS else names)
    return f"{entity.entity_set} has {listed}."
