"""How F&O's types stand in DuckDB. Pure."""

from d365mcp.d365.models import EntityProperty

# X++'s real is numeric(32,6) in F&O's database, and a sum of many needs room.
DECIMAL = "DECIMAL(38,6)"
DATES = frozenset({"DATE", "TIMESTAMP"})
NUMBERS = frozenset({DECIMAL, "INTEGER", "BIGINT"})
BY_TYPE = {
    "Edm.Decimal": DECIMAL,
    "Edm.Double": "DOUBLE",
    "Edm.Single": "DOUBLE",
    "Edm.Byte": "INTEGER",
    "Edm.Int16": "INTEGER",
    "Edm.Int32": "INTEGER",
    "Edm.Int64": "BIGINT",
    "Edm.Boolean": "BOOLEAN",
}


def column_type(prop: EntityProperty) -> str:
    """Return the DuckDB type: enumerations are their member's name, a Date loses its noon."""
    if prop.type_name == "Edm.DateTimeOffset":
        return "DATE" if prop.data_type == "Date" else "TIMESTAMP"
    return BY_TYPE.get(prop.type_name, "VARCHAR")
