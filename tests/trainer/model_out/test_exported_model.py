"""The folder model/: whole or absent whatever stops the export, and the same bytes when it is done again."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from trainer import exported_model
from trainer.checksums import write_checksums
from trainer.exported_model import Description, load_model, write_model
from trainer.model import CamClassifier
from trainer.model_card import model_card

NAMES = ("cat", "dog", "traffic light")
FACTS = {"method": "ccd", "seed": 0}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def export(folder: Path, classifier: CamClassifier) -> None:
    write_model(folder, classifier, Description("demo", 64, NAMES, FACTS))
    write_checksums(folder)


class Killed(BaseException):
    pass


def test_stopped_before_each_file_it_ends_with_the_same_bytes(
    classifier: CamClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if a folder opened whose weights were not whole, or a second export differed from the first."""
    export(tmp_path / "whole", classifier)
    folder, expected = tmp_path / "model", contents(tmp_path / "whole")
    write, images = exported_model.write_atomically, torch.randn(1, 3, 64, 64)
    logits = load_model(tmp_path / "whole")[0](images)[0]
    for survivors in range(len(expected)):
        left = survivors

        def write_or_die(path: Path, content: bytes) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            write(path, content)

        shutil.rmtree(folder, ignore_errors=True)
        monkeypatch.setattr(exported_model, "write_atomically", write_or_die)
        monkeypatch.setattr("trainer.checksums.write_atomically", write_or_die)
        monkeypatch.setattr("trainer.files.write_atomically", write_or_die)
        with pytest.raises(Killed):
            export(folder, classifier)
        monkeypatch.undo()
        try:
            opened = load_model(folder)[0]
        except ValueError as error:
            assert "holds no exported classifier" in str(error)  # noqa: PT017
        else:
            assert torch.equal(opened(images)[0], logits)
        export(folder, classifier)
        assert contents(folder) == expected


def test_checksums_are_those_of_sha256sum(model_folder: Path) -> None:
    """Would fail if people could not check a folder without this project."""
    assert shutil.which("sha256sum")
    done = subprocess.run(["sha256sum", "--check", "checksums.txt"], cwd=model_folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert {line.split(":")[0] for line in done.stdout.splitlines()} == {
        "model.safetensors", "config.json", "preprocess.json",
    }  # fmt: skip


def test_damaged_weights_are_not_used(model_folder: Path, tmp_path: Path) -> None:
    """Would fail if one flipped bit gave a classifier that is slightly wrong."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged"):
        load_model(folder)


def test_the_config_is_what_other_programs_look_for(model_folder: Path) -> None:
    """Would fail if images were cropped or classes unnamed by timm's or transformers' own preprocessing."""
    config = json.loads((model_folder / "config.json").read_text())
    assert "num_classes" not in config["model_args"], "transformers gives it too, and would fail"
    assert config["label_names"] == list(NAMES)
    assert config["problem_type"] == "multi_label_classification"
    preprocessing = config["pretrained_cfg"]
    assert (preprocessing["crop_mode"], preprocessing["crop_pct"]) == ("squash", 1.0)
    assert (preprocessing["input_size"], preprocessing["interpolation"]) == ([3, 64, 64], "bilinear")
    assert json.loads((model_folder / "preprocess.json").read_text())["mean"] == preprocessing["mean"]


def test_the_card_says_whose_weights_and_how_good() -> None:
    """Would fail if the card claimed figures that nobody measured, or class names became markup."""
    facts = {
        "method": "ccd", "constants": "fixed", "seed": 0, "epoch": 1, "images": 8, "backbone": "resnet50.tv_in1k",
        "backbone_licence": "bsd-3-clause, as timm states", "clip": "RN50", "prompt": "a {}", "clip_licence": "MIT",
    }  # fmt: skip
    names = ("cat", "<script>alert(1)</script>")
    card = model_card(facts, names, image_size=64, timm_form=True, figures={}, per_class={})
    front = yaml.safe_load(card.split("---")[1])
    assert (front["library_name"], front["pipeline_tag"]) == ("timm", "image-classification")
    for text in ("bsd-3-clause, as timm states", "MIT", "had no targets", "cat"):
        assert text in card
    assert "<script>" not in card
    measured = model_card(facts, names, image_size=64, timm_form=False, figures={"mAP": 61.23}, per_class={"cat": 50.0})
    assert "| mAP | 61.2 |" in measured
    assert "| cat | 50.0 |" in measured
    assert "library_name" not in measured, "timm cannot open it"
