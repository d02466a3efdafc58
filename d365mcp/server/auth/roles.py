"""Roles: what each allows, and which a caller holds. Pure.

They are app roles of Entra, or scopes of the same names: `D365.Read`, `D365.Write`, `D365.Admin`, each including those
before it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

READ, WRITE, ADMIN = ROLES = ("D365.Read", "D365.Write", "D365.Admin")


def role_for(toolset: str, *, read_only: bool) -> str:
    """Return the role a tool needs. What affects all instances and users is for administrators."""
    if toolset == "admin" or (toolset == "performance" and not read_only):
        return ADMIN
    return READ if read_only else WRITE


def leaves_d365_alone(toolset: str) -> bool:
    """Return whether a toolset never writes to F&O: its tools write to statistics and the catalog at most."""
    return toolset in ("performance", "admin")


def roles_of(claims: Mapping[str, Any], *, required: bool) -> frozenset[str]:
    """Return the roles of a caller: scopes say what the client may do for them, app roles what they may do themselves.

    Where both are in use the lesser counts; scopes of other names, such as `user_impersonation`, limit nothing. Where
    roles are `required`, or the token shows that there are some, who holds none of ours may do nothing.
    """
    listed = claims.get("roles")
    scopes, roles = _ranks(str(claims.get("scp", "")).split()), _ranks(listed if isinstance(listed, list) else ())
    if not roles and (required or listed):
        return frozenset()
    used = [each for each in (scopes, roles) if each]
    return frozenset(ROLES[: min(max(each) for each in used)]) if used else frozenset()


def _ranks(names: Iterable[Any]) -> list[int]:
    """Return how far each known role reaches: 1 for reading, 3 for everything."""
    return [ROLES.index(name) + 1 for name in names if name in ROLES]
