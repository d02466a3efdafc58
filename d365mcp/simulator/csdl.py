"""`$metadata`: the types of a world, its actions, and the container that binds them, in the order the world lists things.

https://docs.oasis-open.org/odata/odata/v4.0/odata-v4.0-part3-csdl.html
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from d365mcp.simulator.model import NAMESPACE, Action, ComplexType, Entity, Enumeration, World

_LABEL = "Microsoft.Dynamics.OData.Core.V1.LabelId"
_UNBOUND = "Unbound"


def document(world: World) -> str:
    """Write the CSDL document of a world."""
    return "".join(_document(world))


def _document(world: World) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="utf-8"?>\n'
    yield '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>'
    yield f'<Schema Namespace="{NAMESPACE}" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
    for enumeration in world.enumerations.values():
        yield from _enumeration(enumeration)
    for complex_type in world.complex_types:
        yield from _complex_type(complex_type)
    for entity in world.entities.values():
        yield from _entity(entity)
    # An action of an entity set that the world has no schema of cannot be described.
    actions = [action for action in world.actions if action.binding == _UNBOUND or action.entity_set in world.entities]
    for action in actions:
        yield from _action(action, world)
    yield '<EntityContainer Name="Resources">'
    for entity in world.entities.values():
        yield from _entity_set(entity)
    for action in actions:
        if action.binding == _UNBOUND:
            yield f"<ActionImport Name={quoteattr(action.name)} Action={quoteattr(f'{NAMESPACE}.{action.name}')}/>"
    yield "</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>"


def _enumeration(enumeration: Enumeration) -> Iterator[str]:
    yield f"<EnumType Name={quoteattr(enumeration.name)}>"
    for name, number in enumeration.members.items():
        yield f'<Member Name={quoteattr(name)} Value="{number}">{_label(enumeration.member_labels.get(name))}</Member>'
    yield "</EnumType>"


def _complex_type(complex_type: ComplexType) -> Iterator[str]:
    yield f"<ComplexType Name={quoteattr(complex_type.name)}>"
    for member in complex_type.members:
        yield f"<Property Name={quoteattr(member.name)} Type={quoteattr(member.type)}/>"
    yield "</ComplexType>"


def _entity(entity: Entity) -> Iterator[str]:
    yield f"<EntityType Name={quoteattr(entity.public_name)}>"
    if entity.keys:
        yield f"<Key>{''.join(f'<PropertyRef Name={quoteattr(key)}/>' for key in entity.keys)}</Key>"
    for prop in entity.properties.values():
        nullable = "" if prop.nullable else ' Nullable="false"'
        yield f"<Property Name={quoteattr(prop.name)} Type={quoteattr(prop.edm_type)}{nullable}>{_label(prop.label)}</Property>"
    for item in entity.navigations.values():
        target = f"{NAMESPACE}.{item.related_entity}"
        kind = target if item.single else f"Collection({target})"
        yield f"<NavigationProperty Name={quoteattr(item.name)} Type={quoteattr(kind)}/>"
    yield "</EntityType>"


def _action(action: Action, world: World) -> Iterator[str]:
    bound = "" if action.binding == _UNBOUND else ' IsBound="true"'
    yield f"<Action Name={quoteattr(action.name)}{bound}>"
    if bound:
        owner = world.entities[action.entity_set].type_name
        kind = owner if action.binding == "BoundToEntityInstance" else f"Collection({owner})"
        yield f'<Parameter Name="bindingParameter" Type={quoteattr(kind)} Nullable="false"/>'
    for parameter in action.parameters:
        yield f"<Parameter Name={quoteattr(parameter.name)} Type={quoteattr(parameter.type)}/>"
    if action.returns:
        yield f"<ReturnType Type={quoteattr(action.returns)}/>"
    yield "</Action>"


def _entity_set(entity: Entity) -> Iterator[str]:
    yield f"<EntitySet Name={quoteattr(entity.entity_set)} EntityType={quoteattr(entity.type_name)}"
    yield ">" if entity.navigations else "/>"
    for item in entity.navigations.values():
        yield f"<NavigationPropertyBinding Path={quoteattr(item.name)} Target={quoteattr(item.related_set)}/>"
    if entity.navigations:
        yield "</EntitySet>"


def _label(label: str | None) -> str:
    return f'<Annotation Term="{_LABEL}" String={quoteattr(label)}/>' if label else ""
