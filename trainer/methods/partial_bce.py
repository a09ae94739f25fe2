"""BCE over known labels, normalised by how many there are (paper Table 1, "Durand et al.").

Its labels are CLIP's most probable class and, since it learns from certain negatives too, the less probable half.
"""

from trainer.losses import partial_bce
from trainer.methods.method import Method
from trainer.objective import LossObjective

METHOD = Method(lambda run: LossObjective(partial_bce))
