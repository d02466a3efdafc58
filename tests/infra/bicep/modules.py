"""Modules and parameter files: what they point to exists, and is given what it asks for."""

from collections.abc import Iterator
from pathlib import Path

from tree_sitter import Node

from tests.infra.bicep.syntax import (
    BicepFile,
    Declaration,
    Problem,
    bare,
    child,
    literal,
    parts,
    properties,
    text,
    walk,
)

LOADERS = {"loadTextContent", "loadJsonContent", "loadYamlContent", "loadFileAsBase64"}
OF_A_MODULE = {"name", "scope", "params", "dependsOn", "identity"}
LITERALS = {"string": "string", "number": "int", "boolean": "bool", "array": "array", "object": "object"}


def module_problems(file: BicepFile) -> Iterator[Problem]:
    """Yield what is wrong with the modules a file uses, and with the files it loads."""
    for each in file.of("module").values():
        yield from one_module(file, each)
    yield from loaded(file)


def one_module(file: BicepFile, module: Declaration) -> Iterator[Problem]:
    path = file.path.parent / module.reference
    if not path.is_file():
        yield file.problem(module.node, f"there is no module file {module.reference}.")
        return
    asked = BicepFile(path)
    body = properties(module.body) if module.body else {}
    given = body.get("params")
    yield from parameters(file, asked, properties(given) if given else {}, module.node)
    if asked.scope != file.scope and "scope" not in body:
        yield file.problem(module.node, f"{module.reference} is deployed to a {asked.scope}: give the module a scope.")
    for name in body.keys() - OF_A_MODULE:
        yield file.problem(body[name], f"a module has no property {name}; it has {', '.join(sorted(OF_A_MODULE))}.")
    yield from outputs(file, module, asked)


def outputs(file: BicepFile, module: Declaration, asked: BicepFile) -> Iterator[Problem]:
    for node in walk(file.root):
        if node.type != "member_expression":
            continue
        whole, name = parts(node)
        if text(whole) == f"{module.name}.outputs" and text(name) not in asked.of("output"):
            yield file.problem(node, f"{module.reference} has no output {text(name)}.")
        if text(whole) == module.name and text(name) not in ("outputs", "name"):
            yield file.problem(node, f"a module has outputs and a name, not {text(name)}.")


def parameters(file: BicepFile, asked: BicepFile, given: dict[str, Node], place: Node) -> Iterator[Problem]:
    """Yield the parameters that are unknown, missing, or of another type or value than allowed."""
    known = asked.of("parameter")
    for name, value in given.items():
        if name not in known:
            yield file.problem(value, f"{asked.path.name} has no parameter {name}; it has {', '.join(sorted(known))}.")
        else:
            yield from unfit(file, known[name], value)
    for name, each in known.items():
        if name not in given and is_required(each):
            yield file.problem(place, f"{asked.path.name} needs the parameter {name}.")


def is_required(parameter: Declaration) -> bool:
    return parameter.value is None and not type_of(parameter).endswith("?")


def unfit(file: BicepFile, parameter: Declaration, value: Node) -> Iterator[Problem]:
    value = bare(value)
    wanted, got = type_of(parameter).removesuffix("?"), LITERALS.get(value.type)
    kind = "array" if wanted.endswith("[]") else wanted
    if got and kind in LITERALS.values() and got != kind:
        yield file.problem(value, f"the parameter {parameter.name} is of type {wanted}, not {got}.")
    allowed = allowed_values(parameter)
    said = literal(value)
    if allowed and said is not None and said not in allowed:
        yield file.problem(value, f"the parameter {parameter.name} takes {' or '.join(allowed)}, not {said}.")


def type_of(parameter: Declaration) -> str:
    stated = child(parameter.node, "type")
    return text(stated) if stated else ""


def allowed_values(parameter: Declaration) -> list[str]:
    """Return the strings `@allowed` or a union of strings lets a parameter be."""
    place = parameter.decorators.get("allowed") or child(parameter.node, "type")
    if place is None:
        return []
    return [said for each in walk(place) if (said := literal(each)) is not None]


def loaded(file: BicepFile) -> Iterator[Problem]:
    for node in walk(file.root):
        if node.type == "call_expression" and text(parts(node)[0]) in LOADERS:
            said = literal(parts(parts(node)[1])[0])
            if said is None or not (file.path.parent / said).is_file():
                yield file.problem(node, f"{text(node)} loads a file that is not there.")


def parameter_file_problems(file: BicepFile) -> Iterator[Problem]:
    """Yield what is wrong with a `.bicepparam` file."""
    using = child(file.root, "using_statement")
    target = literal(parts(using)[0]) if using else None
    path: Path = file.path.parent / (target or "")
    if not path.is_file():
        yield file.problem(file.root, f"`using '{target}'` points to no file.")
        return
    given = {each.name: each.value for each in file.of("variable").values() if each.value is not None}
    yield from parameters(file, BicepFile(path), given, file.root)
