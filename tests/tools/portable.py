"""What every client takes of a tool: the least common denominator of those that were tried. Knows none of our tools.

Each rule names the client that needs it; there are more behind most of them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

KINDS = ("string", "integer", "number", "boolean", "object", "array")
HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
# Copilot Studio drops a tool with references, in its input or output; Semantic Kernel, Continue and n8n drop what they lead to.
REFERENCES = frozenset({"$ref", "$defs", "definitions", "$id", "$anchor", "$dynamicRef", "$recursiveRef"})
# Gemini's API answers 400 to some of these, Foundry's agents to anyOf, Copilot Studio to numbers as exclusive bounds.
COMBINING = frozenset(
    {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "const", "nullable", "$schema", "examples"}
)
NARROWING = frozenset({"pattern", "format", "contains", "contentEncoding", "contentMediaType", "prefixItems"})
BOUNDING = frozenset(
    {"exclusiveMaximum", "exclusiveMinimum", "patternProperties", "propertyNames", "dependentRequired"}
)
UNCOMMON = COMBINING | NARROWING | BOUNDING | {"dependentSchemas", "unevaluatedItems", "unevaluatedProperties"}
# What reads schemas without telling names from keywords takes a parameter of such a name for the keyword.
ORDINARY = {"type", "properties", "items", "required", "enum", "default", "title", "description", "id", "deprecated"}
LIMITS = {"minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
OTHERS = {"additionalProperties", "additionalItems", "uniqueItems", "multipleOf", "readOnly", "writeOnly"}
KEYWORDS = REFERENCES | UNCOMMON | ORDINARY | LIMITS | OTHERS
PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,63}")
TOOL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
# Cursor hides a tool whose name has more than 60 characters with its server's; Claude Code's prefix is the longest.
PREFIX, MOST_NAME = "mcp__d365fo__", 60
# Microsoft 365 Copilot cuts what goes beyond.
MOST_DESCRIPTION = 1024
MOST_DEPTH = 4


def faults(tool: Mapping[str, Any]) -> list[str]:
    """Return what some client does not take of a tool, as it stands in a `tools/list` answer."""
    return [
        *faults_of_tool(tool),
        *faults_of_root(tool["inputSchema"]),
        *faults_of_node(tool["inputSchema"], "input"),
        *faults_of_output(tool.get("outputSchema", {"type": "object"}), "output"),
    ]


def faults_of_tool(tool: Mapping[str, Any]) -> Iterator[str]:
    if not TOOL.fullmatch(tool["name"]) or len(PREFIX + tool["name"]) > MOST_NAME:
        yield "the name is too long with its prefix, or has odd characters"
    if not 1 <= len(tool.get("description", "")) <= MOST_DESCRIPTION:
        yield "the description is missing or too long"
    if not all(isinstance(tool.get("annotations", {}).get(hint), bool) for hint in HINTS):
        yield "not all four hints are given"


def faults_of_root(root: Schema) -> Iterator[str]:
    # OpenAI and Copilot CLI refuse a whole turn for an object without properties, be there none.
    if root.get("type") != "object" or not isinstance(root.get("properties"), dict):
        yield "input is no object with properties"


def faults_of_node(node: Schema, place: str, depth: int = 0) -> Iterator[str]:
    kind, properties = node.get("type"), node.get("properties", {})
    yield from (f"{place} has {key}" for key in sorted(node.keys() & (REFERENCES | UNCOMMON)))
    yield from faults_of_kind(node, place)
    # google-genai takes the value for a schema, of every tool that has it.
    if isinstance(node.get("additionalProperties"), bool):
        yield f"{place} has a boolean additionalProperties"
    # VS Code refuses the tool.
    if kind == "array" and not node.get("items"):
        yield f"{place} has no items"
    if kind == "object" and depth and not properties:
        yield from faults_of_free_form(node, place)
    if "enum" in node and not (kind == "string" and all(isinstance(each, str) and each for each in node["enum"])):
        yield f"{place} has an enumeration of something else than words"
    if depth > MOST_DEPTH:
        yield f"{place} lies too deep"
    yield from (f"{place} requires {name}, which it has not" for name in {*node.get("required", [])} - {*properties})
    for name, inner in properties.items():
        yield from faults_of_name(name, f"{place}.{name}")
        yield from faults_of_node(inner, f"{place}.{name}", depth + 1)
    if isinstance(node.get("items"), dict):
        yield from faults_of_node(node["items"], f"{place}[]", depth + 1)


def faults_of_kind(node: Schema, place: str) -> Iterator[str]:
    # A list of types: Copilot Studio truncates the schema, Gemini's API answers 400.
    if node.get("type") not in KINDS:
        yield f"{place} is of type {node.get('type')}"


def faults_of_free_form(node: Schema, place: str) -> Iterator[str]:
    # pydantic-ai and openai-agents close it to {}: then nothing can be sent.
    if node.get("additionalProperties") != {}:
        yield f"{place} is an object that some clients close"
    if '{"' not in node.get("description", ""):
        yield f"{place} is a free-form object without an example"


def faults_of_name(name: str, place: str) -> Iterator[str]:
    if name in KEYWORDS or not PARAMETER.fullmatch(name):
        yield f"{place} is called like a keyword, or oddly"


def faults_of_output(node: Schema, place: str) -> Iterator[str]:
    yield from (f"{place} has {key}" for key in sorted(node.keys() & (REFERENCES | UNCOMMON)))
    yield from faults_of_kind(node, place)
    if isinstance(node.get("additionalProperties"), bool):
        yield f"{place} has a boolean additionalProperties"
    if node.get("type") == "array" and not node.get("items"):
        yield f"{place} has no items"
    for name, inner in node.get("properties", {}).items():
        yield from faults_of_name(name, f"{place}.{name}")
        yield from faults_of_output(inner, f"{place}.{name}")
    if isinstance(node.get("items"), dict):
        yield from faults_of_output(node["items"], f"{place}[]")
