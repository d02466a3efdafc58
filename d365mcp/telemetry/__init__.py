"""Events to Application Insights, and the statistics read back from it."""
