"""Talks to a server with the Python SDK 1.30.0, in whose environment it runs: JSON lines in and out.

The first line out says what the server offers. Lines in: {"tool", "arguments"} or {"resource"}; each is answered with what
came, or with {"failed"}.
"""

import asyncio
import json
import sys
from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from pydantic import AnyUrl


async def answered(session: ClientSession, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        if "tool" in asked:
            result: Any = await session.call_tool(asked["tool"], asked["arguments"])
        else:
            result = await session.read_resource(AnyUrl(asked["resource"]))
    except Exception as problem:
        return {"failed": f"{type(problem).__name__}: {problem}"}
    return dict(result.model_dump(mode="json", by_alias=True))


async def converse(url: str) -> None:
    async with streamablehttp_client(url) as (read, write, _), ClientSession(read, write) as session:
        opened = await session.initialize()
        tools = await session.list_tools()
        offer = {
            "protocol_version": opened.protocolVersion,
            "server": opened.serverInfo.name,
            "tools": [tool.name for tool in tools.tools],
        }
        print(json.dumps(offer), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await answered(session, json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(converse(sys.argv[1]))
