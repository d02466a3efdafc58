"""What a tool is: a plain async function with typed, described parameters, and what it may use. No protocol types."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError, create_model

from d365mcp.errors import InvalidArgument, close_names, or_list
from d365mcp.events import Caller, Listener
from d365mcp.settings import Settings

if TYPE_CHECKING:
    from d365mcp.d365.client import D365Client
    from d365mcp.metadata.catalog import MetadataCatalog
    from d365mcp.telemetry.instance import InstanceFacts
    from d365mcp.telemetry.statistics import Statistics
    from d365mcp.tools.cursors import CursorSeal

Toolset = Literal["data", "metadata", "environment", "performance", "services", "documents", "admin"]
ReportProgress = Callable[[float, float | None, str], Awaitable[None]]


class ToolContext(NamedTuple):
    """What a tool may use while it answers one call."""

    settings: Settings
    d365: "D365Client"
    catalog: "MetadataCatalog"
    cursors: "CursorSeal"
    caller: Caller
    read_only: bool
    report_progress: ReportProgress
    emit: Listener
    statistics: "Statistics"
    instance: "Callable[[], InstanceFacts]"


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
            each.name: (read_as(hints[each.name]), ... if each.default is each.empty else each.default)
            for each in parameters
        }
        return create_model(self.name, __config__=ConfigDict(extra="forbid", strict=True), **fields)

    @cached_property
    def input_schema(self) -> dict[str, Any]:
        return slim(self.arguments.model_json_schema())  # type: ignore[no-any-return]

    @cached_property
    def output_schema(self) -> dict[str, Any] | None:
        """Return the schema of the structured result, or None where the function declares no shape."""
        shape = get_type_hints(self.function)["return"]
        if shape in (Attached, Mapping[str, Any]):
            return None
        return shallow(TypeAdapter(shape).json_schema(mode="serialization"))

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as the function takes them.

        Raises InvalidArgument: names each argument that is unknown, missing or wrong, and what would do.
        """
        try:
            checked = self.arguments.model_validate(dict(arguments))
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
            mend = f" Did you mean {or_list(close)}?" if close else f" It takes {', '.join(known) or 'no arguments'}."
            return f'No argument "{where}".' + (mend if len(place) == 1 else "")
        if kind == "missing":
            return f'The argument "{where}" is required.'
        return f'The argument "{where}" is wrong: {message[0].lower()}{message[1:]}{WRITTEN.get(kind, "")}.'


def whole(value: Any) -> Any:
    """Return 5 for 5.0, which is an integer too: https://json-schema.org/draft/2020-12/json-schema-validation#section-6.1.1"""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_as(hint: Any) -> Any:
    """Return a parameter's type as its arguments are read: a whole number in each way JSON writes it."""
    plain = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    return Annotated[hint, BeforeValidator(whole)] if int in (plain, *get_args(plain)) else hint


# How JSON writes what a wrong type was given for.
WRITTEN = {
    "list_type": ', such as ["A", "B"]',
    "dict_type": ', such as {"dataAreaId": "usmf"}',
    "int_type": ", such as 5, without quotes",
    "bool_type": ", true or false without quotes",
}


# Limits are checked, and told when they are passed: in every list they would be read for nothing.
UNSAID = frozenset({"maxLength", "minLength", "maxItems", "minItems", "maxProperties", "maximum"})


def slim(schema: Any) -> Any:
    """Drop what pydantic adds for people (titles) and what goes without saying: it is pure weight in tools/list."""
    if isinstance(schema, list):
        return [slim(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if not goes_without_saying(name, value)}
    return {name: slim_properties(value) if name == "properties" else slim(value) for name, value in kept.items()}


def goes_without_saying(name: str, value: Any) -> bool:
    if name == "title":
        return isinstance(value, str)
    return name in UNSAID or (name == "additionalProperties" and value is True) or (name == "default" and not value)


def slim_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Slim the values only: a property may itself be called `title`."""
    return {name: slim_optional(slim(schema)) for name, schema in properties.items()}


def slim_optional(schema: dict[str, Any]) -> dict[str, Any]:
    """Turn "this or null" into "this": an optional argument may simply be left out."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**choices[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def shallow(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return an output schema that names the members and their kinds; what is inside is for the data to show."""
    members = {
        name: {"type": types_of(member)} if "type" in member or "anyOf" in member else {}
        for name, member in schema.get("properties", {}).items()
    }
    return {"type": "object", "properties": members}


def types_of(member: Mapping[str, Any]) -> Any:
    return member["type"] if "type" in member else [choice["type"] for choice in member["anyOf"]]
