"""What exists in an environment, and how to find it."""
