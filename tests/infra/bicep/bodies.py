"""Resource bodies: every property is one Azure knows, of the type Azure asks for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tree_sitter import Node

from tests.infra.bicep.azure_types import resource_types
from tests.infra.bicep.modules import type_of
from tests.infra.bicep.syntax import (
    BicepFile,
    Declaration,
    Problem,
    literal,
    parts,
    properties,
    text,
    walk,
)

# Bicep's own, beside what the type has: https://learn.microsoft.com/azure/azure-resource-manager/bicep/resource-declaration
OF_BICEP = {"parent", "scope", "dependsOn"}
OF_EXISTING = {"name", "parent", "scope"}
LITERALS = {"string": "string", "number": "int", "boolean": "bool"}
SIMPLE = ("string", "int", "bool")
# Graph's types come with the extension, from a registry of their own: not checked here.
UNKNOWN_TO_AZURE = "Microsoft.Graph/"


@dataclass(frozen=True)
class Place:
    """Where in a body we are: the file, the resource type's types, and the path for messages."""

    file: BicepFile
    types: dict[str, Any]
    path: str

    def at(self, name: str) -> "Place":
        return Place(self.file, self.types, f"{self.path}.{name}")

    def problem(self, node: Node, message: str) -> Problem:
        return self.file.problem(node, f"{self.path}{message}")


def body_problems(file: BicepFile) -> Iterator[Problem]:
    """Yield what Azure would refuse of the resources of a file, and what it does not give to those who read them."""
    for each in file.of("resource").values():
        if not each.reference.startswith(UNKNOWN_TO_AZURE):
            yield from resource_problems(file, each)


def resource_problems(file: BicepFile, resource: Declaration) -> Iterator[Problem]:
    name, _, version = resource.reference.partition("@")
    known = resource_types().get(name.lower())
    if known is None:
        yield file.problem(resource.node, f"{name} has no kept type data: add it to fetch_types.py and run that.")
        return
    if version != known["version"]:
        yield file.problem(
            resource.node, f"{name}@{version}: write @{known['version']}, which the kept type data is of."
        )
    place = Place(file, known["types"], name)
    if resource.body and not resource.is_existing:
        yield from object_problems(resource.body, "", place)
        yield from parent_problems(resource, place)
        yield from scope_problems(resource, place, known["scopes"])
    if resource.body and resource.is_existing:
        yield from existing_problems(properties(resource.body), resource, place)
    yield from reading_problems(resource, place)


def existing_problems(given: dict[str, Node], resource: Declaration, place: Place) -> Iterator[Problem]:
    """Of what exists, a name is all there is to say, and where it is."""
    for name in given.keys() - OF_EXISTING:
        yield place.problem(given[name], f" exists, and can be given no {name}; only {', '.join(sorted(OF_EXISTING))}.")
    if "name" not in given:
        yield place.problem(resource.node, ": the property name is missing.")


def parent_problems(resource: Declaration, place: Place) -> Iterator[Problem]:
    given = properties(resource.body) if resource.body else {}
    depth = place.path.count("/") - 1
    if resource.inside or depth == 0 or "parent" in given or "name" not in given:
        return
    if text(given["name"]).count("/") < depth:
        yield place.problem(given["name"], ": a child resource needs its parent: add `parent:`.")


def scope_problems(resource: Declaration, place: Place, scopes: str) -> Iterator[Problem]:
    own = place.file.scope
    elsewhere = {"scope", "parent"} & set(properties(resource.body) if resource.body else {})
    if not (elsewhere or resource.inside or scopes.startswith("All") or own.lower() in scopes.lower()):
        yield place.problem(resource.node, f" is deployed to a {scopes}, not to a {own}: move it, or set targetScope.")


def object_problems(node: Node, type_name: str, place: Place, partial: bool = False) -> Iterator[Problem]:
    """Check an object's properties; one argument of several to union() need not have all that are required."""
    given = properties(node)
    kind = chosen(place.types[type_name], given, partial)
    if isinstance(kind, str):
        yield place.problem(node, kind)
        return
    known = kind["properties"]
    for name, value in given.items():
        if name in known:
            yield from property_problems(value, known[name], place.at(name))
        elif name not in OF_BICEP or type_name:
            yield from unknown_property(value, name, kind, place)
    if not partial and not is_open(node):
        for name in sorted(name for name, rule in known.items() if rule.get("required") and name not in given):
            yield place.problem(node, f": the property {name} is missing.")


def chosen(kind: dict[str, Any], given: dict[str, Node], partial: bool) -> dict[str, Any] | str:
    """Return the one of several types that is meant, what all have where that is not to be seen, or what is wrong."""
    if "by" not in kind:
        return kind
    by, choices = kind["by"], kind["one_of"]
    if by not in given and not partial:
        return f": the property {by} is missing."
    said = literal(given.get(by))
    if said is None:
        return merged(list(choices.values()))
    found: dict[str, Any] | str = choices.get(said, f": {by} {said} is none of {', '.join(sorted(choices))}.")
    return found


def merged(kinds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a type that takes whatever one of several takes."""
    rules: dict[str, Any] = {}
    for name, rule in (pair for kind in kinds for pair in kind["properties"].items()):
        rules[name] = rule if rules.get(name, rule) == rule else {"type": "any"}
    return {"properties": rules}


def is_open(node: Node) -> bool:
    """Return whether an object has properties whose names are computed."""
    pairs = (parts(each) for each in parts(node) if each.type == "object_property")
    return any(each[0].type == "string" and literal(each[0]) is None for each in pairs)


def unknown_property(value: Node, name: str, kind: dict[str, Any], place: Place) -> Iterator[Problem]:
    if "others" in kind:
        yield from value_problems(value, kind["others"], place.at(name))
        return
    alike = [each for each in kind["properties"] if each.lower() == name.lower()]
    mend = f"did you mean {alike[0]}?" if alike else f"it has {', '.join(sorted(kind['properties']))}."
    yield place.problem(value, f" has no property {name}: {mend}")


def property_problems(value: Node, rule: dict[str, Any], place: Place) -> Iterator[Problem]:
    if rule.get("read_only"):
        yield place.problem(value, " is read-only: leave it out.")
    else:
        yield from value_problems(value, rule["type"], place)


def value_problems(node: Node, wanted: str, place: Place, partial: bool = False) -> Iterator[Problem]:
    """Check an expression against a type such as `string`, `SiteConfig`, `NameValuePair[]` or `Allow | Deny | string`."""
    for each, part in meanings(node, place.file, partial):
        yield from one_value(each, wanted, place, part)


def one_value(node: Node, wanted: str, place: Place, partial: bool) -> Iterator[Problem]:
    got = kind_of(node, place.file)
    if got is None or wanted == "any":
        return
    if not fits(got, wanted, place.types):
        yield place.problem(node, f" takes {wanted}, not {got}.")
    elif node.type == "object" and wanted in place.types:
        yield from object_problems(node, wanted, place, partial)
    elif node.type == "array":
        for each in parts(node):
            yield from value_problems(each, wanted.removesuffix("[]"), place)
    elif node.type == "for_statement":
        yield from value_problems(parts(node)[-1], wanted.removesuffix("[]"), place)
    elif node.type == "string":
        yield from text_problems(node, wanted, place)


def fits(got: str, wanted: str, types: dict[str, Any]) -> bool:
    if wanted.endswith("[]"):
        return got == "array"
    if wanted in types:
        return got == "object"
    if wanted in SIMPLE:
        return got == wanted
    return got == "string" if "|" in wanted else True


def text_problems(node: Node, wanted: str, place: Place) -> Iterator[Problem]:
    """Refuse a value Azure does not list, also where the type lets it invent more tomorrow: a misspelling is likelier."""
    said = literal(node)
    values = wanted.split(" | ")
    if said is not None and wanted not in SIMPLE and wanted not in place.types and said not in values:
        yield place.problem(node, f" takes {' or '.join(each for each in values if each != 'string')}, not {said}.")


def kind_of(node: Node, file: BicepFile) -> str | None:
    """Return what an expression is sure to be, None where nothing is sure."""
    if node.type in ("array", "for_statement"):
        return "array"
    if node.type == "object":
        return "object"
    if node.type == "identifier":
        parameter = file.of("parameter").get(text(node))
        stated = type_of(parameter).removesuffix("?") if parameter else ""
        return "array" if stated.endswith("[]") else stated if stated in (*SIMPLE, "array") else None
    return LITERALS.get(node.type)


def meanings(node: Node, file: BicepFile, partial: bool = False) -> Iterator[tuple[Node, bool]]:
    """Yield every expression that may become the value, through variables, conditions, brackets and union()."""
    variable = file.of("variable").get(text(node)) if node.type == "identifier" else None
    if variable and variable.value:
        yield from meanings(variable.value, file, partial)
    elif node.type == "ternary_expression":
        for each in parts(node)[1:]:
            yield from meanings(each, file, partial)
    elif node.type in ("parenthesized_expression", "if_statement"):
        yield from meanings(parts(node)[-1], file, partial)
    elif node.type == "call_expression" and text(parts(node)[0]) in ("union", "concat"):
        for each in parts(parts(node)[1]):
            yield from meanings(each, file, True)
    else:
        yield node, partial


def reading_problems(resource: Declaration, place: Place) -> Iterator[Problem]:
    """Check what is read of a resource elsewhere in its file: `vault.properties.vaultUri`."""
    for node in walk(place.file.root):
        if node.type == "member_expression" and (node.parent is None or node.parent.type != "member_expression"):
            yield from path_problems(node, resource.name, place)


def path_problems(node: Node, name: str, place: Place) -> Iterator[Problem]:
    names: list[Node] = []
    while node.type == "member_expression":
        node, last = parts(node)
        names.insert(0, last)
    if node.type != "identifier" or text(node) != name:
        return
    kind: Any = place.types[""]
    for each in names:
        if kind is None or "properties" not in kind or "others" in kind:
            return
        if text(each) not in kind["properties"]:
            if not text(each).startswith("list"):
                yield from unknown_property(each, text(each), kind, Place(place.file, {}, place.path))
            return
        kind = place.types.get(kind["properties"][text(each)]["type"])
