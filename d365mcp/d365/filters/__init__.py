"""Filters: ordinary OData read into a tree, translated for one entity, written in F&O's dialect. Performs no I/O."""
