"""What the callers wrote and were told of it, held against what F&O has in the end. Performs no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# An answer with this code leaves open what became of a write; any other failure says that nothing was done.
OPEN = "outcome_unknown"


@dataclass
class Order:
    """One sales order, known by the customer's reference, since F&O numbers it."""

    reference: str
    created: str = "open"  # "done", "refused" or "open"
    deleted: str = ""  # "done", "refused", "open", or nothing while nobody tried
    key: Mapping[str, Any] | None = None
    version: int = 0  # the last one sent
    told: int = 0  # the last one that was acknowledged
    open: set[int] = field(default_factory=set)  # those sent since, of which nobody knows

    @property
    def settled(self) -> bool:
        return self.created == "done" and not self.deleted

    def name(self) -> str:
        return f"v{self.version}"


def outcome(code: str | None) -> str:
    """Return what an answer says of a write, by its error code."""
    return "done" if code is None else "open" if code == OPEN else "refused"


def findings(orders: Iterable[Order], found: Mapping[str, list[str]]) -> list[str]:
    """Return what F&O's records, as names by reference, contradict."""
    return [f"{order.reference}: {told}" for order in orders if (told := wrong(order, found.get(order.reference, [])))]


def wrong(order: Order, names: list[str]) -> str:
    if len(names) > 1:
        return f"was created {len(names)} times"
    if order.created == "refused" and names:
        return "was created, and its caller told that it was not"
    if order.created == "done" and not names and order.deleted not in ("done", "open"):
        return (
            "was acknowledged and is lost" if not order.deleted else "was deleted, and its caller told that it was not"
        )
    if order.deleted == "done" and names:
        return "was acknowledged as deleted and is there"
    if names and order.created == "done":
        return wrong_version(order, names[0])
    return ""


def wrong_version(order: Order, name: str) -> str:
    possible = {f"v{version}" for version in order.open} | ({f"v{order.told}"} if order.told else set())
    if order.told and name not in possible:
        return f"is at {name}, after {order.told} was acknowledged"
    if not order.told and name.startswith("v") and name not in possible:
        return f"is at {name}, which its caller was told had failed"
    return ""
