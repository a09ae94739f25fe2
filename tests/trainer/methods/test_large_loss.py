"""Large losses of assumed negatives: how many are taken, which, and what is remembered of them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from trainer.methods.large_loss import PERCENT, LargeLossObjective
from trainer.objective import Step

NAN = float("nan")
# One batch of 2 x 100: 1 % of it are two entries.
LOGITS = torch.linspace(-3, 3, 200).reshape(2, 100)
LABELS = torch.full((2, 100), NAN)
LABELS[1, 99] = 1  # the largest logit of all: were it an assumed negative, its loss would be the largest


@pytest.fixture
def objective(fake_run: Any) -> Any:
    def make(treatment: Any, epoch: int) -> LargeLossObjective:
        made = LargeLossObjective(fake_run(2, 100), treatment)
        made.begin_epoch(epoch, 10)
        return made

    return make


def losses() -> torch.Tensor:
    """Of each entry, with what is not known as absent."""
    return F.binary_cross_entropy_with_logits(LOGITS, LABELS.nan_to_num(0.0), reduction="none")


def test_nothing_is_rejected_in_the_first_epoch(objective: Any, step: Any) -> None:
    """A classifier that has seen nothing has no opinion."""
    assert objective("reject", 0)(step(LOGITS, LABELS))["label_loss"].item() == pytest.approx(losses().mean().item())


def test_the_largest_unknown_losses_are_rejected(objective: Any, step: Any) -> None:
    """After four epochs 2 % of 200 entries; never the known positive."""
    expected = losses()
    expected[1, 95:99] = 0
    assert objective("reject", 4)(step(LOGITS, LABELS))["label_loss"].item() == pytest.approx(expected.mean().item())


def test_corrected_for_now_they_count_as_positives(objective: Any, step: Any) -> None:
    """After five epochs 1 % of 200."""
    expected = losses()
    expected[1, 97:99] = F.softplus(-LOGITS[1, 97:99])
    value = objective("correct for now", 5)(step(LOGITS, LABELS))["label_loss"]
    assert value.item() == pytest.approx(expected.mean().item())


def test_corrected_for_good_they_stay_positives(objective: Any, step: Any) -> None:
    """Each batch adds its largest; the same batch again takes the next one."""
    made = objective("correct for good", 1)
    made(step(LOGITS, LABELS))
    assert made.corrected.nonzero().tolist() == [[1, 98]]
    made(step(LOGITS, LABELS))
    assert made.corrected.nonzero().tolist() == [[1, 97], [1, 98]]
    again = objective("correct for good", 1)
    again.load_state_dict(made.state_dict())
    assert again(step(LOGITS, LABELS))["label_loss"].item() == made(step(LOGITS, LABELS))["label_loss"].item()


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from(sorted(PERCENT)))
def test_no_treatment_makes_the_loss_larger(seed: int, epoch: int, treatment: Any) -> None:
    """What is rejected or corrected has a large loss as a negative, so a small one as a positive."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 6, generator=generator) * 4
    labels = torch.where(torch.rand(4, 6, generator=generator) < 0.2, 1.0, NAN)
    made = LargeLossObjective(_Run(), treatment)  # type: ignore[arg-type]
    made.begin_epoch(epoch, 13)
    plain = F.binary_cross_entropy_with_logits(logits, labels.nan_to_num(0.0))
    value = made(Step(logits, None, logits, labels, torch.arange(4)))["label_loss"]
    assert torch.isfinite(value)
    if treatment == "reject":
        assert value <= plain + 1e-6


class _Run:
    train = range(4)
    num_classes = 6
