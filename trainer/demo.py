"""`make demo`: the whole method on drawn scenes, with what each fault of CLIP costs and what the method makes of it.

Ground truth, object boxes included, is only looked at here, to explain the result.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from trainer.compare import SharedLabeler
from trainer.config import RunConfig
from trainer.data.sample import ImageSet
from trainer.files import read_json
from trainer.methods import ccd
from trainer.pipeline import run_pipeline
from trainer.session import complete, open_run, open_splits
from trainer.studies import FULL_SUPERVISION, NO_MODULE

# Largest object of a class, as a share of the image's area, up to which the class counts as this size.
SIZES = (("small (under 5 %)", 0.05), ("medium (5 to 20 %)", 0.20), ("large (over 20 %)", 1.01))


def run_demo(output: Path, config: RunConfig, console: Console) -> None:
    """Trains by the method, on CLIP's global labels alone, and on the targets, and prints the comparison."""
    with SharedLabeler(complete(config, "demo", open_splits("demo", config))) as address:
        config = replace(config, labeler=address)
        ours = _run(output, config, "the method", console)
        naive_config, full_config = (replace(config, **row.settings) for row in (NO_MODULE, FULL_SUPERVISION))
        naive = _run(output / "global-labels", naive_config, "CLIP's global labels alone", console)
        full = _run(output / "full-supervision", full_config, "full supervision", console)
    console.rule("what happened")
    console.print(_bias_table(output))
    console.print(_size_table(output, config, console))
    console.print(_result_table(naive, ours, full))


def _run(output: Path, config: RunConfig, title: str, console: Console) -> dict[str, Any]:
    console.rule(title)
    return run_pipeline("demo", output, config, console).summary


def _bias_table(output: Path) -> Table:
    """First fault: how sure CLIP is of a class, where it is sure of it at all."""
    facts = read_json(output / "labels" / "bias.json")
    table = Table("class", "bias", "", title="Class bias: CLIP's mean top-1 probability", title_justify="left")
    for value, name in sorted(zip(facts["bias"], facts["classes"], strict=True)):
        table.add_row(name, f"{value:.3f}", "█" * round(30 * value))
    return table


def _size_table(output: Path, config: RunConfig, console: Console) -> Table:
    """Second fault: of the classes that an image shows, how many are among its highest scores, by object size."""
    run = open_run("demo", output, config, Console(quiet=True))
    run.folder.close()
    assert run.train.targets is not None
    sizes_NC = largest_objects(run.train, run.class_names)
    before, after = (found_classes(scores, run.train.targets) for scores in ccd.quality_scores(run))
    table = Table(
        "object",
        "classes",
        "global view",
        "after the update",
        title="Classes found, by the size of their largest object",
        title_justify="left",
    )
    smallest = 0.0
    for name, largest in SIZES:
        group = (run.train.targets == 1) & (sizes_NC >= smallest) & (sizes_NC < largest)
        table.add_row(name, str(group.sum()), *(f"{100 * found[group].mean():.1f} %" for found in (before, after)))
        smallest = largest
    return table


def found_classes(scores: npt.NDArray[np.float32], targets: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """(N, C) whether a class is among the image's k highest scores, k being the number of classes that it shows."""
    ranks_NC = np.argsort(np.argsort(-scores, axis=1), axis=1)
    return np.asarray(ranks_NC < (targets == 1).sum(axis=1, keepdims=True))


def largest_objects(images: ImageSet, class_names: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """(N, C) annotated area of the class's largest object as a share of the image, 0 where there is none."""
    columns = {name: column for column, name in enumerate(class_names)}
    shares_NC = np.zeros((len(images), len(class_names)))
    for shares_C, sample in zip(shares_NC, images.samples, strict=True):
        root = ElementTree.parse(sample.path.parents[1] / "Annotations" / f"{sample.image_id}.xml").getroot()
        area = float(root.findtext("size/width", "")) * float(root.findtext("size/height", ""))
        for item in root.findall("object"):
            x0, y0, x1, y1 = (float(item.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax"))
            share = (x1 - x0 + 1) * (y1 - y0 + 1) / area  # VOC's corners are inclusive
            column = columns[item.findtext("name", "")]
            shares_C[column] = max(shares_C[column], share)
    return shares_NC


def _result_table(naive: dict[str, Any], ours: dict[str, Any], full: dict[str, Any]) -> Table:
    table = Table("", "mAP", title="Result", title_justify="left")
    table.add_row("CLIP's labels, training images", f"{ours['map']['initial_labels']:.1f} %")
    table.add_row("updated labels, training images", f"{ours['map']['final_labels']:.1f} %")
    table.add_section()
    table.add_row("classifier on global labels alone", f"{naive['map']['validation']:.1f} %")
    table.add_row("classifier by the method, without a label", f"{ours['map']['validation']:.1f} %", style="bold")
    table.add_row("classifier on the targets", f"{full['map']['validation']:.1f} %")
    return table
