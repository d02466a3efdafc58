"""Reads an ordinary OData filter into a tree; knows the grammar, but no entity. Performs no I/O.

https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part2-url-conventions.html#sec_SystemQueryOptionfilter
"""

from d365mcp.d365.filters import Expression


def parse_filter(text: str) -> Expression:
    """Return what a filter says. Raises InvalidArgument with the place and the mend."""
    raise NotImplementedError
