"""What the sections say is what the run's files hold."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.files import read_json, write_json
from trainer.pseudo_labels import save_rows
from trainer.report import (
    bias,
    cam_wall,
    class_quality,
    label_statistics,
    licences,
    reproduce,
    review,
    training_curves,
    verdict,
)
from trainer.report.pictures import Pictures
from trainer.report.run_files import RunFiles


@pytest.fixture(scope="module")
def finished(finished_run: Path) -> RunFiles:
    return RunFiles(finished_run)


def test_the_verdict_tells_the_outcome_and_its_faults(finished: RunFiles) -> None:
    said = verdict.build(finished)
    assert said.sentences[0] == ("The classifier reaches 65.0 % mAP on 12 images that it was not trained on.")
    assert "moved the labels' mAP by +10.0 points, to 70.0 %" in said.sentences[2]
    text = " ".join(said.warnings)
    assert "No image is confidently sofa to CLIP" in text
    assert "cat with dog" in text


def test_many_broken_files_are_a_warning(make_run: Callable[..., Path], tmp_path: Path, photos: Path) -> None:
    """A copy that stopped half way would otherwise look like a small data set."""
    extra = [photos / f"bad {i}.jpg" for i in range(8)]
    for path in extra:
        path.write_bytes(b"")
    try:
        warnings = verdict.build(RunFiles(make_run(tmp_path / "run", until="index"))).warnings
    finally:
        for path in extra:
            path.unlink()
    assert warnings[0].startswith("9 of 33 training images could not be used.")


def test_without_targets_signs_stand_for_proof(run_without_targets: Path) -> None:
    run = RunFiles(run_without_targets)
    said = verdict.build(run)
    assert "no targets" in said.sentences[0]
    facts = dict(said.facts)
    clip, classifier = (np.load(run.root / "labels" / f"{name}.npy") for name in ("initial_raw", "classifier"))
    agreement = 100 * (clip.argmax(axis=1) == classifier.argmax(axis=1)).mean()
    assert facts["Classifier and CLIP name the same class first"] == f"in {agreement:.0f} % of the images"
    quality = class_quality.build(run)
    assert quality is not None
    assert not quality.measured
    assert [row.above for row in quality.rows] == (classifier >= 0.5).sum(axis=0).tolist()


def test_debiasing_levels_the_classes(finished: RunFiles) -> None:
    shown = bias.build(finished)
    assert shown is not None
    assert shown.rows[0].class_index == 3
    assert shown.rows[0].before is None, "of a class that nobody has seen, no figure is shown"
    for row in shown.rows[1:]:
        assert row.after is not None
        assert row.before is not None
        assert row.before < row.after <= 1


def test_label_counts(finished: RunFiles) -> None:
    shown = label_statistics.build(finished)
    assert shown is not None
    given = np.load(finished.root / "labels" / "final.npy") >= 0.5
    assert list(shown.counts) == given.sum(axis=0).tolist()
    by_number = np.bincount(given.sum(axis=1))
    assert [bar.text for bar in shown.per_image.bars] == [f"{i}: {n}" for i, n in enumerate(by_number)]
    assert shown.pairs[0][:3] == (0, 1, 1.0)


def test_the_wall_shows_the_crop_that_the_class_asked_for(finished: RunFiles) -> None:
    """Would fail if a box, a score or a label were of another image or class."""
    wall = cam_wall.build(finished, Pictures(), 6)
    assert wall is not None
    assert [one.class_index for one in wall.classes] == [0, 1, 2, 3]
    assert finished.views is not None
    assert finished.clip is not None
    assert finished.clip_of_views is not None
    image_ids = [row.image_id for row in finished.images]
    for one in wall.classes[:2]:
        assert len(one.items) == 6
        for item in one.items:
            image = image_ids.index(item.image_id)
            rows = np.flatnonzero((finished.views.image == image) & (finished.views.class_index == one.class_index))
            assert item.box == tuple(finished.views.boxes[rows[0]].tolist())
            assert item.clip_of_crop == pytest.approx(finished.clip_of_views[rows[0], one.class_index])
            assert item.clip == pytest.approx(finished.clip[image, one.class_index])
            assert item.overlay is not None
            assert item.crop is not None
            width, height = item.box[2] - item.box[0], item.box[3] - item.box[1]
            assert item.crop.width / item.crop.height == pytest.approx(width / height, rel=0.05)


def test_curves_mark_the_kept_epoch(finished: RunFiles) -> None:
    shown = training_curves.build(finished)
    assert shown is not None
    assert shown.stop_epoch == 3
    (mark,) = shown.maps.marks
    assert mark.at == pytest.approx(40 + (3 - 1) / (4 - 1) * (360 - 40 - 10))
    assert [line.name for line in shown.losses.lines] == ["label loss", "consistency loss"]


def test_one_epoch_is_a_curve_too(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", until="training")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text(lines[0] + "\n")
    shown = training_curves.build(RunFiles(folder))
    assert shown is not None
    assert "nan" not in shown.maps.lines[0].points


def test_classes_are_measured_as_in_per_class_csv(finished: RunFiles) -> None:
    quality = class_quality.build(finished)
    assert quality is not None
    assert {row.class_index: row.average_precision for row in quality.rows} == {
        c: float(line["average_precision"]) for c, line in enumerate(finished.precisions)
    }
    never = next(row for row in quality.rows if row.class_index == 3)
    assert (never.images, never.chart) == (0, None)


def test_the_review_has_twins_look_alikes_and_broken_files(finished: RunFiles) -> None:
    shown = review.build(finished, Pictures(enabled=False), 1.0)
    assert shown is not None
    assert shown.duplicates[0].image_ids == ("twin a.png", "twin b.png")
    assert shown.duplicates[0].similarity == 1
    assert {finished.images[0].image_id, finished.images[1].image_id} == {*shown.duplicates[1].image_ids}
    assert [failure.image_id for failure in shown.failures] == ["broken.png", "b\udcff\udcfe.png"]
    assert len(shown.uncertain) + len(shown.disputed) == 24


def test_the_command_leads_to_the_same_run(finished_run: Path, tmp_path: Path) -> None:
    """It leaves out where things run: an address of a labeler that has gone would help nobody."""
    folder = tmp_path / "a run"
    shutil.copytree(finished_run, folder)
    (folder / "config.yaml").write_text(
        "data: my photos\nclasses: cat, dog\nepochs: 4\ndebias: false\nexport_cams: true\n"
        "size_jitter: [32, 96]\nlabeler: localhost:1\n"
    )
    made = reproduce.build(RunFiles(folder))
    assert made.command == (
        f"ccd run 'my photos' --classes 'cat, dog' --epochs 4 --no-debias --export-cams --size-jitter 32 96 "
        f"--output '{folder}'"
    )
    assert dict(made.timings)["passes through CLIP"] == "70"


@pytest.mark.parametrize(
    ("model", "given", "settings", "licence"),
    [
        ("demo", {}, {}, licences.OWN),
        ("ViT-B-32-quickgelu", {}, {"clip_weights": "openai"}, "MIT"),
        ("ViT-B-32-quickgelu", {"labeler": "host:1"}, {"clip_weights": "openai"}, licences.UNKNOWN),
        ("ViT-H-14", {}, {"clip_weights": "metaclip_fullcc"}, "CC BY-NC 4.0: no commercial use"),
        (
            "MobileCLIP-S1",
            {},
            {"clip_weights": "datacompdr"},
            "Apple's licence for machine learning research: no commercial use",
        ),
        ("ViT-B-32", {}, {"clip_weights": "datacomp_xl_s13b_b90k"}, "MIT"),
        ("ViT-B-32", {}, {"clip_weights": "/data/own.pt"}, licences.UNKNOWN),
    ],
)
def test_licences_are_told_or_said_to_be_unknown(
    finished_run: Path, tmp_path: Path, model: str, given: dict[str, str], settings: dict[str, str], licence: str
) -> None:
    """Would fail if weights of somebody else's labeler, or of a file, were given a licence that nobody knows."""
    import yaml

    for name in ("config.resolved.yaml", "state.json"):
        shutil.copy(finished_run / name, tmp_path / name)
    resolved = yaml.safe_load((tmp_path / "config.resolved.yaml").read_text())
    (tmp_path / "config.resolved.yaml").write_text(yaml.safe_dump(resolved | settings))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": "x", **given}))
    write_json(tmp_path / "state.json", read_json(tmp_path / "state.json") | {"labeler": {"model": model}})
    clip, classifier = licences.build(RunFiles(tmp_path))
    assert clip.licence == licence
    assert classifier.licence == licences.OWN


def test_labels_of_other_images_are_refused(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", until="clip")
    save_rows(folder / "labels" / "initial_raw.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="another run"):
        verdict.build(RunFiles(folder))
