"""ROLE and EPR: the numbers of their terms, who teaches whom, and a table that outlives the process."""

import math
from typing import Any

import pytest
import torch

from trainer.methods.epr import EprObjective
from trainer.methods.role import RoleObjective

NAN = float("nan")
LABELS = torch.tensor([[1.0, NAN], [NAN, 1.0], [NAN, NAN]])


@pytest.fixture
def role(fake_run: Any) -> RoleObjective:
    objective = RoleObjective(fake_run(3, 2))
    objective.begin(LABELS)
    return objective


def test_the_table_begins_at_the_positives_and_unsure_of_the_rest(role: RoleObjective) -> None:
    estimates = role.estimates.sigmoid()
    assert estimates[0, 0].item() == pytest.approx(0.995)
    unknown = estimates[torch.isnan(LABELS)]
    assert ((unknown > 0.4) & (unknown < 0.6)).all()
    assert len(set(unknown.tolist())) == len(unknown), "equal ones would stay equal"


def test_both_halves_by_hand(role: RoleObjective, step: Any) -> None:
    with torch.no_grad():
        role.estimates.copy_(torch.tensor([[2.0, -1.0], [0.0, 0.0], [0.0, 0.0]]))
    terms = role(step([[0.5, -0.5]], LABELS[:1], [0]))
    p, y = [1 / (1 + math.exp(-v)) for v in (0.5, -0.5)], [1 / (1 + math.exp(-v)) for v in (2.0, -1.0)]

    def half(learner: list[float], teacher: list[float]) -> float:
        pairs = zip(learner, teacher, strict=True)
        cross = -sum(t * math.log(q) + (1 - t) * math.log(1 - q) for q, t in pairs) / 2
        return -math.log(learner[0] + 1e-5) + cross + ((sum(learner) - 1) / 2) ** 2

    assert terms["label_loss"].item() == pytest.approx(half(p, y) / 2, rel=1e-5)
    assert terms["estimate_loss"].item() == pytest.approx(half(y, p) / 2, rel=1e-5)


def test_the_classifier_learns_from_its_half_alone(role: RoleObjective, step: Any) -> None:
    """Were gradients to reach the teacher, both could agree on anything."""
    batch = step([[0.5, -0.5], [1.0, 0.0]], LABELS[:2])
    batch.logits.requires_grad_()
    terms = role(batch)
    terms["label_loss"].backward(retain_graph=True)
    assert role.estimates.grad is None
    batch.logits.grad = None
    terms["estimate_loss"].backward()
    assert batch.logits.grad is None
    assert role.estimates.grad is not None


def test_a_resumed_table_goes_on_with_the_same_bits(role: RoleObjective, step: Any, fake_run: Any) -> None:
    again = RoleObjective(fake_run(3, 2))
    again.load_state_dict(role.state_dict())
    batch = step([[0.3, 0.1]], LABELS[1:2], [1])
    assert again(batch)["label_loss"].item() == role(batch)["label_loss"].item()


@pytest.mark.parametrize(("given", "number"), [(None, 1.0), (1.5, 1.5)])
def test_epr_counts_what_is_told_unless_it_is_told_a_number(
    given: float | None, number: float, fake_run: Any, step: Any
) -> None:
    objective = EprObjective(fake_run(3, 2, positives=given))
    objective.begin(LABELS)
    terms = objective(step([[0.0, 0.0]], LABELS[:1], [0]))
    assert terms["label_loss"].item() == pytest.approx(-math.log(0.5 + 1e-5), rel=1e-5)
    assert terms["number_loss"].item() == pytest.approx(((1 - number) / 2) ** 2)
