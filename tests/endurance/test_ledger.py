"""The endurance run's bookkeeping tells each kind of wrong answer from what may happen."""

import pytest

from tests.endurance.ledger import Order, findings


@pytest.mark.parametrize(
    ("order", "names", "told"),
    [
        (Order("a", "done"), ["Owl Wholesales"], ""),
        (Order("a", "open"), [], ""),
        (Order("a", "open"), ["Owl Wholesales"], ""),
        (Order("a", "refused"), [], ""),
        (Order("a", "done", "done"), [], ""),
        (Order("a", "done", "open"), [], ""),
        (Order("a", "done", "open"), ["Owl Wholesales"], ""),
        (Order("a", "done", told=2, open={3}), ["v2"], ""),
        (Order("a", "done", told=2, open={3}), ["v3"], ""),
        (Order("a", "done", open={1}), ["Owl Wholesales"], ""),
        (Order("a", "open"), ["Owl Wholesales", "Owl Wholesales"], "2 times"),
        (Order("a", "done"), [], "lost"),
        (Order("a", "refused"), ["Owl Wholesales"], "told that it was not"),
        (Order("a", "done", "refused"), [], "was deleted"),
        (Order("a", "done", "done"), ["Owl Wholesales"], "is there"),
        (Order("a", "done", told=2, open={3}), ["v1"], "after 2"),
        (Order("a", "done", told=0, open={2}), ["v1"], "had failed"),
    ],
)
def test_what_was_told_is_held_against_what_is_there(order: Order, names: list[str], told: str) -> None:
    found = findings([order], {"a": names} if names else {})
    assert bool(found) == bool(told)
    assert told in "".join(found)
