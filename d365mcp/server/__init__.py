"""MCP: one JSON-RPC message in, one reply out."""
