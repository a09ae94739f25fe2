"""Settings: where each value comes from, and what contradicts itself."""

import os
from dataclasses import fields
from typing import Any

import pytest

from trainer.config import LABELER_FILES, RunConfig, Settings, resolve
from trainer.presets import CONSTANTS, DATA_PRESETS, METHOD_DATA_PRESETS, METHOD_PRESETS

PROMPT = "a photo of the {}"


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("data_format", DATA_PRESETS)
def test_every_set_of_constants_fills_everything(constants: str, data_format: str) -> None:
    """Would fail if a set forgot a constant, or named one that does not exist."""
    settings = resolve(RunConfig(constants=constants), data_format=data_format, num_classes=20, prompt=PROMPT)
    open_ones = {"classes", "corrections", "labeler", "positives", "word_vectors", "ema", "size_jitter", *LABELER_FILES}
    assert {f.name for f in fields(Settings) if getattr(settings, f.name) is None} <= open_ones
    assert set(CONSTANTS[constants]) | set(DATA_PRESETS[data_format]) <= {f.name for f in fields(Settings)}


def test_constants_are_the_ones_of_the_paper_and_of_its_code() -> None:
    """Would fail if a constant drifted: paper section 4.1, and the released script."""
    paper, official, fixed = (
        resolve(RunConfig(constants=name), data_format="voc12", num_classes=20, prompt=PROMPT)
        for name in ("paper", "official", "fixed")
    )
    assert (paper.alpha, paper.max_entropy, paper.entropy_unit, paper.mean_views) == (0.4, 0.5, "normalized", 10)
    assert (paper.backbone, paper.learning_rate, paper.head_learning_rate) == ("resnet101.tv_in1k", 1e-5, 1e-5)
    assert (official.alpha, official.max_entropy, official.entropy_unit) == (0.2, 2.0, "nats")
    assert (official.backbone, official.cam_boost, official.box) == ("resnet50.tv_in1k", 3.0, "row_major")
    assert official.head_learning_rate == pytest.approx(1e-4)
    assert (fixed.backbone, fixed.box, fixed.empty_views, fixed.stop) == ("resnet101.tv_in1k", "tight", "keep", "fixed")
    for settings in (paper, official, fixed):
        assert (settings.epochs, settings.warmup_epochs, settings.batch_size) == (10, 2, 16)
        assert settings.box_offset * settings.view_size == 80
        assert settings.floor == 1 / 20


def resolved(method: str, data_format: str, **flags: Any) -> Settings:
    return resolve(RunConfig(method=method, **flags), data_format=data_format, num_classes=20, prompt=PROMPT)


@pytest.mark.parametrize("method", ["sst", "sarb"])
def test_rows_of_partial_labels_have_their_own_schedule(method: str) -> None:
    """Would fail if they trained as CCD does."""
    photos = resolved(method, "voc07")
    assert (photos.labels, photos.known_share, photos.epochs, photos.batch_size) == ("partial", 0.1, 20, 8)
    assert (photos.learning_rate, photos.head_learning_rate, photos.rate_epochs) == (1e-5, 1e-5, 10)
    assert (photos.weight_decay, photos.trained_blocks) == (5e-4, "last")


@pytest.mark.parametrize("method", ["sst", "sarb"])
@pytest.mark.parametrize("data_format", [name for name, preset in DATA_PRESETS.items() if preset.get("clip") == "demo"])
def test_a_bundled_backbone_trains_without_the_decay_that_is_for_others(method: str, data_format: str) -> None:
    """Would fail if SST and SARB kept an L2 for a hundredth of the rate, or their head ran ahead of the backbone."""
    settings = resolved(method, data_format)
    assert (settings.learning_rate, settings.head_learning_rate, settings.weight_decay) == (1e-3, 1e-3, 0)
    assert (settings.labels, settings.trained_blocks) == ("partial", "all")


@pytest.mark.parametrize("method", ["asl", "sst", "sarb"])
def test_few_labels_of_the_demo_have_longer_and_reach_the_rate_s_drop(method: str) -> None:
    """Would fail if the demo's 7 epochs, or the published 10 before a drop, were back: it would never come."""
    settings = resolved(method, "demo")
    assert (settings.epochs, settings.rate_epochs) == (14, 7)
    assert resolved("bce", "demo").epochs == resolved("ccd", "demo").epochs == 7
    assert (resolved("bce", "demo").rate_epochs, resolved(method, "voc").epochs) == (0, 20)


def test_what_a_method_needs_on_a_data_set_goes_before_both_and_behind_flags() -> None:
    """Would fail if a person's explicit choice were overwritten, or a rule were for nothing that exists."""
    chosen = {"epochs": 3, "rate_epochs": 1, "weight_decay": 5e-4, "head_multiplier": 2.0}
    names = {f.name for f in fields(Settings)}
    for (method, data_format), preset in METHOD_DATA_PRESETS.items():
        assert method in METHOD_PRESETS
        assert data_format in DATA_PRESETS
        assert set(preset) <= names
        plain, flagged = resolved(method, data_format), resolved(method, data_format, **chosen)
        assert {name: getattr(plain, name) for name in preset} == preset
        assert {name: getattr(flagged, name) for name in chosen} == chosen
        assert flagged.head_learning_rate == 2 * flagged.learning_rate


def test_the_user_s_word_goes_before_the_data_set_s_and_that_before_the_constants() -> None:
    """Would fail if a flag were overwritten by a preset."""
    settings = resolve(RunConfig(alpha=0.0, image_size=224), data_format="demo", num_classes=20, prompt=PROMPT)
    assert (settings.alpha, settings.image_size) == (0.0, 224)
    assert settings.batch_size == DATA_PRESETS["demo"]["batch_size"]
    assert settings.cam_threshold == CONSTANTS["fixed"]["cam_threshold"]
    assert resolve(RunConfig(prompt="{}!"), data_format="demo", num_classes=2, prompt=PROMPT).prompt == "{}!"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (RunConfig(epochs=3, warmup_epochs=4), "--warmup-epochs 4"),
        (RunConfig(labeler_ca="ca.pem"), "--labeler-ca, .* are for a labeler that runs elsewhere"),
        (RunConfig(alpha=1.5), "--alpha 1.5 must lie between 0 and 1"),
        (RunConfig(prompt="a photo"), "exactly one {}"),
        (RunConfig(batch_size=0), "--batch-size 0"),
        (RunConfig(labels="targets"), "--labels targets does not go with --method ccd"),
        (RunConfig(accumulate=0), "--accumulate 0"),
        (RunConfig(ema=1.0), "--ema 1.0 must lie between 0 and 0.999"),
        (RunConfig(layer_decay=1.5), "--layer-decay 1.5"),
        (RunConfig(size_jitter=(300, 400)), "--size-jitter 300 400 must be two multiples of 32"),
        (RunConfig(size_jitter=(128, 64)), "the smaller first"),
        (RunConfig(size_jitter=(64, 128), compile=True), "--size-jitter does not go with --compile"),
        (RunConfig(method="magic"), "--method magic: .* known: bce, "),
    ],
)
def test_contradictions(config: RunConfig, says: str) -> None:
    """Would fail if a setting that makes no sense were found out hours later."""
    with pytest.raises(ValueError, match=says.replace("{", r"\{")):
        resolve(config, data_format="demo", num_classes=20, prompt=PROMPT)


def test_processes_of_a_machine_divide_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if eight processes under torchrun started eight times as many threads as there are cores."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(2 * (os.cpu_count() or 1)))
    assert resolve(RunConfig(), data_format="demo", num_classes=2, prompt=PROMPT).workers == 1
