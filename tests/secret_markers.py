"""Secrets that can be told from all else, and the search for them in what leaves a process.

The whole suite runs under it (`conftest.py`): what tests print and log, what hosts answer and log, what tools return.
"""

import re
from typing import Any

MARK = "7f3a9c1e5b"
SECRETS = {
    "a token": re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a storage key": re.compile(r"AccountKey=\S|Eby8vdM02xNOcq"),
    "the simulator's identity header": re.compile("simulated-identity-secret"),
    "a canary": re.compile(rf"canary-[\w-]+-{MARK}"),
}


def canary(name: str) -> str:
    """Return a secret by whose name a leak is found."""
    return f"canary-{name}-{MARK}"


def leaks(text: str) -> list[str]:
    """Return which secrets a text shows, without showing them again."""
    return [
        f"{kind} ({found[0][:24]}…)" for kind, pattern in SECRETS.items() if (found := pattern.search(text)) is not None
    ]


def refuse_secrets(text: Any, where: str) -> None:
    """Fail where a secret stands in what left a process."""
    assert not (found := leaks(str(text))), f"{where} shows {', '.join(found)}"
