"""SST: pairs of classes, the memory of features, what becomes of unknown labels, and a memory that is kept."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trainer.methods.cooccurrence import CooccurrenceHead, cooccurrence_loss, cooccurrence_scores
from trainer.methods.feature_memory import FeatureMemory
from trainer.methods.sst import SstObjective, completed, margin
from trainer.model import create_backbone
from trainer.objective import Step
from trainer.semantic_decoupling import SemanticClassifier

NAN = float("nan")
SEEDS = st.integers(0, 2**32 - 1)
LABELS = torch.tensor([[1.0, NAN, 0.0], [NAN, 1.0, NAN], [1.0, 1.0, NAN], [NAN, NAN, 0.0]])


@pytest.fixture
def objective(fake_run: Callable[..., Any]) -> Callable[[], SstObjective]:
    """objective(): a new one of three classes with features of width 4, in the first epoch that completes labels."""

    def make() -> SstObjective:
        backbone = create_backbone("resnet10t", weights="none")
        made = SstObjective(fake_run(4, 3, batch_size=4))
        made.attach(SemanticClassifier(backbone, num_classes=3, width=4))
        made.begin(LABELS)
        made.begin_epoch(5, 20)
        return made

    return make


def batch(seed: int, labels: torch.Tensor = LABELS) -> Step:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(labels.shape, generator=generator).requires_grad_()
    features = torch.randn(*labels.shape, 4, generator=generator).requires_grad_()
    return Step(logits, None, features, labels, torch.arange(len(labels)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_margin_falls_from_the_sixth_epoch_on() -> None:
    assert [margin(epoch) for epoch in (5, 6, 12, 13, 19)] == pytest.approx([0.95, 0.925, 0.775, 0.75, 0.75])


def test_pair_logits_are_those_of_both_features() -> None:
    """Pairs are (0, 1), (0, 2), (1, 2); another order would teach one pair what another is."""
    head, features = CooccurrenceHead(3, 4), torch.randn(2, 3, 4)
    reduced = head.reduce(features)
    for place, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        hidden = head.last(F.relu(head.join(torch.cat((reduced[:, i], reduced[:, j]), dim=1))))
        expected = hidden @ head.score.weight[place] + head.score.bias[place]
        torch.testing.assert_close(head(features)[:, place], expected)


def test_pairs_hold_one_tensor_of_their_size_for_the_gradient() -> None:
    """Each layer on all pairs would hold three, gigabytes with COCO's 80 classes, and take B times the work."""
    head, features = CooccurrenceHead(20, 8), torch.randn(6, 20, 8, requires_grad=True)
    saved: dict[int, int] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        logits = head(features)  # kept: freed storage could be reused at the same address
    bytes_of_pairs = 4 * 6 * 190 * 8
    assert [size >= bytes_of_pairs for size in saved.values()].count(True) == 1
    assert logits.shape == (6, 190)


def test_scores_are_means_over_the_known_positives() -> None:
    a, b, c = 0.5, -1.0, 2.0
    scores = cooccurrence_scores(torch.tensor([[a, b, c]]).expand(4, 3), LABELS)
    assert scores[0].tolist() == pytest.approx([0, sigmoid(a), sigmoid(b)])
    assert scores[1].tolist() == pytest.approx([sigmoid(a), 0, sigmoid(c)])
    assert scores[2, 2].item() == pytest.approx((sigmoid(b) + sigmoid(c)) / 2)
    assert scores[3].tolist() == [0, 0, 0], "nothing follows from an image of which no positive is known"


def test_the_loss_of_pairs_by_hand() -> None:
    """Of image 2 the pair (0, 1) is known to be there, the other two count as absent: shifted by 0.05 and squared."""
    p, q, r = (sigmoid(v) for v in (0.5, 1.0, 2.0))
    absent = sum(-((v - 0.05) ** 2) * math.log(1 - (v - 0.05)) for v in (q, r))
    value = cooccurrence_loss(torch.tensor([[0.5, 1.0, 2.0]]), LABELS[2:3])
    assert value.item() == pytest.approx((-(1 - p) * math.log(p) + absent) / 3, rel=1e-5)


@settings(deadline=None)
@given(SEEDS, st.floats(0, 1))
def test_only_unknown_labels_are_completed(seed: int, least: float) -> None:
    """A known negative with a high score stays one."""
    torch.manual_seed(seed)
    labels, scores = torch.tensor([0.0, 1.0, NAN])[torch.randint(3, (5, 4))], torch.rand(5, 4)
    found, known = completed(labels, scores, least), ~labels.isnan()
    assert torch.equal(found[known], labels[known])
    assert torch.equal(found == 1, (labels == 1) | (~known & (scores >= least)))


@settings(deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 6))
def test_the_memory_is_the_latest_features_of_each_class(seed: int, size: int, images: int) -> None:
    """Against plain lists, over batches with fewer and more positives than it holds."""
    torch.manual_seed(seed)
    memory = FeatureMemory(3, 4, size=size)
    lists: list[list[torch.Tensor]] = [[], [], []]
    for _ in range(4):
        features, labels = torch.randn(images, 3, 4), torch.tensor([0.0, 1.0, NAN])[torch.randint(3, (images, 3))]
        memory.remember(features, labels)
        for b, c in (labels == 1).nonzero().tolist():
            lists[c].append(features[b, c])
    query = torch.randn(2, 3, 4)
    for c, kept in enumerate(lists):
        cosines = [F.cosine_similarity(query[:, c], feature[None]) for feature in kept[-size:]]
        expected = torch.stack(cosines).mean(dim=0) if cosines else torch.zeros(2)
        torch.testing.assert_close(memory.similarities(query)[:, c], expected, rtol=1e-4, atol=1e-5)


def test_labels_are_completed_by_either_way_alone(objective: Callable[[], SstObjective]) -> None:
    """Every pair is sure to go together; the features remembered of class 0 are those of image 1, of others not."""
    made, step = objective(), batch(0)
    nn.init.zeros_(made.cooccurrence.score.weight)
    nn.init.constant_(made.cooccurrence.score.bias, 5.0)
    with torch.no_grad():
        step.features[:, 0] = torch.tensor([1.0, 2.0, 0.0, 0.0])
        step.features[3, 0] *= -1
        step.features[1, 1], step.features[2, 1] = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
        step.features[[0, 3], 1] = torch.tensor([0.0, 0, 1, 0])
    terms = made(step)
    logits = step.logits
    intra = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [NAN, NAN, 0.0]])
    inter = torch.tensor([[1.0, NAN, 0.0], [1.0, 1.0, NAN], [1.0, 1.0, NAN], [NAN, NAN, 0.0]])
    for name, labels in (("label", LABELS), ("intra", intra), ("inter", inter)):
        known = ~labels.isnan()
        expected = F.binary_cross_entropy_with_logits(logits[known], labels[known])
        torch.testing.assert_close(terms[f"{name}_loss"], expected)
    torch.testing.assert_close(
        terms["cooccurrence_loss"], 10 * cooccurrence_loss(made.cooccurrence(step.features), LABELS)
    )


def test_labels_are_completed_from_the_sixth_epoch_on(objective: Callable[[], SstObjective]) -> None:
    """Before, neither way has learned anything; the memory fills all the same."""
    made = objective()
    made.begin_epoch(4, 20)
    assert set(made(batch(0))) == {"label_loss", "contrast_loss", "cooccurrence_loss"}
    assert made.memory.seen.tolist() == [2, 2, 0]


def test_completed_labels_are_targets_and_no_way_around(objective: Callable[[], SstObjective]) -> None:
    """Were gradients to flow through them, the head could learn to make the classifier's task easy."""
    made = objective()
    step = batch(0)
    terms = made(step)
    (terms["intra_loss"] + terms["inter_loss"] + terms["label_loss"]).backward(retain_graph=True)
    assert step.features.grad is None
    assert all(parameter.grad is None for parameter in made.parameters())
    terms["cooccurrence_loss"].backward()
    assert step.features.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in made.parameters())


def test_the_classifier_s_parameters_are_not_the_objective_s(objective: Callable[[], SstObjective]) -> None:
    """They would be in the optimiser twice, and in every checkpoint."""
    names = [name for name, _ in objective().named_parameters()]
    assert names
    assert all(name.startswith("cooccurrence.") for name in names)


def test_a_resumed_memory_goes_on_with_the_same_bits(objective: Callable[[], SstObjective]) -> None:
    made, again = objective(), objective()
    for seed in range(3):
        made(batch(seed))
    again.load_state_dict(made.state_dict())
    results = []
    for each in (made, again):
        torch.manual_seed(0)
        results.append({name: term.item() for name, term in each(batch(7)).items()})
    assert results[0] == results[1]
    assert torch.equal(made.memory.features, again.memory.features)
