"""Losses: a reference value, a limit case and the gradient of each."""

import pytest
import torch

from trainer.losses import bce, consistency, entropy_weights

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
