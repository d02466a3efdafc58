"""Every name that is used is declared, and the other way round."""

import re
from collections.abc import Iterator

from tree_sitter import Node

from tests.infra.bicep.syntax import BicepFile, Problem, parts, text, walk

# https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions
FUNCTIONS = set(
    re.findall(
        r"\w+",
        """any array base64 base64ToJson base64ToString bool cidrHost cidrSubnet concat contains dataUri dataUriToString
    dateTimeAdd dateTimeFromEpoch dateTimeToEpoch deployer deployment empty endsWith environment extensionResourceId fail
    filter first flatten format getSecret groupBy guid indexOf int intersection items join json last lastIndexOf length
    loadDirectoryFileInfo loadFileAsBase64 loadJsonContent loadTextContent loadYamlContent managementGroup
    managementGroupResourceId map mapValues max min newGuid nameof objectKeys padLeft parseCidr parseUri buildUri pickZones
    range readEnvironmentVariable reduce reference replace resourceGroup resourceId roleDefinitions shallowMerge skip sort
    split startsWith string subscription subscriptionResourceId substring take tenant tenantResourceId toLower toObject
    toUpper trim union uniqueString uri uriComponent uriComponentToString utcNow listKeys list""",
    )
)
DECORATORS = set(
    re.findall(
        r"\w+",
        """allowed batchSize description discriminator export maxLength maxValue metadata minLength minValue onlyIfNotExists
    retryOn sealed secure waitUntil""",
    )
)
ALONE = {"export", "onlyIfNotExists", "sealed", "secure"}
NAMESPACES = {"az", "sys"}
# What may be declared and left: an output is for others, a resource or module is there to be deployed.
MUST_BE_USED = {"parameter", "variable", "type", "function"}


def name_problems(file: BicepFile) -> Iterator[Problem]:
    """Yield the names nobody declared, those nobody uses, and those declared twice."""
    yield from unknown_decorators(file)
    if file.is_parameters:
        return
    known = {each.name for each in file.declarations if each.kind != "output"}
    functions = FUNCTIONS | set(file.of("function"))
    used: set[str] = set()
    for node, local in uses(file.root, frozenset()):
        name = text(node)
        used.add(name)
        if is_function(node) and name not in functions:
            yield file.problem(node, f"there is no function {name}.")
        elif not is_function(node) and name not in known | local | NAMESPACES:
            yield file.problem(node, f"the name {name} is not declared{close(name, known)}.")
    yield from unused(file, used)
    yield from twice(file)


def unknown_decorators(file: BicepFile) -> Iterator[Problem]:
    for each in file.declarations:
        for name, node in each.decorators.items():
            if name.removeprefix("sys.") not in DECORATORS:
                yield file.problem(node, f"there is no decorator @{name}.")
            elif name not in ALONE and text(node).endswith("()"):
                yield file.problem(node, f"the decorator @{name} needs a value in its brackets.")


def unused(file: BicepFile, used: set[str]) -> Iterator[Problem]:
    for each in file.declarations:
        if (each.kind in MUST_BE_USED or each.is_existing) and each.name not in used:
            yield file.problem(each.node, f"the {each.kind} {each.name} is never used: remove it.")


def twice(file: BicepFile) -> Iterator[Problem]:
    seen: set[tuple[bool, str]] = set()
    for each in file.declarations:
        key = (each.kind == "output", each.name)
        if key in seen:
            yield file.problem(each.node, f"{each.name} is declared twice: rename one.")
        seen.add(key)


def close(name: str, known: set[str]) -> str:
    alike = [each for each in known if each.lower() == name.lower()]
    return f": did you mean {alike[0]}?" if alike else ""


def is_function(node: Node) -> bool:
    parent = node.parent
    return bool(parent and parent.type == "call_expression" and parent.children[0] == node)


def uses(node: Node, local: frozenset[str]) -> Iterator[tuple[Node, frozenset[str]]]:
    """Yield every identifier that stands for a value, with the names that loops and lambdas give there."""
    if node.type == "identifier":
        yield node, local
        return
    if node.type == "arguments":
        for each in parts(node):
            yield from uses(each, local | set(given_by_lambda(each)))
        return
    if node.type == "for_statement":
        local |= set(loop_names(node))
    if node.type == "user_defined_function":
        local |= {text(parts(each)[0]) for each in walk(node) if each.type == "parameter"}
    for each in valued(node):
        yield from uses(each, local)


def valued(node: Node) -> list[Node]:
    """Return the parts of a node in which a name stands for a value."""
    inner = parts(node)
    match node.type:
        case "object_property":
            return inner if len(inner) == 1 or inner[0].type == "string" else inner[1:]
        case "member_expression" | "resource_expression":
            return inner[:1]
        case "lambda_expression":
            return inner[-1:]
        case "for_statement":
            return inner[1:]
        case "decorator" | "target_scope_assignment" | "property_identifier":
            return []
        case kind if kind.endswith("_declaration") or kind == "user_defined_function":
            return inner[1:]
    return inner


def loop_names(loop: Node) -> list[str]:
    """Return what a loop calls its item, and perhaps its index."""
    given = parts(loop)[0]
    return [text(each) for each in parts(given) or [given]]


def given_by_lambda(argument: Node) -> list[str]:
    """Return the parameters of a lambda.

    The grammar reads `r => r.name` as `(r => r).name`: the lambda is the leftmost part of what is really its body.
    """
    found = lambda_of(argument)
    if found is None:
        return []
    given = parts(found)[0]
    return [text(each) for each in (parts(given) if given.type == "parenthesized_expression" else [given])]


def lambda_of(argument: Node) -> Node | None:
    node: Node | None = argument
    while node is not None and node.type != "lambda_expression":
        node = next(iter(parts(node)), None)
    return node
