"""Full supervision, the upper bound of label-free methods: BCE to the targets (paper Table 1, "BCE")."""

from trainer.losses import known_bce
from trainer.methods.method import Method
from trainer.objective import LossObjective

METHOD = Method(lambda run: LossObjective(known_bce), stops=False)
