"""Connects agent frameworks to a server, in an environment where they are installed; knows nothing of this project.

Prints, for each framework, what its model would get of each tool, and what came back from one call.
"""

import asyncio
import json
import sys
from typing import Any

CALLED = "d365fo_query_entities"


async def google_genai(url: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from google.genai import _mcp_utils
    from mcp import Client

    async with Client(url, mode="legacy") as client:
        tools = (await client.list_tools()).tools
        answer = await client.call_tool(CALLED, arguments)
    declared = [each.function_declarations[0] for each in _mcp_utils.mcp_to_gemini_tools(tools)]
    schemas = {each.name: each.parameters.model_dump(mode="json", exclude_none=True) for each in declared}
    return {"schemas": schemas, "answer": answer.content[0].text}


async def openai_agents(url: str, arguments: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    from agents.mcp import MCPServerStreamableHttp, MCPUtil

    async with MCPServerStreamableHttp({"url": url}, client_session_timeout_seconds=60) as server:
        tools = [MCPUtil.to_function_tool(tool, server, strict) for tool in await server.list_tools()]
        answer = await server.call_tool(CALLED, arguments)
    return {
        "schemas": {tool.name: tool.params_json_schema for tool in tools},
        "strict": [tool.name for tool in tools if tool.strict_json_schema],
        "answer": answer.content[0].text,
    }


async def openai_agents_strict(url: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return await openai_agents(url, arguments, strict=True)


async def openai_agents_loose(url: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return await openai_agents(url, arguments, strict=False)


async def pydantic_ai(url: str, arguments: dict[str, Any], transformer: Any) -> dict[str, Any]:
    from pydantic_ai.mcp import MCPToolset

    async with MCPToolset(url) as toolset:
        tools = await toolset.list_tools()
        answer = await toolset.direct_call_tool(CALLED, arguments)
    schemas = {tool.name: transformer(tool.input_schema, strict=None).walk() for tool in tools}
    return {"schemas": schemas, "answer": json.dumps(answer)}


async def pydantic_ai_for_openai(url: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer

    return await pydantic_ai(url, arguments, OpenAIJsonSchemaTransformer)


async def pydantic_ai_for_google(url: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from pydantic_ai.profiles.google import GoogleJsonSchemaTransformer

    return await pydantic_ai(url, arguments, GoogleJsonSchemaTransformer)


async def langchain(url: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from langchain_core.utils.function_calling import convert_to_openai_tool
    from langchain_mcp_adapters.client import MultiServerMCPClient

    client = MultiServerMCPClient({"d365fo": {"url": url, "transport": "streamable_http"}})
    tools = {tool.name: tool for tool in await client.get_tools()}
    answer = await tools[CALLED].ainvoke(arguments)
    schemas = {name: convert_to_openai_tool(tool)["function"]["parameters"] for name, tool in tools.items()}
    return {"schemas": schemas, "answer": answer[0]["text"]}


async def semantic_kernel(url: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from semantic_kernel import Kernel
    from semantic_kernel.connectors.ai.function_calling_utils import kernel_function_metadata_to_function_call_format
    from semantic_kernel.connectors.mcp import MCPStreamableHttpPlugin

    kernel = Kernel()
    async with MCPStreamableHttpPlugin(name="d365fo", url=url) as plugin:
        kernel.add_plugin(plugin)
        answer = await plugin.call_tool(CALLED, **arguments)
        functions = kernel.get_full_list_of_function_metadata()
    formats = {each.name: kernel_function_metadata_to_function_call_format(each)["function"] for each in functions}
    schemas = {name: each["parameters"] for name, each in formats.items() if name.startswith("d365fo_")}
    return {"schemas": schemas, "answer": answer[0].text}


async def main(url: str, arguments: dict[str, Any], names: list[str]) -> None:
    print(json.dumps({name: await globals()[name](url, arguments) for name in names}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]))
