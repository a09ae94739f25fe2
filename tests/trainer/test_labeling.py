"""How the trainer reaches its labeler."""

from pathlib import Path

import pytest

from clip_labeler import Credentials
from trainer.config import LABELER_FILES, RunConfig, Settings, resolve
from trainer.labeling import Labeler
from trainer.session import PLACES


def settings(**given: str) -> Settings:
    config = RunConfig(labeler="127.0.0.1:1", **given)
    return resolve(config, data_format="demo", num_classes=2, prompt="a photo of the {}")


def test_the_labeler_is_asked_with_the_credentials_that_were_given(tmp_path: Path) -> None:
    """Would fail if a flag went nowhere: the run would be refused, or send its images in plain text."""
    token = tmp_path / "token"
    token.write_text("secret")
    with Labeler(settings(labeler_token_file=str(token)), ["cat", "dog"]) as labeler:
        assert labeler.client.credentials == Credentials(token_file=token)


def test_credentials_that_cannot_be_used_are_found_out_at_once() -> None:
    """Would fail if a mistyped path were found out when the first epochs are over."""
    with pytest.raises(ValueError, match=r"gone\.pem: No such file"):
        Labeler(settings(labeler_ca="gone.pem"), ["cat", "dog"])


def test_a_run_goes_on_with_other_credentials() -> None:
    """Would fail if a renewed certificate or token made a run "another one"."""
    assert set(LABELER_FILES) <= set(PLACES)
