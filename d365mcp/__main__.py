"""The operator's command: `python -m d365mcp --help`."""

import click

import d365mcp
from d365mcp.commands.calling import call_command, tools_command
from d365mcp.commands.catalog import catalog_group
from d365mcp.commands.checking import check_command


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


for each in (check_command, tools_command, call_command, catalog_group):
    main.add_command(each)

if __name__ == "__main__":
    main(prog_name="python -m d365mcp")
