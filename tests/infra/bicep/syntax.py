"""Reads Bicep files into their declarations; knows the grammar, not what the names mean."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

PARSER = Parser(Language(tree_sitter_bicep.language()))
# What the grammar does not know is put into words it knows, each as long as what it stands for: places stay true.
# `extension …` stands on a line of its own; the values in a parameters file are written like variables.
EXTENSION = re.compile(rb"(?m)^extension\b.*$")
PARAMETER = re.compile(rb"(?m)^param\b")
KINDS = {
    "parameter_declaration": "parameter",
    "variable_declaration": "variable",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
    "type_declaration": "type",
    "user_defined_function": "function",
}
COMMENTS = ("comment", "diagnostic_comment")


@dataclass(frozen=True)
class Problem:
    """A mistake in a file, and how to mend it."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Declaration:
    """One `param`, `var`, `resource`, `module`, `output`, `type` or `func`, nested resources included."""

    kind: str
    name: str
    node: Node
    decorators: dict[str, Node] = field(default_factory=dict)
    inside: "Declaration | None" = None

    @cached_property
    def reference(self) -> str:
        """The resource's type with its version, or the module's path; a nested resource's type is told in full."""
        given = literal(child(self.node, "string")) or ""
        if self.inside is None or "/" in given:
            return given
        (outer, _, outer_version), (own, _, version) = self.inside.reference.partition("@"), given.partition("@")
        return f"{outer}/{own}@{version or outer_version}"

    @property
    def is_existing(self) -> bool:
        return any(each.type == "existing" for each in self.node.children)

    @property
    def value(self) -> Node | None:
        """The expression a variable or output has, or the default of a parameter."""
        rest = [each for each in parts(self.node)[1:] if each.type != "type"]
        return rest[-1] if rest else None

    @property
    def body(self) -> Node | None:
        """The object of a resource or module, from within its condition and loop."""
        return next((each for each in spine(self.node) if each.type == "object"), None)


class BicepFile:
    """One file with all it declares at its top level and in nested resources."""

    def __init__(self, path: Path, source: bytes | None = None) -> None:
        self.path = path
        text = EXTENSION.sub(lambda line: b" " * len(line[0]), path.read_bytes() if source is None else source)
        self.root = PARSER.parse(PARAMETER.sub(b"var  ", text) if self.is_parameters else text).root_node
        self.declarations = list(declarations(self.root))

    def of(self, *kinds: str) -> dict[str, Declaration]:
        """Return the declarations of these kinds by name."""
        return {each.name: each for each in self.declarations if each.kind in kinds}

    def problem(self, node: Node, message: str) -> Problem:
        return Problem(self.path, node.start_point.row + 1, message)

    @cached_property
    def scope(self) -> str:
        """Where the file is deployed: `resourceGroup` unless it says otherwise."""
        stated = child(self.root, "target_scope_assignment")
        return (stated and literal(parts(stated)[0])) or "resourceGroup"

    @cached_property
    def is_parameters(self) -> bool:
        return self.path.suffix == ".bicepparam"


def syntax_problems(file: BicepFile) -> Iterator[Problem]:
    """Yield what cannot be read, or says two things."""
    for node in walk(file.root):
        if node.type == "ERROR":
            start = text(node).split("\n")[0][:60]
            yield file.problem(
                node, f"cannot be read from {start!r} on: mend the syntax, or write it without `!` and `...`."
            )
        elif node.is_missing:
            yield file.problem(node, f"lacks a {node.type}.")
        elif node.is_named:
            yield from loose(file, node)


def loose(file: BicepFile, node: Node) -> Iterator[Problem]:
    """Yield what the grammar lets pass, and Bicep does not."""
    match node.type:
        case "object":
            yield from crowded(file, node)
            yield from repeated(file, node)
        case "array":
            yield from crowded(file, node)
        case "call_expression" | "subscript_expression":
            yield from strayed(file, node)
        case "parenthesized_expression" if len(parts(node)) != 1 and not holds_parameters(node):
            yield file.problem(node, "has brackets around no value, or several: name the function before them.")


def strayed(file: BicepFile, use: Node) -> Iterator[Problem]:
    """Yield a call or an index that is really the next item: the grammar takes no notice of new lines."""
    used = use.children[0]
    if used.type == "string" or text(use)[len(text(used))].isspace():
        yield file.problem(use, f"is read as a use of {text(used)!r}: begin the item after it with something else.")


def holds_parameters(brackets: Node) -> bool:
    """Return whether brackets are those of `(a, b) => …`."""
    return brackets.parent is not None and brackets.parent.type == "lambda_expression"


def crowded(file: BicepFile, node: Node) -> Iterator[Problem]:
    """Yield items that follow another on its line without a comma."""
    items = [each for each in node.children if each.type not in COMMENTS][1:-1]
    for before, item in pairwise(items):
        if before.end_point.row == item.start_point.row and "," not in (before.type, item.type):
            # A call at an item's beginning may be read as two items.
            touching = before.end_byte == item.start_byte
            mend = "begin with something else than a call, such as `!`," if touching else "add a comma or a new line"
            yield file.problem(item, f"{mend} before {text(item)[:40]!r}.")


def repeated(file: BicepFile, obj: Node) -> Iterator[Problem]:
    seen: set[str] = set()
    for name, value in pairs(obj):
        if name in seen:
            yield file.problem(value, f"the property {name} is given twice: remove one.")
        seen.add(name)


def declarations(root: Node) -> Iterator[Declaration]:
    decorators: dict[str, Node] = {}
    for node in parts(root):
        if node.type == "decorators":
            decorators = {text(called(each)): each for each in parts(node)}
            continue
        if node.type in KINDS:
            yield from declared(node, decorators)
        decorators = {}


def declared(node: Node, decorators: dict[str, Node], inside: Declaration | None = None) -> Iterator[Declaration]:
    own = Declaration(KINDS[node.type], text(parts(node)[0]), node, decorators, inside)
    yield own
    if own.kind == "resource" and own.body:
        for each in parts(own.body):
            nested = child(each, "resource_declaration")
            if nested:
                yield from declared(nested, {}, own)


def called(decorator: Node) -> Node:
    """Return the name in `@name(…)`."""
    call = parts(decorator)[0]
    return parts(call)[0] if call.type == "call_expression" else call


def spine(node: Node) -> Iterator[Node]:
    """Yield a node and what it stands for: the bodies of loops, conditions and brackets."""
    yield node
    if node.type in ("resource_declaration", "module_declaration", "for_statement", "if_statement"):
        yield from spine(parts(node)[-1])


def properties(obj: Node) -> dict[str, Node]:
    """Return the values of an object by property name; computed names and nested resources are left out."""
    return dict(pairs(obj))


def pairs(obj: Node) -> Iterator[tuple[str, Node]]:
    for each in parts(obj):
        pair = parts(each)
        if each.type == "object_property" and len(pair) == 2 and is_name(pair[0]):
            yield literal(pair[0]) or text(pair[0]), pair[1]


def is_name(node: Node) -> bool:
    return node.type == "identifier" or literal(node) is not None


def parts(node: Node) -> list[Node]:
    """Return the children that mean something."""
    return [each for each in node.named_children if each.type not in COMMENTS]


def child(node: Node, kind: str) -> Node | None:
    return next((each for each in node.named_children if each.type == kind), None)


def walk(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def text(node: Node) -> str:
    return (node.text or b"").decode()


ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def segments(node: Node) -> Iterator[str | Node]:
    """Yield what a string consists of: texts, unescaped, and the expressions in `${…}`."""
    if text(node).startswith("'''"):
        yield text(node)[3:-3].removeprefix("\n")
        return
    at = node.start_byte + 1
    for each in node.named_children:
        if each.type == "interpolation":
            yield unescaped(node, at, each.start_byte)
            yield parts(each)[0]
            at = each.end_byte
    yield unescaped(node, at, node.end_byte - 1)


def unescaped(node: Node, start: int, end: int) -> str:
    raw = (node.text or b"")[start - node.start_byte : end - node.start_byte].decode()
    return re.sub(r"\\(.)", lambda escape: ESCAPES.get(escape[1], escape[1]), raw)


def literal(node: Node | None) -> str | None:
    """Return what a string without `${…}` says, None for anything else."""
    if node is None or node.type != "string" or not node.is_named or child(node, "interpolation"):
        return None
    return "".join(each for each in segments(node) if isinstance(each, str))


def bare(node: Node) -> Node:
    """Return an expression without the brackets around it."""
    return bare(parts(node)[0]) if node.type == "parenthesized_expression" else node
