"""What a tool is: a plain async function with typed, described parameters, and what it may use. No protocol types."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, create_model

from d365mcp.errors import InvalidArgument, close_names, or_list
from d365mcp.events import Caller, Listener
from d365mcp.settings import Settings
from d365mcp.tools.arguments import read_arguments
from d365mcp.tools.schemas import input_schema, output_schema

if TYPE_CHECKING:
    from d365mcp.d365.client import D365Client
    from d365mcp.metadata.catalog import MetadataCatalog
    from d365mcp.sql.processes import DatabaseProcesses
    from d365mcp.sql.reading import Places
    from d365mcp.telemetry.instance import InstanceFacts
    from d365mcp.telemetry.statistics import Statistics
    from d365mcp.tools.cursors import CursorSeal

Toolset = Literal["data", "metadata", "environment", "performance", "services", "documents", "admin"]
# Toolsets whose results programs go on with. What tells of the server and the environment is for people and models.
SHAPED = frozenset({"data", "metadata", "services"})


class ToolContext(NamedTuple):
    """What a tool may use while it answers one call."""

    settings: Settings
    d365: "D365Client"
    catalog: "MetadataCatalog"
    cursors: "CursorSeal"
    caller: Caller
    read_only: bool
    capabilities: Mapping[str, Any]  # what the client says that it can do, as MCP names it
    emit: Listener
    statistics: "Callable[[], Statistics]"
    instance: "Callable[[], InstanceFacts]"
    databases: "Callable[[], DatabaseProcesses]"
    places: "Callable[[], Places]"  # of statements' requests at F&O
    result_chars: int = 20_000  # the most that a result may have


@dataclass(frozen=True)
class Attachment:
    """A file that goes along with a result, as an embedded resource."""

    uri: str
    mime_type: str
    data: bytes


@dataclass(frozen=True)
class Attached:
    """A result with a file."""

    content: Mapping[str, Any]
    attachment: Attachment


ToolFunction = Callable[..., Awaitable[Mapping[str, Any] | Attached]]


@dataclass(frozen=True)
class Tool:
    """One tool on offer: its function says what it does and takes, this record how it may be used.

    The function's first parameter is the `ToolContext`; the others, by their annotations, are the tool's arguments.
    Its docstring is what the model reads.
    """

    function: ToolFunction
    title: str
    toolset: Toolset
    read_only: bool = True
    destructive: bool = False
    idempotent: bool = True
    open_world: bool = True

    @property
    def name(self) -> str:
        return f"d365fo_{self.function.__name__}"

    @cached_property
    def description(self) -> str:
        return " ".join((inspect.getdoc(self.function) or "").split())

    @cached_property
    def arguments(self) -> type[BaseModel]:
        """Return the model that checks the arguments, built when first used."""
        hints = get_type_hints(self.function, include_extras=True)
        parameters = list(inspect.signature(self.function).parameters.values())[1:]
        fields: dict[str, Any] = {
            each.name: (hints[each.name], ... if each.default is each.empty else each.default) for each in parameters
        }
        return create_model(self.name, __config__=ConfigDict(extra="forbid", strict=True), **fields)

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        return input_schema(self.arguments.model_json_schema())

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Return the names that its result may have, in their order: what steers before what fills."""
        return tuple(getattr(get_type_hints(self.function)["return"], "__annotations__", ()))

    def arranged(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a result in the order that its type declares: hosts that cut an answer keep its beginning."""
        return {**{name: result[name] for name in self.members if name in result}, **result}

    @cached_property
    def output_schema(self) -> dict[str, Any] | None:
        """Return the schema of the structured result, or None where none is declared."""
        shape = get_type_hints(self.function)["return"]
        if shape is Attached or self.toolset not in SHAPED:
            return None
        return output_schema(TypeAdapter(shape).json_schema(mode="serialization"))

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as the function takes them.

        Raises InvalidArgument: names each argument that is unknown, missing or wrong, and what would do.
        """
        try:
            checked = self.arguments.model_validate(
                read_arguments(arguments, self.input_schema, writes=not self.read_only)
            )
        except ValidationError as problems:
            raise InvalidArgument(self.explain(problems)) from None
        return {name: getattr(checked, name) for name in self.arguments.model_fields}

    def explain(self, problems: ValidationError) -> str:
        """Return one sentence for all that is wrong, without echoing values."""
        return " ".join(
            self.explain_one(str(each["type"]), [str(part) for part in each["loc"]], each["msg"])
            for each in problems.errors(include_url=False, include_input=False)[:5]
        )

    def explain_one(self, kind: str, place: list[str], message: str) -> str:
        known = list(self.arguments.model_fields)
        where = ".".join(place)[:100]
        if kind == "extra_forbidden":
            close = close_names(place[0], known)
            hint = f" Did you mean {or_list(close)}?" if close else f" It takes {', '.join(known) or 'no arguments'}."
            return f'No argument "{where}".' + (hint if len(place) == 1 else "")
        if kind == "missing":
            return f'The argument "{where}" is required.'
        return f'The argument "{where}" is wrong: {message[0].lower()}{message[1:]}{_EXAMPLES.get(kind, "")}.'


# How JSON writes what a wrong type was given for.
_EXAMPLES = {
    "list_type": ', such as ["A", "B"]',
    "dict_type": ', such as {"dataAreaId": "usmf"}',
    "int_type": ", such as 5",
    "bool_type": ", true or false",
}
