"""What a user should know before trusting the labels, in plain sentences."""

from collections.abc import Iterator

import numpy as np

from trainer.report.label_figures import inseparable
from trainer.report.run_files import GIVEN, RunFiles

# The highest class bias over the lowest from which on raw probabilities cannot be compared between classes at all:
# debiasing then doubles the one against the other.
EXTREME_BIAS = 2.0
MAX_BROKEN = 0.2
# Pairs and classes named in one warning; the sections below name all.
NAMED = 5
# Points of mAP that the label-free stop may lose against the best epoch before it is worth a word.
LOST_POINTS = 3.0


def warnings(run: RunFiles) -> list[str]:
    """Empty where nothing is wrong."""
    return [*_of_images(run), *_of_bias(run), *_of_labels(run), *_of_training(run)]


def _of_images(run: RunFiles) -> Iterator[str]:
    broken = sum(1 for row in run.index if row.reason)
    if broken > MAX_BROKEN * max(len(run.index), 1):
        yield (
            f"{broken:,} of {len(run.index):,} training images could not be used. So many are rarely an accident: look "
            "at the reasons under Broken files, and whether the copy of the images is complete."
        )
    if run.settings["data"] != "demo" and run.state.get("labeler", {}).get("model") == "demo":
        yield "The bundled demo CLIP labelled these images; it has only ever seen drawings. Choose another with --clip."


def _of_bias(run: RunFiles) -> Iterator[str]:
    if run.bias is None:
        return
    counts, bias = np.array(run.bias["counts"]), np.array(run.bias["bias"])
    unseen = [name for name, count in zip(run.class_names, counts, strict=True) if count == 0]
    if unseen:
        yield (
            f"No image is confidently {_named(unseen, 'or')} to CLIP: check that the images show it, try another name "
            "or --prompt, or drop the class."
        )
    seen = bias[counts > 0]
    if len(seen) and seen.max() > EXTREME_BIAS * seen.min():
        low = run.class_names[int(np.flatnonzero(counts > 0)[seen.argmin()])]
        high = run.class_names[int(np.flatnonzero(counts > 0)[seen.argmax()])]
        yield (
            f"CLIP is far surer of {high} ({seen.max():.2f}) than of {low} ({seen.min():.2f}). Debiasing levels this, "
            f"but a plainer name for {low} is better than any correction."
        )


def _of_labels(run: RunFiles) -> Iterator[str]:
    given = run.given_labels
    if given is None or not len(given):
        return
    never = [name for name, count in zip(run.class_names, given.sum(axis=0), strict=True) if count == 0]
    if never and run.labels is not None:
        yield f"No image has a label of at least {GIVEN} for {_named(never, 'and')} ({run.labels.name})."
    without = float((~given.any(axis=1)).mean())
    if without > 0.5:
        yield f"{100 * without:.0f} % of the images have no label at all: do the class names say what the images show?"
    pairs = [f"{run.class_names[p.first]} with {run.class_names[p.second]}" for p in inseparable(given)]
    if pairs:
        yield (
            f"Some classes hardly ever come alone: {_named(pairs, 'and')}. The classifier may learn them as one; look "
            "at their rows in the wall."
        )


def _of_training(run: RunFiles) -> Iterator[str]:
    found = (run.summary or {}).get("map", {})
    if "final_labels" in found and found["final_labels"] < found["initial_labels"] - 1:
        yield "The update made the labels worse (their mAP fell): see whether the boxes in the wall lie on the objects."
    if "validation" in found and found["validation"] < found["validation_best_epoch"] - LOST_POINTS:
        lost = found["validation_best_epoch"] - found["validation"]
        yield (
            f"The stop rule kept an epoch that is {lost:.1f} points of mAP below the best one, which only "
            "somebody with targets can know: see the curves."
        )


def _named(names: list[str], word: str) -> str:
    """a, b and c; or the first of them and how many more."""
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} {word} {len(names) - NAMED} more"
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), names[-1])))
