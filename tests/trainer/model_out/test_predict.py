"""`ccd predict`: the classifier's own probabilities in three formats, and what becomes of images that are none."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from trainer import predictor
from trainer.data.sample import Sample
from trainer.data.transforms import load_squashed, normalise
from trainer.engine import Machine
from trainer.model import CamClassifier
from trainer.predictor import Predictor
from trainer.trained_model import open_model

NAMES = ["cat", "dog", "traffic light"]
IDS = ["0.png", "1.png", "2.png", "3.png", "below/<b>'4'.png"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Ccd = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def expected(classifier: CamClassifier, photos: Path) -> tuple[Any, Any]:
    """Probabilities (5, 3) and CAMs (5, 3, h, w) by the classifier itself."""
    pixels = [load_squashed((photos / name).read_bytes(), 64) for name in IDS]
    with torch.inference_mode():
        logits, cams = classifier(normalise(pixels, MEAN, STD))
    return logits.sigmoid().numpy(), cams.numpy()


def read(path: Path) -> tuple[list[str], Any, list[list[str]] | None]:
    """File names, probabilities (N, C) and labels of a table in any of the formats."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        assert json.loads(table.schema.metadata[b"ccd.classes"]) == NAMES
        labels = table["label_names"].to_pylist() if "label_names" in table.column_names else None
        return table["file_name"].to_pylist(), np.array(table["probs"].to_pylist()), labels
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        labels = [list(filter(None, row["labels"].split(","))) for row in rows] if "labels" in rows[0] else None
    else:
        rows = [{**item, **item["probs"]} for item in json.loads(path.read_text())]
        labels = [row["labels"] for row in rows] if "labels" in rows[0] else None
    return [row["file_name"] for row in rows], np.array([[float(row[n]) for n in NAMES] for row in rows]), labels


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_every_format_has_every_probability(
    suffix: str, ccd: Ccd, model_folder: Path, photos: Path, expected: tuple[Any, Any], tmp_path: Path
) -> None:
    """Would fail if rows met other images than their own, digits were lost, or a threshold were applied silently."""
    output = tmp_path / f"table.{suffix}"
    code, text = ccd("predict", model_folder, photos, "--output", output, "--batch-size", "2")
    assert code == 0, text
    names, probs, labels = read(output)
    assert (names, labels) == (IDS, None)
    np.testing.assert_allclose(probs, expected[0], atol=1e-6)
    (tmp_path / "thresholds.json").write_text(json.dumps({"cat": 0.0, "dog": 1.0, "traffic light": 0.5}))
    code, text = ccd("predict", model_folder, photos, "--output", output, "--threshold", tmp_path / "thresholds.json")
    assert code == 0, text
    _, with_labels, labels = read(output)
    np.testing.assert_allclose(with_labels, probs, atol=1e-6)
    assert labels == [["cat", "traffic light"] if row[2] >= 0.5 else ["cat"] for row in probs]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_broken_images_are_listed_and_the_rest_is_predicted(
    ccd: Ccd, model_folder: Path, image_bytes: Callable[..., bytes], tmp_path: Path
) -> None:
    """Would fail if one broken file stopped the others, shifted rows, or was passed over in silence."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"")
    (folder / "b.png").write_bytes(image_bytes(1, format="PNG"))
    (folder / "c.jpg").write_bytes(image_bytes(2)[:500])
    (folder / "d.png").write_text("<html>")
    output = tmp_path / "table.csv"
    code, text = ccd("predict", model_folder, folder, "--output", output, "--batch-size", "1")
    assert code == 5, text
    assert read(output)[0] == ["b.png"]
    with (tmp_path / "table.failed.csv").open(newline="") as file:
        failed = {row["file_name"]: row["reason"] for row in csv.DictReader(file)}
    assert set(failed) == {"a.jpg", "c.jpg", "d.png"}
    assert all(failed.values())
    assert all(text.count(name) == 1 for name in failed), text
    (folder / "b.png").unlink()
    output.unlink()
    code, text = ccd("predict", model_folder, folder, "--output", output)
    assert (code, output.exists()) == (3, False), text
    code, text = ccd("predict", model_folder, folder / "a.jpg", folder, "--output", output)
    assert (code, "none of 4 images" in text) == (3, True), text


def test_a_file_of_failures_does_not_outlive_them(ccd: Ccd, model_folder: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "table.failed.csv").write_text("of an earlier call")
    code, _ = ccd("predict", model_folder, photos / "0.png", "--output", tmp_path / "table.csv")
    assert (code, (tmp_path / "table.failed.csv").exists()) == (0, False)


def test_cams_as_arrays_and_as_pictures(
    ccd: Ccd, model_folder: Path, photos: Path, expected: tuple[Any, Any], tmp_path: Path
) -> None:
    """Would fail if a CAM lay under another image's or class's name, or a picture were mirrored or upside down."""
    probs, cams = expected
    places = ("--output", tmp_path / "table.csv", "--cam", tmp_path / "cams")
    code, text = ccd("predict", model_folder, photos, *places)
    assert code == 0, text
    for name, cams_Chw in zip(IDS, cams, strict=True):
        with np.load(tmp_path / "cams" / f"{name}.npz") as file:
            assert file["classes"].tolist() == [0, 1, 2]
            np.testing.assert_allclose(file["cams"], cams_Chw, atol=1e-4)
    code, text = ccd("predict", model_folder, photos, *places, "--cam-format", "png")
    assert code == 0, text
    pictures = sorted((tmp_path / "cams").rglob("*.png"))
    assert len(pictures) == len(IDS)
    best = int(probs[0].argmax())
    [path] = [picture for picture in pictures if picture.name.startswith("0.png.")]
    assert path.name.startswith(f"0.png.{best:03d}-")
    grey = np.asarray(Image.open(path))
    assert (grey.shape, grey.min(), grey.max()) == ((64, 64), 0, 255)
    side = cams.shape[-1]
    cells = grey.reshape(side, 64 // side, side, 64 // side).mean(axis=(1, 3))
    assert np.corrcoef(cells.ravel(), cams[0, best].ravel())[0, 1] > 0.9


def test_no_more_images_are_read_than_batches_at_work(
    model_folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if all images were read before the first one is predicted: memory would grow with their number."""
    read = 0

    def counted(data: bytes, size: int) -> Any:
        nonlocal read
        read += 1
        return load_squashed(data, size)

    monkeypatch.setattr(predictor, "load_squashed", counted)
    samples = [Sample(str(i), photos / "0.png") for i in range(100)]
    device = torch.device("cpu")
    working = Predictor(open_model(model_folder, device), Machine(device, torch.float32), batch_size=4, workers=2)
    results = working.predict(samples, lambda rejected: pytest.fail(str(rejected)), lambda count, note="": None)
    next(results)
    assert read <= 4 * (2 + 2)
    assert [sample.image_id for found, _, _ in results for sample in found] == [str(i) for i in range(4, 100)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{model}"], "name the images"),
        (["{model}", "{tmp}/gone"], "there is no file or folder"),
        (["{model}", "/dev/null"], "there is no file or folder"),
        (["{tmp}", "{photos}"], "holds no exported classifier"),
        (["{model}", "{photos}", "--output", "{tmp}/table.xls"], "end it with .parquet, .csv, .json"),
        (["{model}", "{photos}", "--output", "{tmp}/table.csv", "--format", "json"], "does not go with"),
        (["{model}", "{photos}", "--threshold", "1.5"], "a number from 0 to 1"),
        (["{model}", "{photos}", "--threshold", "auto"], "a number from 0 to 1"),
        (["{model}", "{photos}", "--precision", "float16", "--device", "cpu"], "float16 needs CUDA"),
        (["{model}", "{photos}", "--batch-size", "0"], "--batch-size 0"),
        (["{model}", "{photos}", "{photos}", "--cam", "{tmp}/cams"], "two images have the same name"),
    ],
)
def test_mistakes(
    arguments: list[str],
    says: str,
    ccd: Ccd,
    model_folder: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Would fail if a mistake ended in a traceback, or left a table behind."""
    monkeypatch.chdir(tmp_path)
    words = {"model": model_folder, "photos": photos, "tmp": tmp_path}
    code, text = ccd("predict", *(argument.format(**words) for argument in arguments))
    assert code == 2, text
    assert says in text
    assert "Traceback" not in text
    assert not list(tmp_path.iterdir())


def test_cams_stay_below_their_folder(ccd: Ccd, model_folder: Path, photos: Path, tmp_path: Path) -> None:
    """Would fail if a path upwards or from the root, or a name as long as names may be, wrote elsewhere or nowhere."""
    long = tmp_path / f"{'n' * 251}.png"
    long.write_bytes((photos / "1.png").read_bytes())
    up = photos / "below" / ".." / "0.png"
    code, text = ccd(
        "predict", model_folder, up, long, "--output", tmp_path / "table.json", "--cam", tmp_path / "out" / "cams"
    )
    assert code == 0, text
    assert len(list((tmp_path / "out" / "cams").rglob("*.npz"))) == 2
    assert len(list(tmp_path.rglob("*.npz")) + list(photos.rglob("*.npz"))) == 2


def test_an_empty_folder_is_unusable_data(ccd: Ccd, model_folder: Path, tmp_path: Path) -> None:
    code, text = ccd("predict", model_folder, tmp_path)
    assert (code, "holds no image" in text) == (3, True), text


def test_a_threshold_file_must_know_every_class(ccd: Ccd, model_folder: Path, photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text('{"cat": 0.5, "dog": 0.5}')
    code, text = ccd("predict", model_folder, photos, "--threshold", path, "--output", tmp_path / "table.csv")
    assert (code, "lacks the class 'traffic light'" in text) == (2, True), text
