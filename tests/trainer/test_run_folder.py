"""The run folder: stages, settings, and one process at a time."""

from pathlib import Path

import pytest

from trainer.run_folder import RunFolder


def test_an_interrupted_stage_starts_again_and_its_time_counts(tmp_path: Path) -> None:
    """Would fail if a stage that died half-way passed for finished."""
    folder = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt), folder.stage("warmup"):
        raise KeyboardInterrupt
    assert not folder.done("warmup")
    assert folder.seconds() == {}
    with folder.stage("warmup"):
        folder.note("warmup", threshold=0.25)
    assert folder.done("warmup")
    assert folder.state["warmup"]["threshold"] == 0.25
    assert folder.seconds()["warmup"] >= folder.state["warmup"]["interrupted_seconds"]


def test_same_settings_resume_other_settings_are_named(tmp_path: Path) -> None:
    """Would fail if a run could go on with another configuration than it began with."""
    folder = RunFolder(tmp_path)
    folder.bind({"alpha": 0.2, "seed": 0, "classes": ["cat"]})
    folder.bind({"alpha": 0.2, "seed": 0, "classes": ["cat"]})
    with pytest.raises(ValueError, match=r"alpha: 0\.2 -> 0\.4; seed: 0 -> 1"):
        folder.bind({"alpha": 0.4, "seed": 1, "classes": ["cat"]})


def test_two_processes_cannot_work_in_one_folder(tmp_path: Path) -> None:
    """Would fail if two runs could write over each other's labels."""
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match="another process"):
        RunFolder(tmp_path)
    folder.close()
    RunFolder(tmp_path).close()
