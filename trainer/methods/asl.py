"""Asymmetric loss on a tenth of the targets' entries (paper Table 1, "ASL"; Ridnik et al. 2021)."""

from functools import partial

from trainer.losses import asymmetric
from trainer.methods.method import Method
from trainer.objective import LossObjective

# https://github.com/Alibaba-MIIL/ASL, train.py
LOSS = partial(asymmetric, gamma_positive=0.0, gamma_negative=4.0, margin=0.05)

METHOD = Method(lambda run: LossObjective(LOSS, summed=True), stops=False)
