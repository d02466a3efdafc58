"""What Azure knows of its resource types: the kept copy of Microsoft's own type data (fetch_types.py makes it)."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

CACHE = Path(__file__).with_name("azure_types.json.gz")


@cache
def resource_types() -> dict[str, dict[str, Any]]:
    """Return each resource type by its name in lower case, as Azure compares them.

    {"name", "version", "scopes": where it may be deployed, "types": {name: {"properties": {name: {"type", "required",
    "read_only"}}, "others": type of all others} or {"by": property, "one_of": {its value: type}}}}; the body is the type
    named "".
    """
    known = json.loads(gzip.decompress(CACHE.read_bytes()))
    return {name.lower(): {"name": name, **each} for name, each in known.items()}


def write(types: dict[str, Any]) -> None:
    """Keep type data; the same data makes the same bytes."""
    text = json.dumps(types, separators=(",", ":"), sort_keys=True)
    CACHE.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
