"""What a run leaves for others, opened by what they have: timm, transformers, ONNX Runtime, and ten lines of Python."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import trainer
from trainer.data.drawing.catalogue import CLASS_NAMES

pytestmark = pytest.mark.slow

NUM_IMAGES = 32


@pytest.fixture(scope="module")
def result(voc_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> trainer.Result:
    """A run from Python, on all targets, which needs no labeler; with the boosted head that is the default."""
    output = tmp_path_factory.mktemp("model_out") / "run"
    return trainer.run(
        f"voc:{voc_folder}", CLASS_NAMES, output, quiet=True, method="bce", image_size=64, epochs=2, warmup_epochs=1,
        learning_rate=1e-3, batch_size=16, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, image_bytes: Callable[..., bytes]) -> list[str]:
    """PNG files, which every program decodes alike."""
    folder = tmp_path_factory.mktemp("images")
    for seed in range(NUM_IMAGES):
        (folder / f"{seed:02d}.png").write_bytes(image_bytes(seed, 70 + seed, 90, "PNG"))
    return [str(path) for path in sorted(folder.iterdir())]


def test_a_run_from_python(result: trainer.Result) -> None:
    """Would fail if the Python call did less than the command, or told of figures that were not the run's."""
    assert result.summary == json.loads((result.output / "summary.json").read_text())
    assert result.failed == ()
    assert result.load().names == CLASS_NAMES
    with pytest.raises(ValueError, match="makes no labels of its own"):
        _ = result.labels
    assert list((result.output / "tensorboard").iterdir())
    card = (result.output / "model" / "README.md").read_text()
    assert f"| mAP on validation images | {result.summary['map']['validation']:.1f} |" in card
    for name in CLASS_NAMES:
        assert f"| {name} |" in card
    config = json.loads((result.output / "model" / "config.json").read_text())
    assert config["ccd"]["cam_boost"] == 3.0


def test_timm_transformers_and_onnx_runtime_agree(
    result: trainer.Result, images: list[str], call_trainer: Callable[[list[str]], tuple[int, str]]
) -> None:
    """Would fail if any of them resized, normalised, pooled or squashed otherwise than the trainer."""
    for package in ("transformers", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import onnxruntime
    import timm
    from PIL import Image
    from transformers import pipeline

    folder = result.output / "model"
    expected = result.load().predict(images).probs

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in images])
    with torch.inference_mode():
        np.testing.assert_allclose(model(pixels).sigmoid(), expected, atol=1e-5)

    classify = pipeline("image-classification", str(folder), top_k=len(CLASS_NAMES), device="cpu")
    answers = [{item["label"]: item["score"] for item in answer} for answer in classify(images)]
    np.testing.assert_allclose([[answer[name] for name in CLASS_NAMES] for answer in answers], expected, atol=1e-5)

    code, text = call_trainer(["export", str(result.output), "--onnx"])
    assert code == 0, text
    assert "on 32 images," in text, "the run's own"
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for size in (1, 4, 32):
        parts = [session.run(["probs"], {"image": part.numpy()})[0] for part in pixels.split(size)]
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-5)


def test_the_model_does_not_need_the_trainer(result: trainer.Result, tmp_path: Path) -> None:
    """Would fail if the folder held a path of the machine that trained it, or code of this project were needed."""
    import shutil
    import subprocess
    import sys

    shutil.copytree(result.output / "model", tmp_path / "model")
    assert str(Path(trainer.__file__).parent) not in (tmp_path / "model" / "config.json").read_text()
    code = (
        "import sys; sys.modules['trainer'] = None; import timm, torch; "
        "model = timm.create_model('local-dir:model', pretrained=True).eval(); "
        f"assert model(torch.zeros(1, 3, 64, 64)).shape == (1, {len(CLASS_NAMES)})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
