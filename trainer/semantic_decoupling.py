"""The classifier of SST and SARB: a feature of each class by attention over places, then a graph network over classes.

Chen et al. 2019, https://arxiv.org/abs/1908.07325, sections 3.2 and 3.3; its backbone comes from model.py. Shapes: B
batch, C classes, D width of a feature, H of the attention, W of a word vector, L places, F features of the backbone.
"""

import math

import torch
from torch import Tensor, nn

from trainer.model import Classifier, feature_map

# https://github.com/HCPLab-SYSU/HCP-MLR-PL: W (GloVe's), and how often classes exchange messages. D is 1024 there, half
# of the F = 2048 of its ResNet-101, and H half of D.
WORD_SIZE, STEPS = 300, 3


class SemanticClassifier(Classifier):
    """Multi-label classifier that gives logits and what they are made of, one feature a class.

    `backbone` is a timm model without head. `width` is D; None takes half of F, as published. `words`: (C, W) vectors
    of the class names, which stay as they are; None learns them with the rest, from orthogonal ones. `adjacency` is
    (C, C), zero until `learn_graph`.
    """

    adjacency: Tensor

    def __init__(
        self, backbone: nn.Module, *, num_classes: int, width: int | None = None, words: Tensor | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        num_features = int(backbone.num_features)  # type: ignore[arg-type]
        width = num_features // 2 if width is None else width
        self.reduce = nn.Sequential(nn.Conv2d(num_features, width, kernel_size=1, bias=False), nn.BatchNorm2d(width))
        self.words = _learned_words(num_classes) if words is None else nn.Parameter(words, requires_grad=False)
        self.decouple = SemanticDecoupling(width, self.words.shape[1])
        self.graph = GatedGraphNetwork(width)
        self.register_buffer("adjacency", torch.zeros(num_classes, num_classes))
        self.fuse = nn.Linear(2 * width, width)
        self.score = RowwiseLinear(num_classes, width)

    @property
    def width(self) -> int:
        return self.fuse.out_features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised float images -> logits (B, C) and the classes' features (B, C, D)."""
        features_BDhw = self.reduce(feature_map(self.backbone, images))
        features_BCD = self.decouple(features_BDhw.flatten(2).transpose(1, 2), self.words)
        return self.classify(features_BCD), features_BCD

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, C) of classes' features (B, C, D), which need not come from one image."""
        nodes_BCD = self.graph(features, self.adjacency)
        logits_BC: Tensor = self.score(torch.tanh(self.fuse(torch.cat((nodes_BCD, features), dim=2))))
        return logits_BC

    def learn_graph(self, labels: Tensor) -> None:
        """Takes the edges from all labels (N, C), NaN where nothing is known."""
        self.adjacency.copy_(conditional_probabilities(labels))


class SemanticDecoupling(nn.Module):
    """Attention of each class's word to the places of a feature map."""

    def __init__(self, width: int, word_size: int) -> None:
        super().__init__()
        hidden = width // 2
        self.image = nn.Linear(width, hidden, bias=False)
        self.word = nn.Linear(word_size, hidden, bias=False)
        # without the biases of the authors' code, which a softmax does not see
        self.joint = nn.Linear(hidden, hidden, bias=False)
        self.attention = nn.Linear(hidden, 1, bias=False)

    def forward(self, features: Tensor, words: Tensor) -> Tensor:
        """(B, L, D) and (C, W) -> (B, C, D): the mean over places, weighted by how much each has to do with a class."""
        joint_BLCH = torch.tanh(self.image(features)[:, :, None] * self.word(words))
        # nothing lies between both layers: multiplied first, they take an H-th of the time and give the same
        scores_BLC = joint_BLCH @ (self.attention.weight @ self.joint.weight)[0]
        return torch.einsum("blc,bld->bcd", scores_BLC.softmax(dim=1), features)


class GatedGraphNetwork(nn.Module):
    """Classes tell each other what they are; gates decide what each keeps (Li et al. 2016,
    https://arxiv.org/abs/1511.05493, eq. 3-6)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_messages = nn.Linear(2 * width, 3 * width)
        self.of_nodes = nn.Linear(width, 2 * width)
        self.of_kept = nn.Linear(width, width)

    def forward(self, nodes: Tensor, adjacency: Tensor) -> Tensor:
        """(B, C, D) and (C, C), row i the weights with which i hears the others -> (B, C, D)."""
        for _ in range(STEPS):
            messages = torch.cat((adjacency @ nodes, adjacency.T @ nodes), dim=2)
            update_message, reset_message, new_message = self.of_messages(messages).chunk(3, dim=2)
            update_node, reset_node = self.of_nodes(nodes).chunk(2, dim=2)
            update, reset = (update_message + update_node).sigmoid(), (reset_message + reset_node).sigmoid()
            new = torch.tanh(new_message + self.of_kept(reset * nodes))
            nodes = (1 - update) * nodes + update * new
        return nodes


class RowwiseLinear(nn.Module):
    """A linear layer with one output for each row of its input, and weights of its own for each."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        limit = 1 / math.sqrt(width)  # nn.Linear's
        self.weight = nn.Parameter(torch.empty(rows, width).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.empty(rows).uniform_(-limit, limit))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, rows, width) -> (B, rows)."""
        return (inputs * self.weight).sum(dim=2) + self.bias


def conditional_probabilities(labels: Tensor) -> Tensor:
    """(C, C), row i and column j: the share of images with a known positive i that have a known positive j too; 0 where
    i never is one. labels: (N, C), NaN where nothing is known."""
    positive_NC = (labels == 1).float()
    counts_CC = positive_NC.T @ positive_NC
    return counts_CC / counts_CC.diagonal()[:, None].clamp(min=1)


def _learned_words(num_classes: int) -> nn.Parameter:
    """(C, W): as different as can be, and as large as nn.Embedding's."""
    words_CW = nn.Parameter(torch.empty(num_classes, WORD_SIZE))
    nn.init.orthogonal_(words_CW, gain=math.sqrt(WORD_SIZE))
    return words_CW
