"""Large-loss matters, which takes them for positives from then on (LL-Cp); see large_loss.py."""

from trainer.methods.large_loss import LargeLossObjective
from trainer.methods.method import Method

METHOD = Method(lambda run: LargeLossObjective(run, "correct for good"), stops=False)
