"""Five hundred drawn inputs: each gives finite numbers, or an error that names what is wrong."""

from collections import Counter

import pytest
from fuzz import ACCEPTED, REFUSED, Targets, outcome_of


@pytest.mark.usefixtures("one_thread")
def test_drawn_inputs_give_numbers_or_an_error_with_a_name(small_processor, tmp_path):
    targets = Targets(small_processor)
    outcomes = Counter(outcome_of(targets, seed, tmp_path) for seed in range(500))
    problems = sorted(set(outcomes) - {ACCEPTED, REFUSED})
    assert not problems, "\n".join(problems)
    assert outcomes[ACCEPTED] > 120 and outcomes[REFUSED] > 120, outcomes
