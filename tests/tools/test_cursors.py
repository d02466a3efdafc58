"""Continuation cursors open only where, for the caller for which and while they should."""

import asyncio
import base64
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d365mcp.errors import InvalidCursor
from d365mcp.tools import cursors
from d365mcp.tools.cursors import CursorSeal

KEY, OTHER = b"k" * 32, b"o" * 32
STATE = {"entity": "CustomersV3", "position": [0, 0, ["usmf", "US-001"]], "name": "Zoë"}


def seal(*keys: bytes, environment: str = "https://contoso.operations.dynamics.com") -> CursorSeal:
    async def given_keys() -> tuple[bytes, ...]:
        return keys

    return CursorSeal(environment, given_keys)


def sealed(made_by: CursorSeal, caller: str = "june") -> str:
    return asyncio.run(made_by.seal(STATE, caller))


def opened(by: CursorSeal, cursor: str, caller: str = "june") -> dict[str, Any]:
    return asyncio.run(by.open(cursor, caller))


def test_a_cursor_gives_back_its_state() -> None:
    assert STATE.items() <= opened(seal(KEY), sealed(seal(KEY))).items()


def test_a_cursor_made_with_an_older_key_still_opens() -> None:
    assert opened(seal(OTHER, KEY), sealed(seal(KEY)))["entity"] == "CustomersV3"


def test_a_cursor_tells_nothing_of_its_query() -> None:
    cursor = sealed(seal(KEY))
    assert b"Customers" not in base64.urlsafe_b64decode(cursor + "==")


@pytest.mark.parametrize(
    ("opener", "caller"),
    [
        (seal(OTHER), "june"),
        (seal(KEY), "jodi"),
        (seal(KEY, environment="https://other.operations.dynamics.com"), "june"),
    ],
    ids=["another key", "another caller", "another environment"],
)
def test_a_foreign_cursor_is_refused(opener: CursorSeal, caller: str) -> None:
    with pytest.raises(InvalidCursor, match="was not made here"):
        opened(opener, sealed(seal(KEY)), caller)


@given(place=st.integers(0, 1_000), change=st.integers(1, 255))
def test_a_changed_cursor_is_refused(place: int, change: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(sealed(seal(KEY)) + "=="))
    raw[place % len(raw)] ^= change
    with pytest.raises(InvalidCursor):
        opened(seal(KEY), base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(st.text(max_size=200))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor, match="Run the query again"):
        opened(seal(KEY), text)


def test_a_cursor_is_outdated_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = sealed(seal(KEY))
    later = time.time() + cursors.LIFETIME_SECONDS + 1
    monkeypatch.setattr("d365mcp.tools.cursors.time.time", lambda: later)
    with pytest.raises(InvalidCursor, match="outdated"):
        opened(seal(KEY), cursor)
