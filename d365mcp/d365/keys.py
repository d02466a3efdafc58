"""Key predicates: which one record a URL names. Performs no I/O."""

from collections.abc import Mapping
from typing import Any

from d365mcp.d365.models import DataEntity


def key_predicate(entity: DataEntity, key: Mapping[str, Any]) -> str:
    """Return the key as it stands in a URL after the entity set, parentheses and all, percent-encoded once.

    Raises InvalidArgument naming all parts that are missing, unknown or wrong.
    """
    raise NotImplementedError
