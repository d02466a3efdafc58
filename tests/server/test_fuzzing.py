"""The first requests of the fuzzer; `python -m tests.endurance.fuzzing` sends all of them."""

import pytest

from tests.endurance.fuzzing import attack
from tests.simulated import Simulator


@pytest.mark.once
def test_whatever_is_sent_gets_one_answer_that_is_no_failure_of_the_server_and_leaves_nothing_behind(
    simulator: Simulator,
) -> None:
    judge, _, _ = attack(simulator, 200, number=11)
    assert sum(judge.counts.values()) >= 200
    assert judge.counts["200 result"] >= 40  # not all of them are refused at the door
