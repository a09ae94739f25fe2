"""`ccd export --onnx`: what ONNX Runtime computes, and that a file which computes something else is never left."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer import onnx_export
from trainer.exported_model import Description, write_model
from trainer.model import CamClassifier, create_backbone
from trainer.semantic_decoupling import SemanticClassifier

Ccd = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the exported model to write into."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    copy = tmp_path_factory.mktemp("onnx") / "model"
    shutil.copytree(model_folder, copy)
    return copy


@pytest.mark.slow
def test_onnx_runtime_says_the_same(
    folder: Path, classifier: CamClassifier, photos: Path, ccd: Ccd, tmp_path: Path
) -> None:
    """Would fail if the batch size were fixed, CAMs were left out, or the half-precision file wanted other inputs."""
    import onnxruntime

    code, text = ccd("export", folder, "--onnx", "--fp16", "--images", photos)
    assert code == 0, text
    assert "5 images and noise" in text
    images = torch.randn(7, 3, 64, 64)
    with torch.inference_mode():
        logits, cams = classifier(images)
    for name, tolerance in (("model.onnx", 1e-5), ("model.fp16.onnx", 2e-2)):
        session = onnxruntime.InferenceSession(folder / name)
        assert [item.name for item in session.get_inputs()] == ["image"]
        for batch in (images, images[:1]):
            probs, cam = session.run(["probs", "cam"], {"image": batch.numpy()})
            np.testing.assert_allclose(probs, logits[: len(batch)].sigmoid(), atol=tolerance)
            np.testing.assert_allclose(cam, cams[: len(batch)], atol=tolerance * float(cams.abs().max()))
    assert (folder / "model.fp16.onnx").stat().st_size < 0.6 * (folder / "model.onnx").stat().st_size
    listed = (folder / "checksums.txt").read_text()
    assert "model.onnx" in listed
    assert "model.fp16.onnx" in listed
    places = ("--output", tmp_path / "table.csv", "--cam", tmp_path / "cams")
    assert ccd("predict", folder / "model.onnx", photos, *places)[0] == 0
    (from_onnx,) = (path.read_text() for path in tmp_path.glob("table.csv"))
    assert ccd("predict", folder, photos, *places)[0] == 0
    from_torch = (tmp_path / "table.csv").read_text()
    ours, theirs = (
        np.array([line.split(",")[1:] for line in text.splitlines()[1:]], float) for text in (from_torch, from_onnx)
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_a_file_that_differs_is_not_left(
    folder: Path, ccd: Ccd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Would fail if a wrong export replaced a right one, or its draft stayed."""
    copy = tmp_path / "model"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.onnx"))

    class Wrong(onnx_export._Exported):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            probs, cam = super().forward(image)
            return probs + 1e-4, cam

    right = onnx_export._Exported
    monkeypatch.setattr(onnx_export, "_Exported", Wrong)
    compare = onnx_export.compare

    def honest(*arguments: object) -> object:
        monkeypatch.setattr(onnx_export, "_Exported", right)
        return compare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(onnx_export, "compare", honest)
    code, text = ccd("export", copy, "--onnx")
    assert (code, "was not written" in text, "1.0e-04" in text) == (2, True, True), text
    assert not [path.name for path in copy.iterdir() if "onnx" in path.name]


def test_what_is_missing_is_named(
    ccd: Ccd, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if an absent package ended in a traceback, after seconds of work."""
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, text = ccd("export", model_folder, "--onnx")
    assert (code, "pip install 'ccd[trainer-onnx]'" in text) == (2, True), text


@pytest.mark.slow
def test_a_classifier_without_a_timm_form_has_probabilities(ccd: Ccd, tmp_path: Path, photos: Path) -> None:
    """Would fail if SST and SARB, which timm cannot open, could not leave the trainer at all."""
    pytest.importorskip("onnxscript")
    import onnxruntime

    torch.manual_seed(0)
    classifier = SemanticClassifier(create_backbone("resnet10t", weights="none"), num_classes=3, width=32).eval()
    reason = write_model(tmp_path, classifier, Description("resnet10t", 64, ("a", "b", "c")))
    assert reason == "timm has no SemanticClassifier"
    code, text = ccd("export", tmp_path, "--onnx")
    assert code == 0, text
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        expected = classifier(images)[0].sigmoid()
    np.testing.assert_allclose(session.run(["probs"], {"image": images.numpy()})[0], expected, atol=1e-5)
    code, text = ccd("predict", tmp_path / "model.onnx", photos, "--cam", tmp_path / "cams")
    assert (code, "gives no activation maps" in text) == (2, True), text
