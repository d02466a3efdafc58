"""One SELECT over entity sets: pushed down where OData can, answered by DuckDB."""
