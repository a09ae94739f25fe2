"""`ccd evaluate` on every kind of file that holds a classifier, and what is said where it cannot."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.data.drawing.catalogue import CLASS_NAMES

CallTrainer = Callable[[list[str]], tuple[int, str]]
RunTrainer = Callable[..., tuple[int, str]]

FIGURES = ("map", "voc_map", "cf1", "of1", "cf1_top3", "of1_top3", "calibration_error")


@pytest.fixture(scope="module")
def run_folder(
    voc_folder: Path,
    classes_file: Path,
    run_here: RunTrainer,
    small_run: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A finished run on all targets, which needs no labeler."""
    output = tmp_path_factory.mktemp("evaluate") / "run"
    places = ("--classes", classes_file, "--method", "bce", "--output", output)
    code, text = run_here("run", f"voc:{voc_folder}", *small_run, *places)
    assert code == 0, text
    return output


@pytest.fixture
def evaluate(
    voc_folder: Path, classes_file: Path, tmp_path: Path, call_trainer: CallTrainer
) -> Callable[..., dict[str, Any]]:
    """evaluate(model, *flags, code=0, data=None): the JSON that the command writes; it must end with this code."""

    def measured(model: Path, *flags: str, code: int = 0, data: Path = voc_folder) -> dict[str, Any]:
        output = tmp_path / "figures.json"
        places = ["--classes", str(classes_file), "--output", str(output)]
        got, text = call_trainer(["evaluate", str(model), f"voc:{data}", *places, *flags])
        assert got == code, text
        report: dict[str, Any] = json.loads(output.read_text())
        return report

    return measured


def test_figures_are_the_run_s_own(
    run_folder: Path, voc_folder: Path, classes_file: Path, run_here: RunTrainer, tmp_path: Path
) -> None:
    """Would fail if other weights, another normalisation or other targets were evaluated than by the run itself."""
    summary, output = json.loads((run_folder / "summary.json").read_text()), tmp_path / "figures.json"
    code, text = run_here("evaluate", run_folder, f"voc:{voc_folder}", "--classes", classes_file, "--output", output)
    assert code == 0, text
    report = json.loads(output.read_text())
    assert report["map"] == pytest.approx(summary["map"]["validation"], abs=1e-9)
    assert set(summary["evaluation"]) == {*FIGURES} - {"map"}
    for name, value in summary["evaluation"].items():
        assert report[name] == pytest.approx(value, abs=1e-9), name
    assert [row["class"] for row in report["per_class"]] == list(CLASS_NAMES)
    assert report["map"] == pytest.approx(np.mean([row["average_precision"] for row in report["per_class"]]))
    assert f"{report['map']:.1f} %" in text


@pytest.mark.parametrize("file", ["model", "model/model.safetensors", "checkpoints/epoch-{kept:03d}.safetensors"])
def test_all_files_of_a_run_hold_the_same_classifier(
    run_folder: Path, evaluate: Callable[..., dict[str, Any]], file: str
) -> None:
    """Would fail if a checkpoint were normalised, or its activations boosted, otherwise than the exported model."""
    kept = json.loads((run_folder / "summary.json").read_text())["stop_epoch"]
    report, expected = evaluate(run_folder / file.format(kept=kept)), evaluate(run_folder)
    assert {name: report[name] for name in FIGURES} == {name: expected[name] for name in FIGURES}


def test_last_checkpoint_is_the_last_epoch(run_folder: Path, evaluate: Callable[..., dict[str, Any]]) -> None:
    """Would fail if the optimiser's state beside the weights kept last.safetensors from being read."""
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    report = evaluate(run_folder / "checkpoints" / "last.safetensors")
    assert report["map"] == pytest.approx(json.loads(lines[-1])["validation_map"], abs=1e-3)


def test_training_images_can_be_evaluated_too(run_folder: Path, evaluate: Callable[..., dict[str, Any]]) -> None:
    report = evaluate(run_folder, "--split", "train", "--batch-size", "7")
    assert (report["split"], report["images"]) == ("train", 64)


def test_broken_images_are_left_out_and_counted(
    run_folder: Path, voc_folder: Path, evaluate: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """Would fail if one broken file stopped the evaluation, or the exit code kept silent about it."""
    data = tmp_path / "voc"
    shutil.copytree(voc_folder, data)
    image_id = next(data.rglob("ImageSets/Main/val.txt")).read_text().split()[0]
    next(data.rglob(f"JPEGImages/{image_id}.*")).write_bytes(b"")
    report = evaluate(run_folder, code=5, data=data)
    assert (report["images"], report["images_failed"]) == (23, 1)


class OneOutput(nn.Module):
    """The classifier without its CAMs, as others would export it."""

    def __init__(self, classifier: nn.Module, *, probs: bool) -> None:
        super().__init__()
        self._classifier, self._probs = classifier, probs

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self._classifier(images)[0]
        return logits.sigmoid() if self._probs else logits


@pytest.mark.parametrize(("output", "batch_size"), [("logits", None), ("probs", 5)])
def test_onnx_file_has_the_figures_of_its_classifier(
    run_folder: Path,
    evaluate: Callable[..., dict[str, Any]],
    voc_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    call_trainer: CallTrainer,
    output: str,
    batch_size: int | None,
) -> None:
    """Would fail if probabilities were taken for logits, a fixed batch size broke the last batch, or a file without a
    config.json were normalised silently."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from trainer.export import load_model

    classifier, _ = load_model(run_folder / "model")
    path = tmp_path / "classifier.onnx"
    torch.onnx.export(
        OneOutput(classifier, probs=output == "probs").eval(),
        (torch.zeros(batch_size or 2, 3, 64, 64),),
        path,
        input_names=["pictures"],
        output_names=[output],
        dynamic_shapes=None if batch_size else ({0: torch.export.Dim.DYNAMIC},),
        external_data=False,
        verbose=False,
    )
    evaluate(path)
    assert "ImageNet" in caplog.text
    code, text = call_trainer(["evaluate", str(path), f"voc:{voc_folder}", "--classes", CLASS_NAMES[0]])
    assert (code, f"the model has {len(CLASS_NAMES)} classes" in text) == (2, True), text
    shutil.copy(run_folder / "model" / "config.json", tmp_path)
    caplog.clear()
    report, expected = evaluate(path), evaluate(run_folder)
    assert "ImageNet" not in caplog.text
    for name in FIGURES:
        assert report[name] == pytest.approx(expected[name], abs=1e-2), name


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{run}/gone", "{data}", "--classes", "{classes}"], 2, "there is no such file"),
        (["{tmp}", "{data}", "--classes", "{classes}"], 2, "holds no exported classifier"),
        (["{tmp}/unfinished", "{data}", "--classes", "{classes}"], 2, "has not ended"),
        (["{tmp}/astray.safetensors", "{data}", "--classes", "{classes}"], 2, "its run's settings"),
        (["{run}", "{data}", "--classes", "{fewer}"], 2, "only the model has {last}"),
        (["{run}", "{data}", "--classes", "{reversed}"], 2, "class 1 is {first} for the model, but {last}"),
        (["{run}", "{data}", "--classes", "{classes}", "--batch-size", "0"], 2, "--batch-size 0"),
        (["{run}", "{photos}", "--classes", "cat,dog"], 3, "no validation images"),
        (["{run}", "{photos}", "--classes", "cat,dog", "--split", "train"], 3, "no targets"),
        (["{run}", "kitti:{photos}"], 3, "kitti"),
    ],
)
def test_mistakes(
    arguments: list[str],
    code: int,
    says: str,
    run_folder: Path,
    voc_folder: Path,
    image_bytes: Callable[..., bytes],
    tmp_path: Path,
    call_trainer: CallTrainer,
) -> None:
    """Would fail if a mistake ended in a traceback, or figures were printed for columns that mean different classes."""
    photos, unfinished = tmp_path / "photos", tmp_path / "unfinished"
    for folder in (photos, unfinished):
        folder.mkdir()
    (photos / "a.jpg").write_bytes(image_bytes(0))
    (unfinished / "config.resolved.yaml").touch()
    shutil.copy(run_folder / "checkpoints" / "last.safetensors", tmp_path / "astray.safetensors")
    words = {
        "run": run_folder,
        "data": f"voc:{voc_folder}",
        "tmp": tmp_path,
        "photos": photos,
        "classes": ",".join(CLASS_NAMES),
        "fewer": ",".join(CLASS_NAMES[:-1]),
        "reversed": ",".join(CLASS_NAMES[::-1]),
        "first": CLASS_NAMES[0],
        "last": CLASS_NAMES[-1],
    }
    got, text = call_trainer(["evaluate", *(text.format(**words) for text in arguments)])
    assert got == code, text
    assert says.format(**words) in text
    assert "Traceback" not in text


def test_damaged_onnx_file(voc_folder: Path, tmp_path: Path, call_trainer: CallTrainer) -> None:
    """Would fail if onnxruntime's own exceptions, which share no base class, came through."""
    pytest.importorskip("onnxruntime")
    path = tmp_path / "classifier.onnx"
    path.write_text("not a model")
    code, text = call_trainer(["evaluate", str(path), f"voc:{voc_folder}"])
    assert (code, "not a model that ONNX Runtime can open" in text) == (2, True), text


def test_onnx_without_its_runtime(
    voc_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_trainer: CallTrainer
) -> None:
    """Would fail if the optional package's absence ended in a traceback."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "classifier.onnx").touch()
    code, text = call_trainer(["evaluate", str(tmp_path / "classifier.onnx"), f"voc:{voc_folder}"])
    assert (code, "pip install 'ccd[trainer-onnx]'" in text) == (2, True), text
