"""Class bias: the published figures on real scores, exact merging, the entropy gate, and debiasing."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeler_service.calibration import QUANTUM, BiasStatistics, Calibration, EntropyGate
from labeler_service.scoring import softmax

NATS_2 = EntropyGate(2.0, normalized=False)
EVERYTHING = EntropyGate(np.inf, normalized=False)


def random_probs(seed: int, num_rows: int, num_classes: int = 5) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 3, (num_rows, num_classes)).astype(np.float32)
    return softmax(logits)


@pytest.fixture(scope="module")
def voc12() -> dict[str, np.ndarray]:
    folder = Path(os.environ.get("CCD_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "voc12_train_rn50x64.npz"
    if not path.is_file():
        pytest.skip(f"no {path}: set CCD_SHARED_DATA to the folder that holds it")
    return dict(np.load(path))


def test_published_bias_of_voc12(voc12: dict[str, np.ndarray]) -> None:
    """Another temperature, gate or mean would no longer give the biased classes of the paper's Table 3."""
    probs_NC = softmax(100 * voc12["global_cosine_centred"])
    statistics = BiasStatistics.of(probs_NC, NATS_2)
    bias = dict(zip(voc12["class_names"].tolist(), statistics.bias().tolist(), strict=True))
    published = {"person": 0.701, "tvmonitor": 0.752, "sofa": 0.777, "diningtable": 0.782, "chair": 0.819}
    assert {name: bias[name] for name in published} == pytest.approx(published, abs=1e-3)
    assert statistics.counts.sum() / statistics.num_rows == pytest.approx(0.9755, abs=1e-4)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), min_size=1, max_size=6), st.randoms())
def test_statistics_do_not_depend_on_how_rows_were_spread(seed: int, sizes: list[int], random: object) -> None:
    """Rounding would make labels depend on the number of replicas and on the order of replies."""
    probs_NC = random_probs(seed, sum(sizes) + 1)
    whole = BiasStatistics.of(probs_NC, NATS_2)
    parts = [BiasStatistics.of(part, NATS_2) for part in np.split(probs_NC, np.cumsum(sizes))]
    random.shuffle(parts)  # type: ignore[attr-defined]
    merged = sum(parts[1:], start=parts[0])
    assert merged.sums.tobytes() == whole.sums.tobytes()
    assert merged.counts.tolist() == whole.counts.tolist()
    assert merged.num_rows == whole.num_rows


def test_planted_bias_is_recovered() -> None:
    """The bias is the mean top-1 probability by class, not by image or over all classes."""
    planted = {0: 0.55, 1: 0.7, 2: 0.95}
    rows = [
        [top if c == winner else (1 - top) / 3 for c in range(4)]
        for winner, mean in planted.items()
        for top in (mean - 0.02, mean + 0.02)
    ]
    bias = BiasStatistics.of(np.array(rows, np.float32), EVERYTHING).bias()
    assert bias[:3].tolist() == pytest.approx(list(planted.values()), abs=1e-6)
    assert bias[3] == pytest.approx(np.mean(list(planted.values())), abs=1e-6), "never on top: the mean of the others"


def test_bias_is_one_when_no_row_passes() -> None:
    """0 / 0 would put NaN into every label."""
    statistics = BiasStatistics.of(random_probs(0, 10), EntropyGate(0.0, normalized=False))
    assert statistics.num_rows == 10
    assert statistics.bias().tolist() == [1.0] * 5


@pytest.mark.parametrize(("gate", "passes"), [(0.68, False), (0.70, True)])
def test_gate_counts_nats_or_shares_of_ln_c(gate: float, passes: bool) -> None:
    """ln(2) = 0.693: with the units mixed up the paper's 0.5 would keep other images."""
    even = np.array([[0.5, 0.5, 0, 0]], np.float32)
    assert EntropyGate(gate, normalized=False).passes(even.astype(float)).tolist() == [passes]
    assert EntropyGate(gate / np.log(4), normalized=True).passes(even.astype(float)).tolist() == [passes]


def test_one_class_alone() -> None:
    """ln(1) = 0 must not divide the gate."""
    assert BiasStatistics.of(np.ones((3, 1), np.float32), EntropyGate(0.5, normalized=True)).counts.tolist() == [3]


@pytest.mark.parametrize(
    "rows", [[[0.5, 0.4]], [[-0.1, 1.1]], [[np.nan, 1.0]], [[np.inf, 0.0]]], ids=["sum", "range", "nan", "inf"]
)
def test_what_is_no_probability_is_refused(rows: list[list[float]]) -> None:
    """Logits or debiased labels sent by mistake would give a bias that looks plausible."""
    with pytest.raises(ValueError, match="probabilities"):
        BiasStatistics.of(np.array(rows, np.float32), NATS_2)


def test_sums_are_multiples_of_the_quantum() -> None:
    statistics = BiasStatistics.of(random_probs(1, 100), NATS_2)
    assert (statistics.sums / QUANTUM % 1 == 0).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.booleans())
def test_debiased_labels(seed: int, floor: float, clamp: bool) -> None:
    """Floor first, then the division, then the clamp: in another order labels leave [0, 1] or lose their floor."""
    rng = np.random.default_rng(seed)
    probs_NC = random_probs(seed, 4)
    bias = rng.uniform(0.3, 1, 5).astype(np.float32)
    labels_NC = Calibration(bias, floor, clamp).apply(probs_NC)
    assert labels_NC.dtype == np.float32
    expected = np.maximum(probs_NC.astype(float), floor) / bias
    np.testing.assert_allclose(labels_NC, np.minimum(expected, 1) if clamp else expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("bias", "floor"), [([0.0, 1], 0), ([1.1, 1], 0), ([np.nan, 1], 0), ([1, 1], -0.1), ([1, 1], 2)]
)
def test_bad_calibration_is_refused(bias: list[float], floor: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        Calibration(np.array(bias, np.float32), floor, clamp=False)
