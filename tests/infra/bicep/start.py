"""What must be known before a deployment starts: names, conditions and loops may not wait for what it makes.

https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-core-diagnostics (BCP120, BCP177, BCP178, BCP182)
"""

from collections.abc import Iterator

from tree_sitter import Node

from tests.infra.bicep.bodies import UNKNOWN_TO_AZURE
from tests.infra.bicep.syntax import BicepFile, Declaration, Problem, parts, properties, spine, text, walk

KNOWN_AT_START = ("id", "name", "type", "apiVersion")


def start_problems(file: BicepFile) -> Iterator[Problem]:
    """Yield what is asked for too early."""
    for each in file.of("resource", "module").values():
        for what, node in asked_at_start(each):
            for late in too_late(file, node, frozenset()):
                yield file.problem(
                    node, f"the {what} of {each.name} must be known at the start, and {late} is not: use a parameter."
                )


def asked_at_start(declaration: Declaration) -> Iterator[tuple[str, Node]]:
    for node in spine(declaration.node):
        if node.type == "if_statement":
            yield "condition", parts(node)[0]
        elif node.type == "for_statement":
            yield "loop", parts(node)[1]
        elif node.type == "object" and "name" in properties(node):
            yield "name", properties(node)["name"]


def too_late(file: BicepFile, node: Node, seen: frozenset[str]) -> Iterator[str]:
    """Yield what an expression, or a variable it uses, reads of resources and modules that only their making tells."""
    for each in walk(node):
        if each.type == "member_expression" and is_late(file, each):
            yield text(each)
        variable = file.of("variable").get(text(each)) if each.type == "identifier" else None
        if variable and variable.value and variable.name not in seen:
            yield from too_late(file, variable.value, seen | {variable.name})


def is_late(file: BicepFile, member: Node) -> bool:
    whole, name = parts(member)
    made = file.of("resource", "module").get(text(whole)) if whole.type == "identifier" else None
    if made is None or made.reference.startswith(UNKNOWN_TO_AZURE):
        return False
    return text(name) == "outputs" if made.kind == "module" else text(name) not in KNOWN_AT_START
