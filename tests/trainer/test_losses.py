"""Losses: a reference value, a limit case and the gradient of each."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.losses import (
    assume_negative,
    asymmetric,
    bce,
    consistency,
    contrastive,
    entropy_weights,
    expected_positives,
    known_bce,
    partial_bce,
    positive_log_likelihood,
    smoothed,
    weak_negative,
)

LOGITS = torch.tensor([[0.3, -1.2, 2.0], [0.0, 4.0, -0.5]], dtype=torch.float64)
LABELS = torch.tensor([[1.0, 0.2, 0.7], [0.0, 1.0, 0.35]], dtype=torch.float64)


def test_bce_equals_its_formula() -> None:
    p = LOGITS.sigmoid()
    expected = -(LABELS * p.log() + (1 - LABELS) * (1 - p).log()).mean()
    assert bce(LOGITS, LABELS).item() == pytest.approx(expected.item())


def test_bce_pulls_each_prediction_towards_its_soft_label() -> None:
    """The gradient is (p - label) / (B C): soft labels that were binarised on the way would not show this."""
    logits = LOGITS.clone().requires_grad_()
    bce(logits, LABELS).backward()
    torch.testing.assert_close(logits.grad, (LOGITS.sigmoid() - LABELS) / LABELS.numel())


def test_bce_weights_whole_images_and_keeps_the_divisor() -> None:
    """Weight 0 removes an image's loss; the mean is still over all images, as in the released code."""
    weighted = bce(LOGITS, LABELS, torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert weighted.item() == pytest.approx(bce(LOGITS[:1], LABELS[:1]).item() / 2)
    assert bce(LOGITS, LABELS, torch.ones(2, dtype=torch.float64)).item() == pytest.approx(bce(LOGITS, LABELS).item())


def test_bce_is_finite_for_saturated_logits() -> None:
    assert torch.isfinite(bce(torch.tensor([[200.0, -200.0]]), torch.tensor([[0.0, 1.0]])))


def test_consistency_stops_the_gradient_at_the_weak_view() -> None:
    """Otherwise the weak view would learn from the strong one, and both could collapse to one answer."""
    strong, weak = LOGITS.clone().requires_grad_(), LOGITS.flip(0).clone().requires_grad_()
    consistency(strong, weak).backward()
    assert weak.grad is None
    torch.testing.assert_close(strong.grad, (LOGITS.sigmoid() - LOGITS.flip(0).sigmoid()) / LOGITS.numel())


def test_consistency_is_least_where_both_views_agree() -> None:
    strong = LOGITS.clone().requires_grad_()
    consistency(strong, LOGITS).backward()
    torch.testing.assert_close(strong.grad, torch.zeros_like(LOGITS))


def test_entropy_weights_lower_uncertain_images_only() -> None:
    entropies = torch.tensor([0.0, 2.0, 2.0001])
    torch.testing.assert_close(entropy_weights(entropies, gate=2, coefficient=0.1), torch.tensor([1.0, 1.0, 0.1]))
    torch.testing.assert_close(entropy_weights(entropies, gate=2, coefficient=1), torch.ones(3))


NAN = float("nan")
# Two images of three classes: one positive and one negative are known of the first, one positive of the second.
TOLD = torch.tensor([[1.0, 0.0, NAN], [NAN, 1.0, NAN]], dtype=torch.float64)

logits_and_labels = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3,
        torch.tensor([1.0, 0.0, NAN], dtype=torch.float64)[
            torch.randint(3, (4, 5), generator=torch.Generator().manual_seed(seed + 1))
        ],
    )
)


def log(probability: float) -> float:
    return math.log(probability)


def probabilities() -> list[list[float]]:
    return LOGITS.sigmoid().tolist()


def test_known_bce_is_the_mean_over_known_entries() -> None:
    (p, q, _), (_, r, _) = probabilities()
    assert known_bce(LOGITS, TOLD).item() == pytest.approx(-(log(p) + log(1 - q) + log(r)) / 3)
    assert known_bce(LOGITS, torch.full_like(TOLD, NAN)).item() == 0


@given(logits_and_labels)
def test_what_is_not_known_gets_no_gradient(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    """An unknown label that counts as absent is what these losses are there to avoid."""
    logits, labels = case
    for loss in (
        known_bce,
        partial_bce,
        lambda *both: asymmetric(*both, gamma_positive=1, gamma_negative=4, margin=0.05),
    ):
        variable = logits.clone().requires_grad_()
        loss(variable, labels).backward()
        assert (variable.grad[torch.isnan(labels)] == 0).all()
        assert torch.isfinite(variable.grad).all()


def test_assume_negative_takes_the_unknown_for_absent() -> None:
    labels = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    assert assume_negative(LOGITS, TOLD).item() == pytest.approx(bce(LOGITS, labels).item())


def test_smoothing_goes_both_ways() -> None:
    torch.testing.assert_close(
        smoothed(torch.tensor([1.0, 0.0, NAN]), 0.1), torch.tensor([0.9, 0.1, NAN]), equal_nan=True
    )


def test_weak_negatives_of_an_image_weigh_as_much_as_its_positive() -> None:
    (p, q, r), _ = probabilities()
    expected = -(log(p) + (log(1 - q) + log(1 - r)) / 2) / 3
    assert weak_negative(LOGITS[:1], TOLD[:1]).item() == pytest.approx(expected)


@given(st.integers(2, 40))
def test_weak_negative_balances_any_number_of_classes(num_classes: int) -> None:
    """At even odds the gradients of the positive and of all negatives together cancel."""
    logits = torch.zeros(1, num_classes, dtype=torch.float64, requires_grad=True)
    labels = torch.full((1, num_classes), NAN, dtype=torch.float64)
    labels[0, 0] = 1
    weak_negative(logits, labels).backward()
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-12)


def test_partial_bce_weighs_images_by_what_is_known_of_them() -> None:
    (p, q, _), (_, r, _) = probabilities()
    first = (5.45 - 4.45 * 2 / 3) * -(log(p) + log(1 - q)) / 3
    second = (5.45 - 4.45 * 1 / 3) * -log(r) / 3
    assert partial_bce(LOGITS, TOLD).item() == pytest.approx((first + second) / 2)


def test_partial_bce_is_bce_where_all_is_known() -> None:
    labels = LABELS.round()
    assert partial_bce(LOGITS, labels).item() == pytest.approx(bce(LOGITS, labels).item())


def test_asymmetric_loss_of_one_positive_and_one_negative() -> None:
    logits, labels = torch.tensor([[0.4, 0.8]], dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    [[p, q]] = logits.sigmoid().tolist()
    shifted = q - 0.05
    expected = -((1 - p) * log(p) + shifted**4 * log(1 - shifted))
    value = asymmetric(logits, labels, gamma_positive=1, gamma_negative=4, margin=0.05)
    assert value.item() == pytest.approx(expected)


@given(logits_and_labels)
def test_asymmetric_loss_without_focus_and_margin_is_bce(case: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = case
    value = asymmetric(logits, labels, gamma_positive=0, gamma_negative=0, margin=0)
    known = (~torch.isnan(labels)).sum()
    assert value.item() == pytest.approx(known_bce(logits, labels).item() * known.item(), rel=1e-6)


def test_expected_positives_is_least_at_the_number() -> None:
    probs = torch.tensor([[0.5, 0.5, 0.9], [0.1, 0.2, 0.2]], dtype=torch.float64)
    assert expected_positives(probs, torch.tensor(1.2)).item() == pytest.approx(0, abs=1e-12)
    assert expected_positives(probs, torch.tensor(2.4)).item() == pytest.approx((1.2 / 3) ** 2)


def test_positive_log_likelihood_looks_at_positives_alone() -> None:
    probs = LOGITS.sigmoid()
    (p, _, _), (_, r, _) = probabilities()
    assert positive_log_likelihood(probs, TOLD).item() == pytest.approx(-(log(p) + log(r)) / 2, rel=1e-4)
    assert positive_log_likelihood(probs, torch.full_like(TOLD, NAN)).item() == 0


# Of one class: two features at a right angle, and one at 45 degrees to both.
FEATURES = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, 1.0]]], dtype=torch.float64)
UNLIKE = 1 + math.sqrt(0.5)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((1, 1, 0), (1 + 3 * UNLIKE) / 4),  # for one pair of positives the costliest other one and two at random
        ((1, NAN, 0), UNLIKE),
        ((0, 0, NAN), 1),
        ((1, NAN, NAN), 0),
    ],
)
def test_contrast_of_three_images_by_hand(labels: tuple[float, ...], expected: float) -> None:
    value = contrastive(FEATURES, torch.tensor(labels, dtype=torch.float64)[:, None])
    assert value.item() == pytest.approx(expected)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_contrast_is_bounded_and_leaves_unknown_ones_alone(seed: int) -> None:
    torch.manual_seed(seed)
    features = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1.0, 0.0, NAN], dtype=torch.float64)[torch.randint(3, (5, 3))]
    value = contrastive(features, labels)
    value.backward()
    assert 0 <= value.item() <= 2
    assert (features.grad[labels.isnan()] == 0).all()
