"""What is told of writes agrees with F&O's log, and the bookkeeping tells when it does not."""

import pytest

from tests.endurance.writes import Claim, contradiction, run, times_done

TRACE = "0123456789abcdef0123456789abcdef"


@pytest.mark.once
def test_no_write_is_told_wrongly_while_requests_and_replies_get_lost() -> None:
    assert run(250, seed=11) == []


@pytest.mark.parametrize(
    ("outcome", "times", "may_repeat", "wrong"),
    [
        ("done", 1, False, ""),
        ("failed", 0, False, ""),
        ("failed", 0, True, ""),
        ("not run", 0, False, ""),
        ("unknown", 0, False, ""),
        ("unknown", 1, False, ""),
        ("done", 0, False, "was not"),
        ("done", 2, False, "2 times"),
        ("unknown", 2, False, "2 times"),
        ("failed", 1, False, "told as not"),
        ("not done", 1, False, "told as not"),
        ("not run", 1, False, "told as not"),
        ("unknown", 1, True, "worth repeating"),
    ],
)
def test_a_contradiction_is_seen(outcome: str, times: int, wrong: str, *, may_repeat: bool) -> None:
    found = contradiction(Claim(TRACE, 0, outcome, may_repeat, ""), times)
    assert bool(found) == bool(wrong)
    assert wrong in found


def test_the_log_tells_how_often_each_write_was_done() -> None:
    headers = {"traceparent": f"00-{TRACE}-0123456789abcdef-01"}
    throttled = {"method": "POST", "headers": headers, "done": None}
    sent = {"method": "POST", "headers": headers, "done": True}
    parts = [{"content_id": "1", "done": False}, {"content_id": "2", "done": True}]
    read = {"method": "GET", "headers": headers, "done": True}
    assert times_done([throttled, sent, read]) == {(TRACE, 0): 1}
    assert +times_done([{**sent, "parts": parts}]) == {(TRACE, 2): 1}
