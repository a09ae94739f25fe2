"""What a user does wrong gets one line and an exit code of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

CallTrainer = Callable[[list[str]], tuple[int, str]]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "photos", "--clases", "cat"], 2, "--classes"),
        (["run", "{photos}", "--classes", "cat,dog,cat"], 3, "cat"),
        (["run", "{photos}"], 3, "--classes"),
        (["run", "{missing}", "--classes", "cat,dog"], 3, "missing"),
        (["run", "kitti:{photos}", "--classes", "cat,dog"], 3, "voc07"),
        (["run", "{photos}", "--classes", "cat,dog", "--warmup-epochs", "20"], 2, "--warmup-epochs 20"),
        (["run", "{photos}", "--classes", "cat,dog", "--backbone", "resnet1000"], 2, "resnet1000"),
        (["run", "{photos}", "--classes", "cat,dog", "--backbone-weights", "gone.pth"], 2, "gone.pth"),
        (["run", "{photos}", "--classes", "cat,dog", "--clip", "ViT-B-99"], 2, "ViT-B-99"),
        (["run", "{photos}", "--classes", "cat,dog", "--method", "bce"], 2, "targets"),
        (
            ["run", "{photos}", "--classes", "cat,dog", "--labeler", "127.0.0.1:1", "--labeler-wait", "1"],
            4,
            "127.0.0.1:1",
        ),
    ],
)
def test_mistakes(
    arguments: list[str],
    code: int,
    says: str,
    image_bytes: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call_trainer: CallTrainer,
) -> None:
    """Would fail if a mistake ended in a traceback, or two kinds of mistake in the same exit code."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(image_bytes(0))
    monkeypatch.chdir(tmp_path)  # runs/ is made where the user stands
    got, text = call_trainer([text.format(photos=photos, missing=tmp_path / "missing") for text in arguments])
    assert got == code, text
    assert says in text
    assert "Traceback" not in text


def test_yaml_file_and_environment_fill_what_flags_leave_open(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call_trainer: CallTrainer,
    image_bytes: Callable[..., bytes],
) -> None:
    """Would fail if the order flag > environment > file broke, or a misspelt key passed silently."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(image_bytes(0))
    monkeypatch.chdir(tmp_path)
    settings = tmp_path / "ccd.yaml"
    settings.write_text("classes: cat, dog\nwarmup_epochs: 30\nepochs: 40\n")
    monkeypatch.setenv("CCD_EPOCHS", "20")
    code, text = call_trainer(["--config", str(settings), "run", "photos"])
    assert (code, "--warmup-epochs 30 must lie between 0 and --epochs 20" in text) == (2, True), text
    settings.write_text("clases: cat\n")
    code, text = call_trainer(["--config", str(settings), "run", "photos"])
    assert (code, "clases" in text) == (2, True), text
    code, text = call_trainer(["run", "nothing"])
    assert (code, "clases" in text) == (3, False), "a second call of main() has no file"
