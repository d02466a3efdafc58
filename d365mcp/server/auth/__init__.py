"""Who calls, and what they may do: roles, callers, tokens, Entra, the façade, discovery documents."""
