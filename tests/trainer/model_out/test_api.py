"""The trainer from Python."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import trainer


def test_import_is_light() -> None:
    """Would fail if `import trainer`, or `ccd --help`, waited for torch."""
    heavy = "{'torch', 'timm', 'pyarrow', 'numpy', 'grpc'}"
    code = f"import trainer, sys; trainer.run, trainer.load; assert not {heavy} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_loaded_model_predicts(model_folder: Path, photos: Path) -> None:
    """Would fail if batches were put together in another order, or a CAM did not belong to its probability."""
    model = trainer.load(model_folder, device="cpu")
    paths = [photos / f"{i}.png" for i in (2, 0, 1)]
    together, alone = model.predict(paths, batch_size=2), [model.predict([str(path)]) for path in paths]
    assert together.names == model.names == ("cat", "dog", "traffic light")
    assert together.probs.shape == (3, 3)
    np.testing.assert_allclose(together.probs, np.concatenate([each.probs for each in alone]), atol=1e-6)
    logits = together.cam.mean(axis=(2, 3), dtype=np.float64)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), together.probs, atol=1e-5)
    assert not model.module.training


def test_mistakes(model_folder: Path, tmp_path: Path) -> None:
    """Would fail if an unusable image were left out without a word, so that rows no longer met images."""
    (tmp_path / "empty.jpg").touch()
    model = trainer.load(model_folder, device="cpu")
    with pytest.raises(ValueError, match=r"empty\.jpg: file is empty"):
        model.predict([tmp_path / "empty.jpg"])
    with pytest.raises(ValueError, match="no image"):
        model.predict([])
    with pytest.raises(ValueError, match="has a comma"):
        trainer.run(tmp_path, classes=["cat", "salt, pepper"])
    with pytest.raises(TypeError, match="epcohs"):
        trainer.run(tmp_path, classes=["cat"], epcohs=3)
