"""Hashes records' keys with a key of our own: who reads telemetry alone cannot find out a record by trying its likely keys."""

import hmac
import logging
import time
from collections.abc import Callable

from d365mcp.errors import D365McpError

log = logging.getLogger(__name__)

# After the key could not be read, so long no other try: each waits for the storage.
PAUSE_SECONDS = 60.0


class KeyedHash:
    """Turns a digest into what is stored. `read` returns the key and blocks: call this from telemetry's own thread."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self.read = read
        self.key: bytes | None = None
        self.paused_until = 0.0

    def __call__(self, digest: str) -> str | None:
        """Return the same for the same digest; None while the key cannot be read, for any other would mislead."""
        if self.key is None and time.monotonic() >= self.paused_until:
            self.fetch()
        return hmac.digest(self.key, digest.encode(), "sha256").hex()[:16] if self.key else None

    def fetch(self) -> None:
        try:
            self.key = self.read()
        except Exception as problem:  # whatever it is, the rest of telemetry is sent
            self.paused_until = time.monotonic() + PAUSE_SECONDS
            detail = problem.message if isinstance(problem, D365McpError) else type(problem).__name__
            log.warning("The audit leaves out hashes of keys: their own key cannot be read. %s", detail)
