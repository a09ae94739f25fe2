"""The classifier of SST and SARB: attention to places, the graph of classes, and what is learned of both."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.model import create_backbone
from trainer.semantic_decoupling import (
    GatedGraphNetwork,
    RowwiseLinear,
    SemanticClassifier,
    SemanticDecoupling,
    conditional_probabilities,
)

NAN = float("nan")
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture
def classifier() -> SemanticClassifier:
    torch.manual_seed(0)
    return SemanticClassifier(create_backbone("resnet10t", weights="none"), num_classes=4, width=8).eval()


def test_attention_goes_where_the_word_is() -> None:
    """Two places, two words, each word the image of one place: each class takes its own place's feature."""
    decouple = SemanticDecoupling(width=2, word_size=2)
    with torch.no_grad():
        decouple.image.weight.copy_(torch.tensor([[1.0, -1.0]]))
        decouple.word.weight.copy_(torch.tensor([[1.0, -1.0]]))
        decouple.joint.weight.fill_(1.0)
        decouple.attention.weight.fill_(100.0)
    places = torch.eye(2)[None]
    torch.testing.assert_close(decouple(places, torch.eye(2)), places)


def test_without_attention_a_feature_is_the_mean_over_places() -> None:
    decouple = SemanticDecoupling(width=4, word_size=3)
    nn.init.zeros_(decouple.attention.weight)
    features = torch.randn(2, 6, 4)
    expected = features.mean(dim=1, keepdim=True).expand(2, 5, 4)
    torch.testing.assert_close(decouple(features, torch.randn(5, 3)), expected)


@pytest.mark.parametrize(("backbone", "width"), [("demo", 128), ("resnet10t", 256)])
def test_a_feature_is_half_as_wide_as_the_backbone_s(backbone: str, width: int) -> None:
    """As 1024 is of ResNet-101's 2048: a number of its own would not fit small backbones."""
    model = SemanticClassifier(create_backbone(backbone, weights="none"), num_classes=3).eval()
    assert model.width == model(torch.randn(1, 3, 32, 32))[1].shape[2] == width


@settings(deadline=None)
@given(SEEDS)
def test_two_layers_multiplied_first_are_the_two_layers(seed: int) -> None:
    """The shortcut must give what the layers give one after the other, biases or not."""
    torch.manual_seed(seed)
    decouple = SemanticDecoupling(width=6, word_size=4)
    features, words = torch.randn(2, 5, 6), torch.randn(3, 4)
    for c, word in enumerate(words):
        joint = torch.tanh(decouple.image(features) * decouple.word(word))
        weights = (decouple.attention(decouple.joint(joint) + 0.3) - 0.7).softmax(dim=1)
        torch.testing.assert_close(decouple(features, words)[:, c], (weights * features).sum(dim=1))


def test_closed_weights_halve_a_class_in_each_of_three_steps() -> None:
    """All weights zero: the update gate is 1/2 and what it lets in is 0."""
    graph = GatedGraphNetwork(2)
    for parameter in graph.parameters():
        nn.init.zeros_(parameter)
    nodes = torch.randn(1, 3, 2)
    torch.testing.assert_close(graph(nodes, torch.ones(3, 3)), nodes / 8)


@settings(deadline=None)
@given(SEEDS)
def test_the_graph_network_is_its_formula(seed: int) -> None:
    """Class by class: messages along both directions of the edges, then the gated update."""
    torch.manual_seed(seed)
    graph, nodes, edges = GatedGraphNetwork(2), torch.randn(1, 3, 2), torch.rand(3, 3)

    def step(nodes: Tensor) -> Tensor:
        new = []
        for i in range(3):
            heard = sum(edges[i, j] * nodes[j] for j in range(3))
            answered = sum(edges[j, i] * nodes[j] for j in range(3))
            from_messages = graph.of_messages(torch.cat((heard, answered)))
            from_node = graph.of_nodes(nodes[i])
            z, r = (from_messages[:2] + from_node[:2]).sigmoid(), (from_messages[2:4] + from_node[2:]).sigmoid()
            new.append((1 - z) * nodes[i] + z * (from_messages[4:] + graph.of_kept(r * nodes[i])).tanh())
        return torch.stack(new)

    torch.testing.assert_close(graph(nodes, edges)[0], step(step(step(nodes[0]))))


def test_each_row_has_weights_of_its_own() -> None:
    layer = RowwiseLinear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.bias.copy_(torch.tensor([0.5, -0.5]))
    torch.testing.assert_close(layer(torch.tensor([[[1.0, 1.0], [1.0, -1.0]]])), torch.tensor([[3.5, -1.5]]))


def test_edges_by_hand() -> None:
    """Class 0 is known in three images, once with 1 and once with 2. Were it P(i | j), row 1 would begin with 1/3."""
    labels = torch.tensor([[1, 1, NAN, 0], [1, 0, NAN, NAN], [1, NAN, 1, NAN], [NAN, 1, NAN, 0]])
    third = 1 / 3
    expected = torch.tensor([[1, third, third, 0], [0.5, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    torch.testing.assert_close(conditional_probabilities(labels), expected)


@settings(deadline=None)
@given(SEEDS)
def test_edges_are_probabilities(seed: int) -> None:
    torch.manual_seed(seed)
    labels = torch.tensor([0.0, 1.0, NAN])[torch.randint(3, (5, 4))]
    edges, seen = conditional_probabilities(labels), (labels == 1).any(dim=0)
    assert ((edges >= 0) & (edges <= 1)).all()
    torch.testing.assert_close(edges.diagonal(), seen.float())
    assert (edges[~seen] == 0).all()


def test_logits_are_those_of_its_features(classifier: SemanticClassifier) -> None:
    """SARB sends features through the head again: the same features must give the same logits."""
    logits, features = classifier(torch.randn(2, 3, 64, 64))
    assert features.shape == (2, 4, 8)
    torch.testing.assert_close(classifier.classify(features), logits)


def test_the_graph_is_kept_and_makes_a_difference(classifier: SemanticClassifier) -> None:
    """A resumed run or an exported model without its edges would be another classifier."""
    features = torch.randn(2, 4, 8)
    before = classifier.classify(features)
    classifier.learn_graph(torch.tensor([[1.0, 1.0, NAN, 0.0], [NAN, 1.0, 1.0, 1.0]]))
    after = classifier.classify(features)
    assert not torch.allclose(before, after)
    again = SemanticClassifier(create_backbone("resnet10t", weights="none"), num_classes=4, width=8).eval()
    again.load_state_dict(classifier.state_dict())
    assert torch.equal(again.classify(features), after)


def test_given_words_stay_and_others_learn(classifier: SemanticClassifier) -> None:
    given = SemanticClassifier(classifier.backbone, num_classes=4, width=8, words=torch.randn(4, 5))
    for model in (given, classifier):
        model(torch.randn(2, 3, 64, 64))[0].square().sum().backward()
    assert given.words.grad is None
    assert classifier.words.grad.abs().sum() > 0
    gram = classifier.words @ classifier.words.T
    torch.testing.assert_close(gram, 300 * torch.eye(4), rtol=0, atol=1e-2)
