"""Weak assume negative: as `an`, but assumed negatives weigh little (paper Table 1, "Aodha et al.")."""

from trainer.losses import weak_negative
from trainer.methods.method import Method
from trainer.objective import LossObjective

METHOD = Method(lambda run: LossObjective(weak_negative))
