"""Average precision, F1 and calibration against scikit-learn, by hand, and on published scores."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, precision_score, recall_score

from trainer.metrics import (
    average_precisions,
    classification_figures,
    expected_calibration_error,
    f1_scores,
    mean_average_precision,
)

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


# Three images of four classes, worked out on paper below.
LOGITS = np.array([[2, -1, 1, -3], [-1, 3, -2, -4], [1, -2, -1, 5]])
TARGETS = np.array([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, -1]])


def test_f1_worked_example() -> None:
    """Would fail if CF1 were the mean of the classes' F1, or a class that is never predicted (the last) left the mean.

    Precisions 1/2, 1, 0, 0 and recalls 1, 1/2, 0, 0 by class; 2 of 4 predictions are right, 5 classes are present.
    """
    cf1, of1 = f1_scores(LOGITS, TARGETS)
    assert cf1 == pytest.approx(2 * (3 / 8) * (3 / 8) / (3 / 8 + 3 / 8))
    assert of1 == pytest.approx(2 * (2 / 4) * (2 / 5) / (2 / 4 + 2 / 5))


def test_f1_of_the_top_three_worked_example() -> None:
    """Would fail if the third image's highest score, which is left out, took one of its three places.

    Precisions 1/3, 2/3, 1/3, 0 and recalls 1, 1, 1, 0 by class; 4 of 9 predictions are right, 5 classes are present.
    """
    cf1, of1 = f1_scores(LOGITS, TARGETS, predicted="top3")
    assert cf1 == pytest.approx(2 * (1 / 3) * (3 / 4) / (1 / 3 + 3 / 4))
    assert of1 == pytest.approx(2 * (4 / 9) * (4 / 5) / (4 / 9 + 4 / 5))


@given(SEEDS, st.integers(1, 40))
def test_f1_equals_scikit_learn_s_precision_and_recall(seed: int, num_images: int) -> None:
    scores, targets = random_case(seed, num_images)
    predicted = scores >= 0.5
    for average, f1 in zip(("macro", "micro"), f1_scores(scores - 0.5, targets), strict=True):
        precision = precision_score(targets, predicted, average=average, zero_division=0)
        recall = recall_score(targets, predicted, average=average, zero_division=0)
        assert f1 == pytest.approx(2 * precision * recall / max(precision + recall, 1e-12))


def test_f1_of_a_silent_classifier_is_zero() -> None:
    assert f1_scores(np.full((2, 3), -1.0), np.ones((2, 3), int)) == (0, 0)


def test_top_three_of_two_classes_are_both() -> None:
    assert f1_scores(np.array([[-5.0, -6.0]]), np.array([[1, 1]]), predicted="top3") == (1, 1)


def test_calibration_worked_example() -> None:
    """Two entries at 0.9 of which one is present are 0.4 off, one absent at 0.1 is 0.1 off; one is left out."""
    logits = np.log([[9.0, 9.0], [1 / 9, 1.0]])
    assert expected_calibration_error(logits, np.array([[1, 0], [0, -1]])) == pytest.approx((2 * 0.4 + 0.1) / 3)


@given(SEEDS, st.integers(5, 60))
def test_calibration_equals_scikit_learn_s_reliability_diagram(seed: int, num_images: int) -> None:
    rng = np.random.default_rng(seed)
    probs, targets = rng.uniform(0.001, 0.999, (num_images, 4)), rng.integers(0, 2, (num_images, 4))
    present, predicted = calibration_curve(targets.ravel(), probs.ravel(), n_bins=15)
    counts = np.histogram(probs, 15, (0, 1))[0]
    expected = (counts[counts > 0] * np.abs(present - predicted)).sum() / counts.sum()
    assert expected_calibration_error(np.log(probs / (1 - probs)), targets) == pytest.approx(expected)


@pytest.mark.filterwarnings("error")
def test_certain_predictions_are_finite() -> None:
    """Logits of a thousand overflow a naive sigmoid; right ones are perfectly calibrated, wrong ones not at all."""
    logits = np.array([[1000.0, -1000.0]])
    assert expected_calibration_error(logits, np.array([[1, 0]])) == 0
    assert expected_calibration_error(logits, np.array([[0, 1]])) == 1


@given(SEEDS, st.integers(1, 30))
def test_left_out_entries_change_no_figure(seed: int, num_images: int) -> None:
    scores, targets = random_case(seed, num_images, lowest=-1)
    targets[0, 0] = 1  # something is known
    other = np.where(targets == -1, 7.0, scores - 0.5)
    figures = classification_figures(scores - 0.5, targets)
    assert figures == classification_figures(other, targets)
    assert all(0 <= value <= 100 for value in figures.values())
