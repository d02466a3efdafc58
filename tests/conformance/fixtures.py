"""The tools, prompts and resources that the official conformance suite calls by name; knows nothing of F&O.

What each must do is in the scenario descriptions of https://github.com/modelcontextprotocol/conformance.
"""

import base64
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

Context = ServerRequestContext[Any]
ToolFixture = Callable[
    [Context, types.CallToolRequestParams], Awaitable[types.CallToolResult | types.InputRequiredResult]
]
Request = dict[str, Any]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
WAV = base64.b64encode(b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\0\0\0\0").decode()
IMAGE = {"type": "image", "data": PNG, "mimeType": "image/png"}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def resource(uri: str, mime_type: str, value: str) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime_type, "text": value}}


def tool_result(*content: dict[str, Any], is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult.model_validate({"content": content, "isError": is_error})


# --- Tools ---------------------------------------------------------------------------------------------------------------

FIXED = {
    "test_simple_text": tool_result(text("This is a simple text response for testing.")),
    "test_image_content": tool_result(IMAGE),
    "test_audio_content": tool_result({"type": "audio", "data": WAV, "mimeType": "audio/wav"}),
    "test_embedded_resource": tool_result(
        resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ),
    "test_multiple_content_types": tool_result(
        text("Multiple content types test:"),
        IMAGE,
        resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ),
    "json_schema_2020_12_tool": tool_result(text("valid")),
    "test_header_parameter": tool_result(text("received")),
    "test_error_handling": tool_result(text("This tool intentionally returns an error for testing"), is_error=True),
}


async def with_progress(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    for progress in (0, 50, 100):
        await ctx.session.report_progress(progress, 100)
    return tool_result(text("done"))


async def with_logging(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.session.send_log_message("info", message, related_request_id=ctx.request_id)
    return tool_result(text("done"))


async def needing_sampling(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Refuse a client that has not declared sampling; all clients of the suite are such."""
    data: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
    raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "This tool needs the sampling capability.", data)


# --- What is asked of the client between two calls (2026-07-28) -----------------------------------------------------------


def elicitation(message: str, **properties: str) -> Request:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sampling(question: str, max_tokens: int) -> Request:
    messages = [{"role": "user", "content": text(question)}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": max_tokens}}


ASK_NAME = {"user_name": elicitation("What is your name?", name="string")}
ASK_ROOTS = {"client_roots": {"method": "roots/list", "params": {}}}
ASK_CONFIRMATION = {"confirm": elicitation("Please confirm", ok="boolean")}
ASK_CONTEXT = {"user_context": elicitation("What context should the prompt use?", context="string")}

ROUNDS: dict[str, list[dict[str, Request]]] = {
    "test_streaming_elicitation": [ASK_NAME],
    "test_input_required_result_elicitation": [ASK_NAME],
    "test_input_required_result_sampling": [{"capital_question": sampling("What is the capital of France?", 100)}],
    "test_input_required_result_list_roots": [ASK_ROOTS],
    "test_input_required_result_request_state": [ASK_CONFIRMATION],
    "test_input_required_result_tampered_state": [ASK_CONFIRMATION],
    "test_input_required_result_multiple_inputs": [
        ASK_NAME | {"greeting": sampling("Generate a greeting", 50)} | ASK_ROOTS
    ],
    "test_input_required_result_multi_round": [
        {"step1": elicitation("Step 1: What is your name?", name="string")},
        {"step2": elicitation("Step 2: What is your favorite color?", color="string")},
    ],
    "test_input_required_result_capabilities": [ASK_NAME | {"greeting": sampling("Generate a greeting", 50)}],
    "test_input_required_result_prompt": [ASK_CONTEXT],
}
SEAL = secrets.token_bytes(32)


def sealed(round_number: int) -> str:
    return f"{round_number}.{hmac.digest(SEAL, str(round_number).encode(), 'sha256').hex()}"


def opened(state: str) -> int:
    round_number = int(state.partition(".")[0])
    if not hmac.compare_digest(state, sealed(round_number)):
        raise MCPError(types.INVALID_PARAMS, "requestState is not what this server sent.")
    return round_number


def next_question(
    ctx: Context, name: str, params: types.InputResponseRequestParams
) -> types.InputRequiredResult | None:
    """Return what is to be asked next, or None when everything has been answered."""
    round_number = opened(params.request_state) if params.request_state else 0
    asked = possible(ctx, ROUNDS[name][round_number])
    if asked.keys() <= (params.input_responses or {}).keys():
        round_number += 1
    if round_number == len(ROUNDS[name]):
        return None
    requests = possible(ctx, ROUNDS[name][round_number])
    return types.InputRequiredResult.model_validate({"inputRequests": requests, "requestState": sealed(round_number)})


def possible(ctx: Context, requests: Mapping[str, Request]) -> dict[str, Request]:
    """Keep the requests for which the client has declared the capability."""
    capabilities = ctx.session.client_capabilities or types.ClientCapabilities()
    declared = {
        "elicitation/create": capabilities.elicitation,
        "sampling/createMessage": capabilities.sampling,
        "roots/list": capabilities.roots,
    }
    return {key: request for key, request in requests.items() if declared[request["method"]] is not None}


async def asking(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult | types.InputRequiredResult:
    return next_question(ctx, params.name, params) or tool_result(text("state-ok: everything was answered"))


async def fixed(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    return FIXED[params.name]


TOOLS: dict[str, ToolFixture] = {
    **dict.fromkeys(FIXED, fixed),
    **dict.fromkeys((name for name in ROUNDS if name != "test_input_required_result_prompt"), asking),
    "test_tool_with_progress": with_progress,
    "test_tool_with_logging": with_logging,
    "test_logging_tool": with_logging,
    "test_missing_capability": needing_sampling,
}
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "additionalProperties": False}
SCHEMAS: dict[str, dict[str, Any]] = {
    "test_header_parameter": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
        "additionalProperties": False,
    },
    "json_schema_2020_12_tool": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            }
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    },
}


def schema_of(name: str) -> dict[str, Any] | None:
    return SCHEMAS.get(name, NO_ARGUMENTS) if name in TOOLS else None


def described(name: str) -> types.Tool:
    return types.Tool(
        name=name, description=f"Conformance fixture {name}.", input_schema=SCHEMAS.get(name, NO_ARGUMENTS)
    )


async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[described(name) for name in TOOLS])


async def call_tool(
    ctx: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f'No tool "{params.name}".')
    return await TOOLS[params.name](ctx, params)


# --- Prompts and resources -----------------------------------------------------------------------------------------------

PROMPTS = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}


async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    prompts = [
        types.Prompt(
            name=name,
            description=f"Conformance fixture {name}.",
            arguments=[types.PromptArgument(name=argument, required=True) for argument in arguments],
        )
        for name, arguments in PROMPTS.items()
    ]
    return types.ListPromptsResult(prompts=prompts)


async def get_prompt(
    ctx: Context, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    if params.name not in PROMPTS:
        raise MCPError(types.INVALID_PARAMS, f'No prompt "{params.name}".')
    if params.name in ROUNDS and (question := next_question(ctx, params.name, params)):
        return question
    messages = [
        {"role": "user", "content": content} for content in prompt_contents(params.name, params.arguments or {})
    ]
    return types.GetPromptResult.model_validate({"messages": messages})


def prompt_contents(name: str, arguments: Mapping[str, str]) -> list[dict[str, Any]]:
    match name:
        case "test_prompt_with_arguments":
            return [text(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
        case "test_prompt_with_embedded_resource":
            embedded = resource(arguments["resourceUri"], "text/plain", "Embedded resource content for testing.")
            return [embedded, text("Please process the embedded resource above.")]
        case "test_prompt_with_image":
            return [IMAGE, text("Please analyze the image above.")]
        case _:
            return [text("This is a simple prompt for testing.")]


RESOURCES = {
    "test://static-text": {
        "uri": "test://static-text",
        "mimeType": "text/plain",
        "text": "This is the content of the static text resource.",
    },
    "test://static-binary": {"uri": "test://static-binary", "mimeType": "image/png", "blob": PNG},
}


async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    return types.ListResourcesResult(
        resources=[types.Resource(uri=uri, name=uri, description="Conformance fixture.") for uri in RESOURCES]
    )


async def list_templates(
    ctx: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(uri_template="test://template/{id}/data", name="template")
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    if params.uri.startswith("test://template/"):
        number = params.uri.removeprefix("test://template/").removesuffix("/data")
        data = json.dumps({"id": number, "templateTest": True, "data": f"Data for ID: {number}"})
        contents = {"uri": params.uri, "mimeType": "application/json", "text": data}
    elif params.uri in RESOURCES:
        contents = RESOURCES[params.uri]
    else:
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": params.uri})
    return types.ReadResourceResult.model_validate({"contents": [contents]})


async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    return types.CompleteResult(completion=types.Completion(values=[]))


async def accept(ctx: Context, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


server: Server[Any] = Server(
    "conformance-fixtures",
    version="1.0.0",
    get_tool_input_schema=schema_of,
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_list_resources=list_resources,
    on_list_resource_templates=list_templates,
    on_read_resource=read_resource,
    on_subscribe_resource=accept,
    on_unsubscribe_resource=accept,
    on_completion=complete,
    on_set_logging_level=accept,
)
