"""Large-loss matters, which leaves them out (LL-R); see large_loss.py."""

from trainer.methods.large_loss import LargeLossObjective
from trainer.methods.method import Method

METHOD = Method(lambda run: LargeLossObjective(run, "reject"), stops=False)
