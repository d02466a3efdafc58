"""The operator's command: `python -m d365mcp --help`."""

import click

import d365mcp
from d365mcp.commands.calling import call, tools
from d365mcp.commands.catalog import catalog
from d365mcp.commands.checking import check


@click.group(epilog="Settings come from the environment, as on Azure: D365FO_BASE_URL, D365FO_AUTH and so on.")
@click.version_option(d365mcp.__version__, prog_name="d365mcp")
def main() -> None:
    """Looks after an MCP server for Dynamics 365 Finance & Operations.

    \b
    Examples:
      python -m d365mcp check
      python -m d365mcp tools
      python -m d365mcp call d365fo_search_entities '{"query": "customers"}'
      python -m d365mcp catalog build
    """


for each in (check, tools, call, catalog):
    main.add_command(each)

if __name__ == "__main__":
    main(prog_name="python -m d365mcp")
