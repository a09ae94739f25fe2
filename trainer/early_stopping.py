"""When to stop without ground truth: from how well the classifier has fitted its own pseudo-labels, epoch by epoch.

Paper section 4.1: "Training was ceased when the gradient of mAP reached the first local minimum". The gradient is
g_t = m_t - m_{t-1}, where m_t is `pseudo_label_map` of epoch t (from 0).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from trainer.metrics import mean_average_precision

StopRule = Literal["paper", "official", "fixed"]


def pseudo_label_map(probs: ArrayLike, labels: ArrayLike) -> float:
    """mAP in percent of an epoch's predictions (N, C) against its own pseudo-labels (N, C).

    A label counts as positive where it is exactly 1, that is where debiasing and the clamp have made CLIP certain
    (released code). A class without such a label counts 0.
    """
    return mean_average_precision(probs, np.asarray(labels) == 1)


def stop_epoch(history: Sequence[float], *, rule: StopRule, warmup_epochs: int) -> int | None:
    """The epoch whose weights are kept, or None while the rule has not fired. A concave history never fires.

    history: m_0, m_1, ... so far, in percent.
    rule: at the first g_t > g_{t-1},
      "paper" keeps epoch t - 1, the local minimum of g itself;
      "official" keeps epoch t, as the released code does;
      "fixed" keeps epoch t too, but looks only at differences between epochs that had the same, updated labels: the
      update itself bends the curve, and would fire the rule whatever the classifier does.
    """
    gains = [later - earlier for earlier, later in pairwise(history)]  # gains[t - 1] is g_t
    first = warmup_epochs + 1 if rule == "fixed" else 1  # the first t whose g_t counts; g_0 counts as infinite
    for t in range(first + 1, len(history)):
        if gains[t - 1] > gains[t - 2]:
            return t - 1 if rule == "paper" else t
    return None
