"""The labeler that a run starts for itself."""

import os
import signal

import pytest

from clip_labeler import LabelerClient
from trainer.labeler_process import LabelerProcess


def test_a_crashed_labeler_comes_back_on_its_port(tiny_clip) -> None:
    """Would fail if a labeler that ran out of memory ended a run of days."""
    with LabelerProcess([*tiny_clip.flags, "--reproducible"]) as labeler, LabelerClient(labeler.address) as client:
        before = client.server_info()
        os.kill(labeler.process.pid, signal.SIGKILL)
        client.wait_until_ready(timeout=60)
        assert client.server_info() == before


def test_why_it_did_not_start_is_told(tmp_path) -> None:
    """Would fail if a wrong model name ended in a time-out, or in the labeler's traceback."""
    with pytest.raises(ValueError, match=r"did not start.*ViT-B-99"):
        LabelerProcess(["--model", "ViT-B-99", "--pretrained", str(tmp_path / "none.pt")])


def test_it_is_gone_after_the_block(tiny_clip) -> None:
    """Would fail if a run left its labeler behind."""
    with LabelerProcess(tiny_clip.flags) as labeler:
        process = labeler.process
        assert process.poll() is None
    assert process.poll() == 0
