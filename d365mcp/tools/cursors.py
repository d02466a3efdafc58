"""Continuation cursors: a query's state, sealed so that only this server, this environment and this caller can open it.

AES-256-GCM with a key derived from MCP_CURSOR_KEY (or the key all instances share); the environment and the caller are
authenticated with it, so a cursor of another environment or another person is as void as a tampered one.
"""

import base64
import binascii
import hashlib
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d365mcp.errors import InvalidCursor
from d365mcp.wire import read_json, write_json

FORMAT = 1
LIFETIME_SECONDS = 24 * 3600
NONCE_BYTES = 12
MAX_CHARS = 64_000
MAX_STATE_BYTES = 256_000
MEND = "Run the query again without a cursor."

CursorKeys = Callable[[], Awaitable[Sequence[bytes]]]


@dataclass(frozen=True)
class CursorSeal:
    """Seals and opens cursors. `keys` gives the keys, newest first: the first seals, all open."""

    environment_url: str
    keys: CursorKeys

    async def seal(self, state: Mapping[str, Any], caller: str) -> str:
        """Return the state as opaque text, valid for a day on every instance that has the key."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # waits for its first use: cold start

        body = write_json({"v": FORMAT, "t": int(time.time()), **state})
        nonce = secrets.token_bytes(NONCE_BYTES)
        key = derived((await self.keys())[0])
        sealed = AESGCM(key).encrypt(nonce, zlib.compress(body), self.bound_to(caller))
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    async def open(self, cursor: str, caller: str) -> dict[str, Any]:
        """Return the state. Raises InvalidCursor when it is damaged, foreign or older than a day."""
        packed = await self.unsealed(cursor, caller)
        inflater = zlib.decompressobj()
        state: dict[str, Any] = read_json(inflater.decompress(packed, MAX_STATE_BYTES))
        if state.get("v") != FORMAT or time.time() - state.get("t", 0) > LIFETIME_SECONDS:
            raise InvalidCursor(f"This cursor is outdated. {MEND}")
        return state

    async def unsealed(self, cursor: str, caller: str) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        raw = decoded(cursor)
        for key in await self.keys():
            try:
                return AESGCM(derived(key)).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], self.bound_to(caller))
            except InvalidTag:
                continue
        raise InvalidCursor(f"This cursor was not made here, for you and this environment, or it was changed. {MEND}")

    def bound_to(self, caller: str) -> bytes:
        return f"d365mcp cursor\n{self.environment_url}\n{caller}".encode()


def decoded(cursor: str) -> bytes:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) <= NONCE_BYTES + 16 or len(cursor) > MAX_CHARS:
        raise InvalidCursor(f"This is not a cursor, or only part of one: give next_cursor unchanged. {MEND}")
    return raw


def derived(key: bytes) -> bytes:
    """Return 256 bits from a key of any length."""
    return hashlib.sha256(b"d365mcp cursor key\n" + key).digest()
