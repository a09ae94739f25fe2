"""Every method on a small data set: it runs to its end, and one with a memory is the same after it was killed."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.methods import METHODS

STATEFUL = ("ll_cp", "g2netpl", "role", "cdul", "sst", "sarb")


@pytest.fixture
def command(labeler, small_run_on_voc: Callable[[str, Path], tuple[object, ...]]) -> Callable[..., tuple[object, ...]]:
    """command(method, output): the arguments of a run."""
    return lambda method, output: (*small_run_on_voc(labeler.address, output), "--method", method, "--stop", "last")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_it_runs_to_its_end(
    method: str, command: Callable[..., tuple[object, ...]], run_trainer: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, text = run_trainer(*command(method, tmp_path / "run"))
    assert code == 0, text
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["method"] == method
    assert 0 < summary["map"]["validation"] <= 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", STATEFUL)
def test_killed_and_resumed_it_ends_with_the_same_bits(
    method: str,
    command: Callable[..., tuple[object, ...]],
    start_trainer: Callable[..., "subprocess.Popen[str]"],
    run_trainer: Callable[..., tuple[int, str]],
    fingerprint: Callable[[Path], dict[str, str]],
    kill_at: Callable[..., None],
    tmp_path: Path,
) -> None:
    """A table of labels, a memory or a prototype that is not in the checkpoint would begin anew."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, text = run_trainer(*command(method, whole))
    assert code == 0, text
    kill_at(start_trainer(*command(method, killed)), killed / "checkpoints" / "epoch-001.safetensors")
    code, text = run_trainer(*command(method, killed))
    assert code == 0, text
    assert fingerprint(killed) == fingerprint(whole)


def test_an_unknown_method_is_said(run_here: Callable[..., tuple[int, str]], voc_folder: Path) -> None:
    code, text = run_here("run", f"voc:{voc_folder}", "--method", "magic")
    assert code in (2, 3)
    assert "magic" in text
    assert "cdul" in text, "what there is"
