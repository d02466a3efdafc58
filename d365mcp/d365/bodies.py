"""What F&O accepts in the body of a create or an update. Performs no I/O."""

from collections.abc import Mapping
from typing import Any

from d365mcp.d365.models import DataEntity


def check_body(record: Mapping[str, Any], entity: DataEntity, *, creating: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the body F&O takes, names and types put right, and a note per change.

    Raises InvalidArgument with all problems at once.
    """
    raise NotImplementedError
