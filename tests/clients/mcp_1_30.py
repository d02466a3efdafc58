"""Talks to a server with the Python SDK 1.30.0, in whose environment it runs; prints what it was told as JSON."""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def converse(url: str, calls: list[tuple[str, dict[str, object]]]) -> dict[str, object]:
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        opened = await session.initialize()
        tools = await session.list_tools()
        results = [await session.call_tool(name, arguments) for name, arguments in calls]
        return {
            "protocol_version": opened.protocolVersion,
            "server": opened.serverInfo.name,
            "tools": [tool.name for tool in tools.tools],
            "results": [result.model_dump(mode="json", by_alias=True) for result in results],
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(converse(sys.argv[1], json.loads(sys.argv[2])))))
