"""Four rules for the score from which on a class is present."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from trainer.thresholds import RULES, Evidence, expected_counts, thresholds

SCORES = arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.floats(0, 1, width=32))


def evidence(scores: np.ndarray, expected: object = 1.0, reviewed: np.ndarray | None = None) -> Evidence:
    said = np.full(scores.shape, -1, np.int8) if reviewed is None else reviewed
    return Evidence(scores, np.broadcast_to(np.asarray(expected, float), scores.shape[1]), said)


@given(SCORES, st.integers(0, 40))
def test_prior_matching_comes_as_near_to_the_expected_number_as_it_can(scores: np.ndarray, expected: int) -> None:
    """Would fail if ties or an off-by-one gave a class more or fewer images than another threshold could."""
    found = thresholds("prior", evidence(scores, expected))
    for scores_N, threshold in zip(scores.T.astype(float), found, strict=True):
        distance = abs((scores_N >= threshold).sum() - expected)
        assert distance == min(abs((scores_N >= other).sum() - expected) for other in scores_N)


def test_expected_counts_are_clip_s_without_its_bias() -> None:
    probs = np.array([[0.8, 0.2], [0.4, 0.6], [np.nan, np.nan]], np.float32)
    np.testing.assert_allclose(expected_counts(probs, np.array([0.8, 0.4])), [1.5, 1.5], rtol=1e-6)


def test_otsu_separates_two_groups_in_the_middle_of_the_gap() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.normal(0.15, 0.03, 900), rng.normal(0.75, 0.03, 100)
    (threshold,) = thresholds("otsu", evidence(np.concatenate([low, high])[:, None]))
    assert low.max() < threshold < high.min()
    assert threshold == pytest.approx((low.max() + high.min()) / 2, abs=0.01)


def test_without_two_groups_the_threshold_stays_a_half() -> None:
    for rule in ("otsu", "fixed"):
        assert thresholds(rule, evidence(np.full((10, 2), 0.3))).tolist() == [0.5, 0.5]


@given(arrays(np.float32, (60, 2), elements=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.6, 0.9, 1.0])), st.integers(0, 99))
def test_reviewed_images_give_the_best_f1(scores: np.ndarray, seed: int) -> None:
    """Would fail if a better threshold existed, or a class that nobody saw got one from nothing."""
    said = np.random.default_rng(seed).integers(-1, 2, scores.shape).astype(np.int8)
    said[:, 1][said[:, 1] == 1] = 0
    said[:, 1][0] = 0
    said[(said < 0).all(axis=1), 0] = 0
    found = thresholds("reviewed", evidence(scores, reviewed=said))
    known = said[:, 0] >= 0
    measured = [
        f1_score(said[known, 0], scores[known, 0] >= threshold, zero_division=0)
        for threshold in (found[0], *np.unique(scores[known, 0]))
    ]
    if (said[:, 0] == 1).any():
        assert measured[0] == pytest.approx(max(measured))
    assert found[1] == 0.5


def test_few_reviewed_images_are_refused() -> None:
    said = np.full((60, 1), -1, np.int8)
    said[:49] = 1
    with pytest.raises(ValueError, match="50 reviewed images, and there are 49"):
        thresholds("reviewed", evidence(np.zeros((60, 1)), reviewed=said))


@given(SCORES)
def test_images_without_labels_have_no_say(scores: np.ndarray) -> None:
    for rule in RULES[:3]:
        with_gap = np.concatenate([scores, np.full((1, scores.shape[1]), np.nan, np.float32)])
        np.testing.assert_array_equal(thresholds(rule, evidence(scores)), thresholds(rule, evidence(with_gap)))
