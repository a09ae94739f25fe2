"""torch.compile, for the model as a training step calls it."""

from typing import cast

import torch

from trainer.model import Classifier


def compiled(model: Classifier, device: torch.device) -> Classifier:
    """Shares the model's weights, whose names stay as they are; computes its forward and backward pass compiled.

    Raises ValueError where torch finds no compiler: here and not hours later, when the first batch comes. Each shape
    is compiled by itself: code for any shape is made when a second shape comes, so that a run which goes on would have
    other code, and other bits, than one that was never stopped.
    """
    try:
        torch.compile(torch.neg)(torch.zeros(2, device=device))
    except RuntimeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ValueError(f"--compile: torch cannot compile here ({lines[0]}); train without") from error
    return cast(Classifier, torch.compile(model, dynamic=False))
