"""An MCP server for Dynamics 365 Finance & Operations that runs as one Azure Function."""

__version__ = "1.0.0"
