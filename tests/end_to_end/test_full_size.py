"""A run with everything that training at full size needs, killed and resumed."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ALL = ("--accumulate=2", "--ema=0.9", "--layer-decay=0.7", "--precision=bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--size-jitter", "32", "96"), ("--compile",)], ids=["sizes", "compiled"])
def test_killed_and_resumed_it_ends_with_the_same_bits(
    options: tuple[str, ...],
    labeler,
    small_run_on_voc: Callable[[str, Path], tuple[object, ...]],
    start_trainer: Callable[..., "subprocess.Popen[str]"],
    run_trainer: Callable[..., tuple[int, str]],
    fingerprint: Callable[[Path], dict[str, str]],
    kill_at: Callable[..., None],
    tmp_path: Path,
) -> None:
    """What the options keep from step to step must be in the checkpoint; crops are chosen by averaged weights."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def command(output: Path) -> tuple[object, ...]:
        return (*small_run_on_voc(labeler.address, output), *ALL, *options)

    code, text = run_trainer(*command(whole))
    assert code == 0, text
    for mark in ("checkpoints/epoch-000.safetensors", "labels/views.parquet", "checkpoints/epoch-002.safetensors"):
        kill_at(start_trainer(*command(killed)), killed / mark, 240)
    code, text = run_trainer(*command(killed))
    assert code == 0, text
    assert fingerprint(killed) == fingerprint(whole)
    summary = json.loads((killed / "summary.json").read_text())
    assert summary["epochs_trained"] == 4


def test_what_makes_no_sense_is_said_in_one_line(
    call_trainer: Callable[[list[str]], tuple[int, str]], voc_folder: Path
) -> None:
    code, text = call_trainer(["run", f"voc:{voc_folder}", "--size-jitter", "100", "200"])
    assert code == 2
    assert "--size-jitter 100 200 must be two multiples of 32" in text.splitlines()[-1]
