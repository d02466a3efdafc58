"""Finds entities, enumerations and actions by the words of a question. Performs no I/O beside SQLite."""
