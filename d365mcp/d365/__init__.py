"""F&O as plain async Python; knows no MCP."""
