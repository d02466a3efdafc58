"""Finds settings that are misspelt: nobody reads them, so a limit one of them sets would silently not hold.

Only what is meant for this server may be called wrong. The platform, Kubernetes and other programs have variables of
their own, some with our prefixes: Kubernetes describes a service named `mcp` by `MCP_PORT` and its like.
"""

import re
from collections.abc import Mapping, Sequence
from os.path import commonprefix

OURS = ("mcp_", "d365fo_")
# Those of the platform's names that an operator writes.
WRITTEN = (*OURS, "azurewebjobsstorage", "applicationinsights_", "azure_")
SERVICE_LINK = re.compile(r"\w+_(service_(host|port(_\w+)?)|port(_\d+_(tcp|udp)(_(proto|port|addr))?)?)")

# How alike two names are, by difflib's ratio, under our own prefixes: `MCP_TIMEOUT`, which Claude Code has, and
# `MCP_REQUEST_TIMEOUT` are 0.73, `D365FO_URL` and `D365FO_BASE_URL` 0.8.
MEANT = 0.8
HINT = 0.7
# Under other prefixes only a slip of so many letters in one place counts: the platform's table and blob service are four apart.
SLIP = 2


def misspelt(variables: Mapping[str, str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a sentence for each name that is certainly a misspelt setting, and for each that may be. Without values."""
    folded = {_fold(name): name for name in known}
    written = [name for name in folded if name.startswith(WRITTEN)]
    wrong, odd = [], []
    for name in sorted(set(variables).difference(known)):
        if name[:1] not in "MDAmda" or not variables[name].strip():  # skips most of the platform's names
            continue
        plain = _fold(name)
        if _read_by_the_host(name, folded.get(plain, "")) or SERVICE_LINK.fullmatch(plain):
            continue
        ours = plain.startswith(OURS)
        close, meant = _closest(plain, written) if ours else (_slip_of(plain, written), True)
        message = f"{name[:80]} is not a setting of this server" + (
            f": did you mean {folded[close]}?" if close else "."
        )
        if close and meant:
            wrong.append(message)
        elif ours:
            odd.append(message)
    return wrong, odd


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _read_by_the_host(name: str, known: str) -> bool:
    """Return whether a name is one of the Functions host's, which it and we read whatever their case."""
    return known.startswith("Azure") and known.lower() == name.lower()


def _slip_of(name: str, written: Sequence[str]) -> str:
    """Return the name that was meant, but for a slip in one place; nothing where there is none."""
    return next((each for each in written if abs(len(each) - len(name)) <= SLIP and _is_slip(name, each)), "")


def _is_slip(name: str, meant: str) -> bool:
    start = len(commonprefix((name, meant)))
    end = len(commonprefix((name[start:][::-1], meant[start:][::-1])))
    return max(len(name), len(meant)) - start - end <= SLIP


def _closest(name: str, written: Sequence[str]) -> tuple[str, bool]:
    """Return the name most like one under our own prefixes, and whether it must be meant; nothing where none is like it."""
    from difflib import SequenceMatcher  # seldom needed

    alike = {each: SequenceMatcher(a=each, b=name, autojunk=False).ratio() for each in written}
    best = max(alike, key=lambda each: alike[each])
    return (best if alike[best] >= HINT else ""), alike[best] >= MEANT
