"""Latent labels that follow predictions: the step itself, and the two methods that take it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.methods.cdul import CdulObjective, combine
from trainer.methods.g2netpl import G2NetPLObjective
from trainer.methods.latent import follow, logit, unsureness

NAN = float("nan")


def test_one_step_by_hand() -> None:
    """sigma 1: the density at 1/2 is 0.3989; from y = 1/2 (u = 0) towards p = 0.8, by 0.3989 ln 4."""
    moved = follow(torch.zeros(1), torch.tensor([0.8]), sigma=1.0)
    assert moved.item() == pytest.approx(math.log(4) / math.sqrt(2 * math.pi), rel=1e-5)


@given(st.floats(-6, 6), st.floats(0.01, 0.99), st.floats(0.4, 2))
def test_a_step_goes_towards_the_prediction_and_not_past_it(u: float, p: float, sigma: float) -> None:
    """One that overshoots would make labels swing for ever. (The step size is below 1 from sigma 0.4 on.)"""
    latent, prediction = torch.tensor([u], dtype=torch.float64), torch.tensor([p], dtype=torch.float64)
    moved, goal = follow(latent, prediction, sigma=sigma), logit(prediction)
    assert abs(moved - goal) <= abs(latent - goal) + 1e-9
    assert (moved - goal) * (latent - goal) >= -1e-9


@given(st.floats(0.05, 0.45))
def test_a_small_sigma_holds_sure_labels(distance: float) -> None:
    near, far = (unsureness(torch.tensor([0.5 + d]), 0.2) for d in (0.0, distance))
    assert far < near


def test_sharpness_drives_labels_away_from_a_half() -> None:
    latent = torch.tensor([0.5, -0.5])
    plain, sharp = (follow(latent, latent.sigmoid(), sigma=1.0, sharpness=s) for s in (0.0, 1.0))
    torch.testing.assert_close(plain, latent)
    assert sharp[0] > latent[0]
    assert sharp[1] < latent[1]


def test_tiles_raise_or_lower_a_class_by_the_threshold() -> None:
    whole = np.array([[0.2, 0.6]], np.float32)
    tiles = np.array([[[0.9, 0.3], [0.1, 0.2]]], np.float32)
    np.testing.assert_allclose(combine(whole, tiles, threshold=0.5), [[(0.2 + 0.9) / 2, (0.6 + 0.2) / 2]])
    np.testing.assert_allclose(combine(whole, tiles, threshold=0.0), [[(0.2 + 0.9) / 2, (0.6 + 0.3) / 2]])


def test_cdul_labels_move_after_warm_up_only(fake_run: Any, step: Any) -> None:
    objective = CdulObjective(fake_run(2, 2, warmup_epochs=1))
    objective.begin(torch.tensor([[0.7, 0.2], [0.5, 0.5]]))
    start = objective.latent.clone()
    for epoch in (0, 1):
        objective.begin_epoch(epoch, 3)
        objective(step([[3.0, -3.0], [0.0, 0.0]], [[0.7, 0.2], [0.5, 0.5]]))
        objective.end_epoch()
        assert torch.equal(objective.latent, start) is (epoch == 0)
    assert objective.latent[0, 0] > start[0, 0]
    assert objective.latent[0, 1] < start[0, 1]
    torch.testing.assert_close(objective.latent[1], start[1])


def test_cdul_learns_from_its_latent_labels(fake_run: Any, step: Any) -> None:
    """Not from those that it was told at the start."""
    objective = CdulObjective(fake_run(1, 1))
    objective.latent.fill_(2.0)
    value = objective(step([[0.0]], [[0.0]]))["label_loss"].item()
    assert value == pytest.approx(math.log(2))
    assert objective(step([[1.0]], [[0.0]]))["label_loss"].item() < value


def test_g2netpl_keeps_what_is_known_and_moves_the_rest(fake_run: Any, step: Any) -> None:
    """Of three classes an unknown one begins at 1/3, with a weight of 1/3 in the first epoch."""
    labels = torch.tensor([[1.0, NAN, NAN]])
    objective = G2NetPLObjective(fake_run(1, 3))
    objective.begin(labels)
    torch.testing.assert_close(objective.latent[0, 1:].sigmoid(), torch.full((2,), 1 / 3))
    start = objective.latent.clone()
    objective.begin_epoch(0, 10)
    value = objective(step([[0.0, 2.0, -2.0]], labels))["label_loss"].item()
    unknown = sum(math.log(1 + math.exp(x)) - x / 3 for x in (2.0, -2.0)) / 3
    assert value == pytest.approx((math.log(2) + unknown) / 3, rel=1e-5)
    assert objective.latent[0, 1] > start[0, 1]
    assert objective.latent[0, 2] < start[0, 2]
    assert objective.latent[0, 0] == start[0, 0] == logit(torch.tensor(1.0))


def test_g2netpl_does_not_end_with_everything_present(fake_run: Any, step: Any) -> None:
    """It did from pseudo-labels of a half: the classifier saw positives alone, and the labels believed it.

    Every image has two of six classes, its features say which, and it is told one of them.
    """
    generator = torch.Generator().manual_seed(0)
    present = torch.rand(120, 6, generator=generator).argsort(dim=1) < 2
    features = present + 0.3 * torch.randn(120, 6, generator=generator)
    told = torch.rand(120, 6, generator=generator).masked_fill(~present, -1).argmax(dim=1)
    labels = torch.full((120, 6), NAN)
    labels[torch.arange(120), told] = 1
    torch.manual_seed(0)
    head, objective = torch.nn.Linear(6, 6), G2NetPLObjective(fake_run(120, 6))
    objective.begin(labels)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.03)
    for epoch in range(10):
        objective.begin_epoch(epoch, 10)
        for rows in torch.randperm(120, generator=generator).split(20):
            batch = step([[0.0]], labels[rows], rows)
            loss = objective(replace(batch, logits=head(features[rows])))["label_loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    probs = head(features).sigmoid()
    assert probs[~present].mean() < 0.5 < probs[present].mean()


@pytest.mark.parametrize("kind", [CdulObjective, G2NetPLObjective])
def test_a_resumed_objective_goes_on_with_the_same_bits(kind: Any, fake_run: Any, step: Any) -> None:
    labels = torch.tensor([[1.0, NAN], [NAN, 1.0]])
    objective, again = kind(fake_run(2, 2)), kind(fake_run(2, 2))
    objective.begin(labels.nan_to_num(0.3))
    for each in (objective,):
        each.begin_epoch(3, 10)
        each(step([[0.4, -0.1], [1.0, 0.2]], labels))
        each.end_epoch()
    again.load_state_dict(objective.state_dict())
    again.begin_epoch(4, 10)
    objective.begin_epoch(4, 10)
    batch = step([[0.1, 0.2]], labels[1:], [1])
    assert again(batch)["label_loss"].item() == objective(batch)["label_loss"].item()
    assert torch.equal(again.latent, objective.latent)
