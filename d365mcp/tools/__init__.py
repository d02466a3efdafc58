"""All tools on offer, listed by hand."""

from d365mcp.tools.tool import Tool

ALL_TOOLS: tuple[Tool, ...] = ()
