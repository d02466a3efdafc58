"""The process that DuckDB runs in. Imports the standard library, itself and DuckDB's own half, nothing else of ours."""
