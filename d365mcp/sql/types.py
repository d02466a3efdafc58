"""How F&O's types stand in DuckDB. Pure."""

from d365mcp.d365.models import EntityProperty

BY_TYPE = {
    "Edm.Decimal": "DOUBLE",
    "Edm.Double": "DOUBLE",
    "Edm.Int32": "INTEGER",
    "Edm.Int64": "BIGINT",
    "Edm.Boolean": "BOOLEAN",
}


def column_type(prop: EntityProperty) -> str:
    """Return the DuckDB type: enumerations are their member's name, a Date loses its noon."""
    if prop.type_name == "Edm.DateTimeOffset":
        return "DATE" if prop.data_type == "Date" else "TIMESTAMP"
    return BY_TYPE.get(prop.type_name, "VARCHAR")


def cast(prop: EntityProperty) -> str:
    """Return the SQL that turns a value as F&O sends it into its column; only empty dates become NULL."""
    kind = column_type(prop)
    value = f'r."{prop.name}"'
    if kind in ("DATE", "TIMESTAMP"):
        # F&O has no null dates, an empty one is 1900-01-01; text is cut to the second, whatever its fraction.
        return f"CASE WHEN {value} NOT LIKE '1900-01-01%' THEN CAST(left({value}, 19) AS TIMESTAMP)::{kind} END"
    return value


def arriving_type(prop: EntityProperty) -> str:
    """Return the type a value has in F&O's JSON."""
    kind = column_type(prop)
    return "VARCHAR" if kind in ("DATE", "TIMESTAMP") else kind
