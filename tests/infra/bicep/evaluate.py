"""Works out what a deployment would create: evaluates Bicep files for given parameters, without Azure.

What only Azure knows, such as an id it draws, is a stand-in made of the resource's name. A deployment Azure would refuse
for its parameters, or that refuses itself with fail(), raises Refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tree_sitter import Node

from tests.infra.bicep.functions import FUNCTIONS, Refused, drawn
from tests.infra.bicep.modules import allowed_values, is_required, type_of
from tests.infra.bicep.names import given_by_lambda, lambda_of, loop_names
from tests.infra.bicep.syntax import BicepFile, Declaration, child, is_name, literal, parts, segments, text

Local = Mapping[str, Any]
Access = Callable[[Any], Any]
LOOSE = ("ternary_expression", "unary_expression", "binary_expression", "lambda_expression")
KINDS = {"string": str, "int": int, "bool": bool, "array": list, "object": dict}
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "=~": lambda a, b: a.lower() == b.lower(),
    "!~": lambda a, b: a.lower() != b.lower(),
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}
# What is evaluated only where the left side leaves the question open.
LAZY: dict[str, Callable[[Any], bool]] = {
    "&&": lambda left: left is False,
    "||": lambda left: left is True,
    "??": lambda left: left is not None,
}


@dataclass
class Resource:
    """A resource as it would be deployed, or one that is there already."""

    type: str
    name: str
    body: dict[str, Any]
    file: BicepFile
    scope: Any = None
    deployed: bool = True

    @property
    def id(self) -> str:
        provider, *kinds = self.type.split("/")
        path = "".join(f"/{kind}/{name}" for kind, name in zip(kinds, self.name.split("/"), strict=False))
        return f"/subscriptions/s/resourceGroups/g/providers/{provider}{path}"

    def read(self, name: str) -> Any:
        """Return a property of the resource's own level."""
        known = {"id": self.id, "name": self.name.rpartition("/")[2], "type": self.type}
        if name in known:
            return known[name]
        if not self.deployed:
            raise Refused(f"{self.file.path.name}: {self.name} is not deployed, but its {name} is read.")
        return Properties(self, (name,)) if name == "properties" else self.body.get(name, drawn(self.id, name))


@dataclass
class Properties:
    """What is below `properties` of a resource: what was given, or else what Azure would tell."""

    resource: Resource
    path: tuple[str, ...]

    def read(self, name: str) -> Any:
        path = (*self.path, name)
        value: Any = self.resource.body
        for each in path:
            value = value.get(each) if isinstance(value, dict) else None
        return value if value is not None else told_by_azure(self.resource, path)


def told_by_azure(resource: Resource, path: tuple[str, ...]) -> Any:
    told = {
        "primaryEndpoints": Properties(resource, path),
        "blob": f"https://{resource.name}.blob.core.windows.net/",
        "defaultHostName": f"{resource.name}.azurewebsites.net",
        "vaultUri": f"https://{resource.name}.vault.azure.net/",
        "ConnectionString": f"InstrumentationKey={drawn(resource.id)};IngestionEndpoint=https://westeurope.example/",
    }
    return told.get(path[-1], drawn(resource.id, *path))


@dataclass
class Module:
    """A module that was deployed, or was not."""

    name: str
    outputs: dict[str, Any] | None

    def read(self, name: str) -> Any:
        if self.outputs is None:
            raise Refused(f"the module {self.name} is not deployed, but its {name} are read.")
        return {"outputs": self.outputs, "name": self.name}[name]


@dataclass
class Deployment:
    """The environment it is started in, and what it leaves behind: resources, and the outputs of every file."""

    environment: Mapping[str, str] = field(default_factory=dict)
    resources: list[Resource] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: str) -> list[Resource]:
        return [each for each in self.resources if each.type == kind]


def deploy(path: Path, environment: Mapping[str, str] | None = None, **given: Any) -> Deployment:
    """Return what a file, or a parameters file, would deploy."""
    deployment = Deployment(environment or {})
    file = BicepFile(path)
    if file.is_parameters:
        values = Evaluation(file, {}, deployment)
        given = {name: values.value(name) for name in file.of("variable")} | given
        using = child(file.root, "using_statement")
        file = BicepFile(path.parent / str(literal(parts(using)[0]) if using else ""))
    Evaluation(file, given, deployment).run()
    return deployment


class Evaluation:
    """One file with the values of its parameters; every declaration is evaluated when it is first asked for."""

    def __init__(self, file: BicepFile, given: Mapping[str, Any], deployment: Deployment) -> None:
        self.file, self.given, self.deployment = file, given, deployment
        self.known = {each.name: each for each in file.declarations if each.kind != "output"}
        self.values: dict[str, Any] = {}
        unknown = set(given) - set(file.of("parameter"))
        if unknown:
            raise Refused(f"{file.path.name} has no parameter {', '.join(sorted(unknown))}.")

    def run(self) -> dict[str, Any]:
        """Deploy all of the file and return its outputs."""
        for name in self.known:
            if self.known[name].kind != "function":
                self.value(name)
        outputs = {each.name: self.evaluate(each.value) for each in self.file.of("output").values()}
        self.deployment.outputs.append(outputs)
        return outputs

    def value(self, name: str) -> Any:
        if name not in self.values:
            declaration = self.known[name]
            makers = {"parameter": self.parameter, "resource": self.resource, "module": self.module}
            make = makers.get(declaration.kind, lambda each: self.evaluate(each.value))
            self.values[name] = make(declaration)
        return self.values[name]

    def parameter(self, parameter: Declaration) -> Any:
        if parameter.name in self.given:
            value = self.given[parameter.name]
        elif is_required(parameter):
            raise Refused(f"{self.file.path.name} needs the parameter {parameter.name}.")
        else:
            value = self.evaluate(parameter.value) if parameter.value is not None else None
        self.check(parameter, value)
        return value

    def check(self, parameter: Declaration, value: Any) -> None:
        """Refuse what Azure Resource Manager refuses of a parameter before it deploys anything."""
        said = f"{parameter.name}: {value!r} is"
        stated = type_of(parameter)
        kind = KINDS["array" if stated.endswith("[]") else stated.removesuffix("?")]
        if type(value) is not kind and not (value is None and stated.endswith("?")):
            raise Refused(f"{said} no {stated}.")
        allowed = self.limit(parameter, "allowed") or allowed_values(parameter)
        if allowed and value not in allowed:
            raise Refused(f"{said} none of {allowed}.")
        size, measure = (value, "Value") if isinstance(value, int) else (len(value or ""), "Length")
        least, most = (self.limit(parameter, f"{end}{measure}") for end in ("min", "max"))
        if (least is not None and size < least) or (most is not None and size > most):
            raise Refused(f"{said} not from {least} to {most}.")

    def limit(self, parameter: Declaration, decorator: str) -> Any:
        node = parameter.decorators.get(decorator)
        return self.evaluate(parts(parts(parts(node)[0])[1])[0]) if node else None

    def resource(self, declaration: Declaration) -> Any:
        return self.repeated(declaration, parts(declaration.node)[-1], {}, self.one_resource)

    def module(self, declaration: Declaration) -> Any:
        return self.repeated(declaration, parts(declaration.node)[-1], {}, self.one_module)

    def repeated(
        self, declaration: Declaration, node: Node, local: Local, make: Callable[..., Any], do: bool = True
    ) -> Any:
        """Make what a declaration stands for: several in a loop, perhaps none under a condition."""
        if node.type == "for_statement":
            rounds = self.rounds(node, local)
            return [self.repeated(declaration, parts(node)[-1], each, make, do) for each in rounds]
        if node.type == "if_statement":
            condition, inner = parts(node)
            return self.repeated(declaration, inner, local, make, do and self.evaluate(condition, local))
        return make(declaration, node, local, do)

    def one_resource(self, declaration: Declaration, node: Node, local: Local, do: bool) -> Resource:
        kind = declaration.reference.partition("@")[0]
        # Of what is not deployed, the name is enough, which others may still ask for.
        body = self.evaluate(node, local) if do else {"name": "not deployed"}
        parent = body.pop("parent", None) or (declaration.inside and self.value(declaration.inside.name))
        own = body.get("name", declaration.name)  # what Microsoft Graph keeps has no name of this kind
        name = f"{parent.name}/{own}" if parent else own
        if not do:
            name = "/".join(["none"] * kind.count("/"))
        made = Resource(kind, name, body, self.file, body.pop("scope", None), do)
        if do and not declaration.is_existing:
            self.deployment.resources.append(made)
        return made

    def one_module(self, declaration: Declaration, node: Node, local: Local, do: bool) -> Module:
        if not do:
            return Module(declaration.name, None)
        body = self.evaluate(node, local)
        if not re.fullmatch(r"[\w.()-]{1,64}", body["name"]):
            raise Refused(f"{self.file.path.name}: a deployment cannot be named {body['name']}.")
        inner = Evaluation(
            BicepFile(self.file.path.parent / declaration.reference), body.get("params", {}), self.deployment
        )
        return Module(declaration.name, inner.run())

    def rounds(self, loop: Node, local: Local) -> Iterator[Local]:
        for index, item in enumerate(self.evaluate(parts(loop)[1], local)):
            yield {**local, **dict(zip(loop_names(loop), (item, index), strict=False))}

    def evaluate(self, node: Node | None, local: Local | None = None, then: Access | None = None) -> Any:
        """Evaluate an expression, and what is read of it then.

        The grammar lets `.name` and `[0]` bind too loosely: `a ? b : c[0]` is to it `(a ? b : c)[0]`, and `r => r.name` is
        `(r => r).name`. So an access to a loose expression is handed down to its last operand, where it belongs.
        """
        assert node is not None
        if node.type in LOOSE:
            return getattr(self, f"_{node.type}")(node, local or {}, then)
        value = getattr(self, f"_{node.type}")(node, local or {})
        return then(value) if then else value

    def _identifier(self, node: Node, local: Local) -> Any:
        name = text(node)
        return local[name] if name in local else self.value(name)

    def _string(self, node: Node, local: Local) -> str:
        pieces = (each if isinstance(each, str) else self.evaluate(each, local) for each in segments(node))
        return "".join(FUNCTIONS["string"](each) for each in pieces)

    def _number(self, node: Node, local: Local) -> int:
        return int(text(node))

    def _boolean(self, node: Node, local: Local) -> bool:
        return text(node) == "true"

    def _null(self, node: Node, local: Local) -> None:
        return None

    def _array(self, node: Node, local: Local) -> list[Any]:
        return [self.evaluate(each, local) for each in parts(node)]

    def _object(self, node: Node, local: Local) -> dict[str, Any]:
        pairs = [parts(each) for each in parts(node)]
        return {self.key(pair[0], local): self.evaluate(pair[1], local) for pair in pairs if len(pair) == 2}

    def key(self, node: Node, local: Local) -> str:
        return (literal(node) or text(node)) if is_name(node) else self._string(node, local)

    def _for_statement(self, node: Node, local: Local) -> list[Any]:
        return [self.evaluate(parts(node)[-1], each) for each in self.rounds(node, local)]

    def _parenthesized_expression(self, node: Node, local: Local) -> Any:
        return self.evaluate(parts(node)[0], local)

    def _ternary_expression(self, node: Node, local: Local, then: Access | None) -> Any:
        condition, yes, no = parts(node)
        return self.evaluate(yes, local) if self.evaluate(condition, local) else self.evaluate(no, local, then)

    def _unary_expression(self, node: Node, local: Local, then: Access | None) -> Any:
        value = self.evaluate(parts(node)[0], local, then)
        return not value if node.children[0].type == "!" else -value

    def _binary_expression(self, node: Node, local: Local, then: Access | None) -> Any:
        left, operator, right = node.children[0], node.children[1].type, node.children[-1]
        value = self.evaluate(left, local)
        if operator in LAZY:
            return value if LAZY[operator](value) else self.evaluate(right, local, then)
        return OPERATORS[operator](value, self.evaluate(right, local, then))

    def _lambda_expression(self, node: Node, local: Local, then: Access | None) -> Any:
        return self.evaluate(parts(node)[-1], local, then)

    def _member_expression(self, node: Node, local: Local) -> Any:
        whole, name = parts(node)
        return self.evaluate(whole, local, lambda value: read(value, text(name), text(node)))

    def _subscript_expression(self, node: Node, local: Local) -> Any:
        whole, index = parts(node)
        at = self.evaluate(index, local)
        return self.evaluate(whole, local, lambda value: read(value, at, text(node)))

    def _resource_expression(self, node: Node, local: Local) -> Any:
        return self.value(text(parts(node)[1]))

    def _call_expression(self, node: Node, local: Local) -> Any:
        name, arguments = re.sub(r"^(az|sys)\.", "", text(parts(node)[0])), parts(parts(node)[1])
        values = [self.argument(each, local) for each in arguments]
        if name in self.file.of("function"):
            return self.own_function(self.file.of("function")[name], values)
        if name.startswith("load"):
            return FUNCTIONS[name](self.file.path.parent / values[0])
        if name == "readEnvironmentVariable":
            return read_variable(self.deployment.environment, *values)
        if name not in FUNCTIONS:
            raise NotImplementedError(f"{name}() cannot be evaluated: add it to functions.py.")
        return FUNCTIONS[name](*values)

    def own_function(self, declaration: Declaration, values: list[Any]) -> Any:
        given = child(declaration.node, "parameters")
        names = [text(parts(each)[0]) for each in parts(given)] if given else []
        return self.evaluate(parts(declaration.node)[-1], dict(zip(names, values, strict=True)))

    def argument(self, node: Node, local: Local) -> Any:
        """Evaluate an argument; a lambda becomes a function (given_by_lambda tells how the grammar reads one)."""
        if lambda_of(node) is None:
            return self.evaluate(node, local)
        names = given_by_lambda(node)
        return lambda *values: self.evaluate(node, {**local, **dict(zip(names, values, strict=False))})


def read(whole: Any, name: str | int, where: str) -> Any:
    if isinstance(whole, Resource | Properties | Module):
        return whole.read(name)
    if name in whole if isinstance(whole, dict) else isinstance(name, int) and name < len(whole):
        return whole[name]
    if re.search(rf"(\.\?{name}|\[\?.*\])$", where):
        return None
    raise Refused(f"{where}: there is no {name}.")


def read_variable(environment: Mapping[str, str], name: str, default: str | None = None) -> str:
    value = environment.get(name, default)
    if value is None:
        raise Refused(f"the environment variable {name} is not set.")
    return value
