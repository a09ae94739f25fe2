"""SARB: blends by hand, prototypes and when they are made, shares that learn, and what is kept of all that."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.engine import Machine
from trainer.methods.prototypes import cluster
from trainer.methods.sarb import SarbObjective, blend_instances, blend_prototypes
from trainer.model import create_backbone
from trainer.objective import Step
from trainer.semantic_decoupling import SemanticClassifier

NAN = float("nan")
LABELS = torch.tensor([[1.0, NAN, 0.0], [NAN, 1.0, NAN], [1.0, 1.0, NAN], [NAN, NAN, 0.0]])


@pytest.fixture
def objective(fake_run: Callable[..., Any]) -> Callable[[], SarbObjective]:
    """objective(): a new one of three classes with features of width 4; its model is always the same."""

    def make() -> SarbObjective:
        run = fake_run(4, 3, batch_size=4)
        run.machine = Machine(torch.device("cpu"), torch.float32)
        made = SarbObjective(run)
        torch.manual_seed(0)
        made.attach(SemanticClassifier(create_backbone("resnet10t", weights="none"), num_classes=3, width=4).eval())
        made.begin(LABELS)
        return made

    return make


def batch(seed: int, labels: torch.Tensor = LABELS) -> Step:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(*labels.shape, 4, generator=generator).requires_grad_()
    return Step(torch.zeros(labels.shape), None, features, labels, torch.arange(len(labels)))


def trained(make: Callable[[], SarbObjective]) -> SarbObjective:
    """After the epoch that collects, in the first that blends."""
    made = make()
    made.begin_epoch(4, 20)
    for seed in range(3):
        made(batch(seed))
    made.end_epoch()
    made.begin_epoch(5, 20)
    return made


def test_an_image_takes_from_its_partner_what_only_that_knows() -> None:
    """Class 0 of image 0 is unknown and image 1 shows it: a quarter of 1 and three of 3. All else stays."""
    alpha = torch.tensor(0.25, requires_grad=True)
    features = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    blended, labels = blend_instances(features, torch.tensor([[NAN, 1.0], [1.0, 0.0]]), alpha)
    torch.testing.assert_close(blended, torch.tensor([[[2.5], [2.0]], [[3.0], [4.0]]]))
    torch.testing.assert_close(labels, torch.tensor([[0.75, 1.0], [1.0, 0.0]]))
    assert torch.autograd.grad(blended.sum(), alpha)[0].item() == -2
    assert torch.autograd.grad(labels.sum(), alpha)[0].item() == -1


def test_a_prototype_goes_into_an_unknown_class_that_has_one() -> None:
    """Of image 0 classes 1 and 2 are unknown, and 2 has no prototype; of image 1 nothing is unknown."""
    beta = torch.tensor(0.25, requires_grad=True)
    prototypes = torch.tensor([[[9.0]], [[8.0]], [[NAN]]])
    features = torch.ones(2, 3, 1, requires_grad=True)
    known = torch.tensor([[1.0, NAN, NAN], [0.0, 1.0, 0.0]])
    blended, labels = blend_prototypes(features, known, beta, prototypes)
    torch.testing.assert_close(blended[..., 0], torch.tensor([[1, 0.25 + 0.75 * 8, 1], [1, 1, 1]]))
    torch.testing.assert_close(labels, torch.tensor([[1, 0.75, NAN], [0, 1, 0]]), equal_nan=True)
    blended.sum().backward()
    assert beta.grad.item() == 1 - 8
    assert features.grad[..., 0].tolist() == [[1, 0.25, 1], [1, 1, 1]]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_blends_leave_alone_what_is_known(seed: int) -> None:
    """Known labels keep their value and their feature; a prototype goes into one class of an image at most."""
    torch.manual_seed(seed)
    labels, features, share = torch.tensor([0.0, 1.0, NAN])[torch.randint(3, (5, 4))], torch.randn(5, 4, 2), 0.3
    prototypes = torch.randn(4, 3, 2)
    prototypes[torch.rand(4) < 0.3] = NAN
    known, has_some = ~labels.isnan(), prototypes[:, 0, 0].isfinite()
    for name, (blended, blended_labels) in {
        "instance": blend_instances(features, labels, torch.tensor(share)),
        "prototype": blend_prototypes(features, labels, torch.tensor(share), prototypes),
    }.items():
        assert torch.equal(blended[known], features[known])
        assert torch.equal(blended_labels[known], labels[known])
        new = ~blended_labels.isnan() & ~known
        torch.testing.assert_close(blended_labels[new], torch.full((int(new.sum()),), 1 - share))
        assert torch.equal(blended[~new], features[~new])
        assert torch.isfinite(blended).all()
        if name == "prototype":
            assert torch.equal(new.sum(dim=1), (~known & has_some).any(dim=1).long())
        else:
            assert torch.equal(new, ~known & (labels.flip(0) == 1))


def test_prototypes_are_the_centres_of_groups() -> None:
    """Two groups of class 0; class 1 has one feature for both prototypes; class 2 none at all."""
    features = np.float32([[0, 1], [0, 3], [90, 1], [90, 3], [5, 5]])
    found = cluster(features, np.array([0, 0, 0, 0, 1]), num_classes=3, number=2, seed=0)
    np.testing.assert_allclose(found[0][found[0][:, 0].argsort()], [[0, 2], [90, 2]])
    np.testing.assert_allclose(found[1], [[5, 5], [5, 5]])
    assert np.isnan(found[2]).all()


def test_prototypes_are_made_before_the_sixth_epoch_and_every_fifth_after(
    objective: Callable[[], SarbObjective],
) -> None:
    made = objective()
    changes = []
    for epoch in range(16):
        before = made.prototypes.clone()
        made.begin_epoch(epoch, 20)
        terms = made(batch(epoch))
        made.end_epoch()
        if not torch.equal(before.nan_to_num(), made.prototypes.nan_to_num()):
            changes.append(epoch)
        assert ("instance_loss" in terms) == ("prototype_loss" in terms) == (epoch >= 5)
    assert changes == [4, 9, 14]
    assert made.prototypes[:2].isfinite().all()
    assert made.prototypes[2].isnan().all(), "of class 2 no positive is known"


def test_blended_features_go_through_the_head_again(objective: Callable[[], SarbObjective]) -> None:
    """Both terms are BCE of the head's answer to blended features; at random only where there is a choice."""
    made, step = trained(objective), batch(9)
    torch.manual_seed(0)
    terms = made(step)
    features, labels = blend_instances(step.features, LABELS, made.alpha)
    known = ~labels.isnan()
    expected = F.binary_cross_entropy_with_logits(made.model.classify(features)[known], labels[known])
    torch.testing.assert_close(terms["instance_loss"], expected)
    assert labels[1, 0].item() == labels[2, 0].item() - 0.5 == 0.5
    assert terms["label_loss"].item() == pytest.approx(np.log(2), rel=1e-5)


@pytest.mark.parametrize(("name", "share", "other"), [("instance", "alpha", "beta"), ("prototype", "beta", "alpha")])
def test_a_blend_teaches_features_head_and_its_own_share(
    objective: Callable[[], SarbObjective], name: str, share: str, other: str
) -> None:
    made, step = trained(objective), batch(9)
    made(step)[f"{name}_loss"].backward()
    assert getattr(made, share).grad.abs() > 0
    assert getattr(made, other).grad is None
    assert step.features.grad.abs().sum() > 0
    assert made.model.fuse.weight.grad.abs().sum() > 0
    assert {name for name, _ in made.named_parameters()} == {"alpha", "beta"}, "the classifier's are not its own"


def test_shares_stay_shares(objective: Callable[[], SarbObjective]) -> None:
    made = trained(objective)
    with torch.no_grad():
        made.alpha.fill_(1.5)
        made.beta.fill_(-0.5)
    made(batch(9))
    assert (made.alpha.item(), made.beta.item()) == (1, 0)


def test_resumed_prototypes_and_shares_go_on_with_the_same_bits(objective: Callable[[], SarbObjective]) -> None:
    made, again = trained(objective), objective()
    with torch.no_grad():
        made.alpha.fill_(0.7)
    again.load_state_dict(made.state_dict())
    again.begin_epoch(5, 20)
    results = []
    for each in (made, again):
        torch.manual_seed(0)
        results.append({name: term.item() for name, term in each(batch(7)).items()})
    assert results[0] == results[1]
