"""Keeps what this version leaves for others to read: cursors in clients' hands, a catalog in the storage.

    python -m tests.versions.freeze

Run it once a format has changed: the folder is named after both formats, and those of earlier versions stay as they are for
as long as an update may meet them.
"""

import asyncio
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from d365mcp.metadata import snapshot
from d365mcp.tools import cursors
from d365mcp.tools.cursors import CursorSeal
from tests.served import Served, build_catalog, serving
from tests.simulated import Simulator

HERE = Path(__file__).parent
KEY = "a key that only these samples know"
ENVIRONMENT, CALLER = "https://contoso.operations.dynamics.com", "anonymous"
SETTINGS = {"MCP_CURSOR_KEY": KEY, "MCP_MAX_RESULT_CHARS": "2000"}
ITEMS: dict[str, Any] = {
    "entitySet": "Items",
    "publicEntityName": "Item",
    "keys": ["dataAreaId", "Id"],
    "properties": [
        {"name": "dataAreaId", "edmType": "Edm.String"},
        {"name": "Id", "edmType": "Edm.String"},
        {"name": "Color", "edmType": "Microsoft.Dynamics.DataEntities.Color"},
        {"name": "Since", "edmType": "Edm.DateTimeOffset", "dataType": "Date"},
    ],
}
COLORS = {"name": "Color", "members": [{"name": "None"}, {"name": "Red", "position": 5}]}
WORLD: dict[str, Any] = {"default_company": "usmf", "entities": [ITEMS], "enumerations": [COLORS]}
QUERIES: list[dict[str, Any]] = [
    {"entity_name": "CustomersV3"},
    {"entity_name": "CustomersV3", "top": 300, "select": ["CustomerAccount"], "count": True},
    {"entity_name": "CustomersV3", "order_by": ["CustomerAccount desc"], "cross_company": True},
    {"entity_name": "CustomersV3", "filter": "CreditLimit ge 0", "company": "usmf", "skip": 1},
]


def seal(environment: str = ENVIRONMENT) -> CursorSeal:
    async def keys() -> tuple[bytes, ...]:
        return (KEY.encode(),)

    return CursorSeal(environment, keys)


def cursors_of(served: Served) -> list[dict[str, Any]]:
    """Return, for each query, what the cursor of its first page holds, and that sealed."""
    kept = []
    for query in QUERIES:
        cursor = served.call("query_entities", **query)["next_cursor"]
        state = asyncio.run(seal(served.simulator.base_url).open(cursor, CALLER))
        kept.append({"query": query, "state": state, "sealed": asyncio.run(seal().seal(state, CALLER))})
    return kept


def catalog_of(simulator: Simulator, folder: Path) -> Path:
    """Build a catalog, and return the folder that other instances would read it from."""
    build_catalog(simulator, folder)
    return next(folder.rglob("pointer.json")).parent


def main() -> None:
    kept = HERE / f"cursor-{cursors.FORMAT}-catalog-{snapshot.SNAPSHOT_FORMAT}"
    kept.mkdir()
    simulator = Simulator.start()
    with serving(simulator, **SETTINGS) as served:
        (kept / "cursors.json").write_text(json.dumps(cursors_of(served), indent=1) + "\n")
    simulator.stop()
    simulator = Simulator.start(WORLD)
    with tempfile.TemporaryDirectory() as folder:
        built = catalog_of(simulator, Path(folder))
        for path in built.glob("*.json"):
            (kept / path.name).write_bytes(path.read_bytes())
        [database] = built.glob("*.sqlite")
        (kept / "catalog.sqlite.gz").write_bytes(gzip.compress(database.read_bytes(), mtime=0))
    simulator.stop()


if __name__ == "__main__":
    main()
