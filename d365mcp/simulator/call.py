"""One request as the environment sees it, with its URL taken apart. Performs no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from json import dumps, loads
from urllib.parse import unquote, unquote_plus

from d365mcp.simulator.errors import Refusal
from d365mcp.simulator.model import Client
from d365mcp.simulator.values import Exponential

SYSTEM_OPTIONS = ("$select", "$filter", "$orderby", "$top", "$skip", "$count", "$expand", "$skiptoken", "$format")


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    """Below the environment's root, still percent-encoded: "/data/CustomersV3"."""
    query: str
    headers: Mapping[str, str]
    body: bytes
    base: str
    """The environment's URL, without a trailing slash."""
    client: Client

    @cached_property
    def segments(self) -> list[str]:
        """The path's segments, each decoded once, so that %2F stays inside its segment."""
        return [unquote(segment) for segment in self.path.strip("/").split("/")]

    @cached_property
    def options(self) -> dict[str, str]:
        """The query options; an unknown one with a `$` is refused, any other is ignored."""
        found: dict[str, str] = {}
        for pair in filter(None, self.query.split("&")):
            name, _, value = pair.partition("=")
            name = unquote_plus(name)
            if name.startswith("$") and name not in SYSTEM_OPTIONS:
                raise Refusal(f"The query parameter '{name}' is not supported.")
            if name in found:
                raise Refusal(
                    f"Query option '{name}' was specified more than once, but it must be specified at most once."
                )
            found[name] = unquote_plus(value)
        if "json" not in found.get("$format", "json"):
            raise Refusal(f"The format '{found['$format']}' is not supported.")
        return found

    @property
    def cross_company(self) -> bool:
        return self.options.get("cross-company") == "true"

    def json_object(self) -> dict[str, object]:
        """The body as a JSON object; an empty one counts as {}."""
        try:
            value = loads(
                self.body or b"{}",
                object_pairs_hook=_each_once,
                parse_float=lambda text: Exponential(text) if "e" in text.lower() else float(text),
                parse_constant=_no_constant,
            )
            dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is JSON, but no text
        except ValueError as exc:
            raise Refusal("An error was encountered while parsing the JSON content of the request.") from exc
        if not isinstance(value, dict):
            raise Refusal("A JSON object was expected as the content of the request.")
        return value


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Refusal("Multiple properties with the same name were detected; duplicate property names are not allowed.")
    return members


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
