"""A folder of images with broken files among them, as an engineer would bring it."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, image_bytes: Callable[..., bytes]) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "holiday").mkdir()
    for seed in range(20):
        (folder / "holiday" / f"{seed:02d}.jpg").write_bytes(image_bytes(seed, 120, 90))
    (folder / "portrait.png").write_bytes(image_bytes(50, 60, 100, "PNG"))
    (folder / "truncated.jpg").write_bytes(image_bytes(60)[:700])
    (folder / "empty.jpeg").write_bytes(b"")
    (folder / "page.png").write_text("<html>not an image</html>")
    return folder


def test_broken_files_are_named_once_and_the_rest_is_used(
    photos: Path, labeler, run_trainer: Callable[..., tuple[int, str]], small_run: list[str], tmp_path: Path
) -> None:
    """Would fail if one broken file stopped the run, vanished silently, or shifted labels to another image."""
    classes = tmp_path / "classes.txt"
    classes.write_text("# what we sell\ncat\ndog\n\nbicycle\n")
    output = tmp_path / "run"
    code, text = run_trainer(
        "run",
        photos,
        "--classes",
        classes,
        *(flag for flag in small_run if flag != "--no-report"),
        "--labeler",
        labeler.address,
        "--output",
        output,
        "--export-cams",
    )
    assert code == 5, text
    assert "train: 21 images\n" in text
    for name in ("truncated.jpg", "empty.jpeg", "page.png"):
        assert text.count(name) == 1, text
    with (output / "failed.csv").open(newline="") as file:
        failed = {row["image_id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(failed) == {"truncated.jpg", "empty.jpeg", "page.png"}
    assert all(failed.values())
    labels = pq.read_table(output / "labels" / "labels.parquet")
    assert labels["file_name"].to_pylist() == [*(f"holiday/{i:02d}.jpg" for i in range(20)), "portrait.png"]
    probs = np.array(labels["probs"].to_pylist())
    assert probs.shape == (21, 3)
    assert ((probs >= 0) & (probs <= 1)).all()
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["images"], summary["images_failed"], summary["map"]) == (21, 3, {})
    views = pq.read_table(output / "labels" / "views.parquet")
    assert summary["clip_forward_passes"] == 21 + len(views)
    assert {
        path.relative_to(output / "cams").with_suffix("").as_posix() for path in (output / "cams").rglob("*.npz")
    } == {*labels["file_name"].to_pylist()}
    assert text.splitlines()[-2:] == [f"report: {output / 'report.html'}", f"next: ccd review {output}"]
    assert "truncated.jpg" in (output / "report.html").read_text()
    assert np.load(output / "labels" / "classifier.npy").shape == probs.shape
    assert len(np.load(output / "labels" / "embeddings.npy")) == len(probs)


def test_exported_model_gives_the_run_s_own_predictions(
    photos: Path, labeler, run_here: Callable[..., tuple[int, str]], small_run: list[str], tmp_path: Path
) -> None:
    """Would fail if model/ were another epoch's weights, or could not be used without the run."""
    from trainer.export import load_model

    output = tmp_path / "run"
    run_here("run", photos, "--classes", "cat, dog", *small_run, "--labeler", labeler.address, "--output", output)
    model, names = load_model(output / "model")
    assert names == ("cat", "dog")
    kept = json.loads((output / "summary.json").read_text())["stop_epoch"]
    from trainer.checkpoint import read_tensors

    expected, _ = read_tensors(output / "checkpoints" / f"epoch-{kept:03d}.safetensors")
    assert all((model.state_dict()[name] == tensor).all() for name, tensor in expected.items())
    np.testing.assert_allclose(np.load(output / "labels" / "classifier.npy"), predictions(output), atol=1e-5)


def predictions(output: Path) -> np.ndarray:
    """(N, C) probabilities of the run's training images by its exported model."""
    import torch

    from trainer.data.index import Index
    from trainer.data.loader import EvaluationBatches
    from trainer.data.sample import ImageSet, Sample
    from trainer.engine import Machine, predict_logits
    from trainer.trained_model import open_model

    machine = Machine(torch.device("cpu"), torch.float32)
    trained = open_model(output, machine.device)
    rows = [row for row in Index.read(output / "index.parquet", paths=True).rows if not row.reason]
    images = ImageSet("train", tuple(Sample(row.image_id, Path(row.path)) for row in rows))
    batches = EvaluationBatches(
        images, image_size=trained.image_size, mean=trained.mean, std=trained.std, batch_size=8, workers=1
    )
    logits = predict_logits(trained.classifier, batches, machine, num_images=len(images), advance=lambda *_: None)
    return 1 / (1 + np.exp(-logits))
