"""Assume negative: CLIP's most probable class is present, all others absent (paper Table 1, "Naive AN")."""

from trainer.losses import assume_negative
from trainer.methods.method import Method
from trainer.objective import LossObjective

METHOD = Method(lambda run: LossObjective(assume_negative))
