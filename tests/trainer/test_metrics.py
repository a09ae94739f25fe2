"""Average precision against scikit-learn, against Pascal VOC's definition, and on published scores."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from trainer.metrics import average_precisions, mean_average_precision

SEEDS = st.integers(0, 2**32)
SHARED_DATA = Path(os.environ.get("CCD_SHARED_DATA") or Path(__file__).parents[3] / "shared" / "data")


def random_case(seed: int, num_images: int, lowest: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((num_images, 4)).round(1), rng.integers(lowest, 2, (num_images, 4))  # rounded: many ties


@given(SEEDS, st.integers(2, 60))
def test_equals_scikit_learn(seed: int, num_images: int) -> None:
    scores, targets = random_case(seed, num_images)
    expected = [average_precision_score(t, s) if t.any() else 0 for s, t in zip(scores.T, targets.T, strict=True)]
    np.testing.assert_allclose(average_precisions(scores, targets), expected, rtol=1e-12)


@given(SEEDS, st.integers(2, 60), st.sampled_from(["sklearn", "voc"]))
def test_ignored_entries_change_nothing(seed, num_images, kind) -> None:
    """Difficult objects must count neither as hits nor as false alarms, whatever their score."""
    scores, targets = random_case(seed, num_images, lowest=-1)
    other = np.where(targets == -1, 7.0, scores)
    np.testing.assert_array_equal(
        average_precisions(scores, targets, kind=kind), average_precisions(other, targets, kind=kind)
    )


def test_class_without_a_positive_counts_zero_and_stays_in_the_mean() -> None:
    """The paper's protocol; leaving the class out would raise every published figure."""
    scores, targets = np.array([[0.9, 0.9], [0.1, 0.1]]), np.array([[1, 0], [0, 0]])
    assert average_precisions(scores, targets).tolist() == [1, 0]
    assert mean_average_precision(scores, targets) == 50


@pytest.mark.filterwarnings("error")
def test_class_of_ignored_entries_alone_counts_zero() -> None:
    assert mean_average_precision(np.array([[0.5], [0.2]]), np.array([[-1], [-1]])) == 0


def test_voc_worked_example() -> None:
    """Ranked hits 1 0 1 0 0 1: precisions at hits 1, 2/3, 1/2; a late rise lifts what comes before it."""
    scores, targets = np.arange(6, 0, -1)[:, None], np.array([1, 0, 1, 0, 0, 1])[:, None]
    assert average_precisions(scores, targets, kind="voc")[0] == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    targets = np.array([0, 1, 1, 0, 0, 0])[:, None]  # precisions 1/2, 2/3: the envelope is 2/3 for both
    assert average_precisions(scores, targets, kind="voc")[0] == pytest.approx(2 / 3)
    assert average_precisions(scores, targets)[0] == pytest.approx((1 / 2 + 2 / 3) / 2)


@given(SEEDS, st.integers(2, 60))
def test_voc_is_never_below_the_uninterpolated_figure(seed, num_images) -> None:
    scores, targets = random_case(seed, num_images)
    assert (average_precisions(scores, targets, kind="voc") >= average_precisions(scores, targets) - 1e-12).all()


def test_float32_logits_are_not_rounded_together() -> None:
    """Saturated float32 probabilities tie; the logits that they come from still rank."""
    logits = np.array([[20.0], [25.0], [-3.0]], np.float32)
    targets = np.array([[0], [1], [0]])
    assert mean_average_precision(logits, targets) == 100


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        average_precisions(np.zeros((3, 2)), np.zeros((3, 3)))


def test_initial_labels_of_voc12_reproduce_the_published_figure() -> None:
    """85.3, the initial label quality that CDUL and CCD both print, from CLIP RN50x64's scores of VOC 2012 train."""
    file = SHARED_DATA / "voc12_train_rn50x64.npz"
    if not file.exists():
        pytest.skip(f"no {file}; set CCD_SHARED_DATA to the folder that holds it")
    with np.load(file) as data:
        logits, targets = 100 * data["global_cosine_centred"].astype(np.float64), data["targets"]
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    assert mean_average_precision(probs, targets) == pytest.approx(85.34, abs=0.01)
