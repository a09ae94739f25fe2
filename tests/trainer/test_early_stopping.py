"""The stop rule on traces whose answer is known by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.early_stopping import pseudo_label_map, stop_epoch

# Warm-up at epochs 0 and 1; the labels change before epoch 2, which costs fit: g = 20, -5, 8, 2, 3, 1.
TYPICAL = [50, 70, 65, 73, 75, 78, 79]


def test_typical_trace_fires_at_epoch_3() -> None:
    """The label update lowers g_2, so g_3 is the first rise: the paper keeps the minimum, the code the epoch after."""
    assert stop_epoch(TYPICAL, rule="paper", warmup_epochs=2) == 2
    assert stop_epoch(TYPICAL, rule="official", warmup_epochs=2) == 3


def test_fixed_rule_looks_past_the_label_update() -> None:
    """g_3 = 8 is the first difference on the updated labels, g_4 = 2 falls, g_5 = 3 rises."""
    assert stop_epoch(TYPICAL, rule="fixed", warmup_epochs=2) == 5


def test_rule_has_not_fired_before_its_epoch() -> None:
    """Called after every epoch; firing early would keep the warm-up's weights."""
    assert [stop_epoch(TYPICAL[:n], rule="official", warmup_epochs=2) for n in range(5)] == [None] * 4 + [3]


@pytest.mark.parametrize("rule", ["paper", "official", "fixed"])
def test_answer_never_changes_once_given(rule) -> None:
    answers = [stop_epoch(TYPICAL[:n], rule=rule, warmup_epochs=2) for n in range(len(TYPICAL) + 1)]
    given_answers = [answer for answer in answers if answer is not None]
    assert len(set(given_answers)) == 1
    assert answers[-len(given_answers) :] == given_answers


@given(
    st.lists(st.floats(0, 30), max_size=12),
    st.sampled_from(["paper", "official", "fixed"]),
    st.integers(0, 3),
)
def test_concave_history_never_fires(gains, rule, warmup_epochs) -> None:
    """The released script dies on such a history; here the caller falls back to the last epoch."""
    history = [0.0, *np.cumsum(np.round(sorted(gains, reverse=True)))]
    assert stop_epoch(history, rule=rule, warmup_epochs=warmup_epochs) is None


def test_first_difference_cannot_fire() -> None:
    """g_0 counts as 100 in the released code, so that even the steepest first rise is a fall of g."""
    assert stop_epoch([0, 99], rule="official", warmup_epochs=2) is None


def test_only_exact_ones_are_positive() -> None:
    """0.999 is a pseudo-label that CLIP was not certain of."""
    labels = np.array([[1.0], [0.999], [0.0]], np.float32)
    assert pseudo_label_map(np.array([[0.9], [0.8], [0.1]]), labels) == 100
    assert pseudo_label_map(np.array([[0.8], [0.9], [0.1]]), labels) == 50
