"""A small Finance & Operations over HTTP, with its token endpoint: for the tests, and for a first run without a tenant.

It speaks to the project over loopback alone and imports nothing of it, so that a mistake cannot agree with itself.
"""
