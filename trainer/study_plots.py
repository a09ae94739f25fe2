"""The figure of a study as SVG: the same bytes for the same runs."""

import io
from typing import TYPE_CHECKING

from trainer.studies import Study
from trainer.study_results import (
    Results,
    biased_classes,
    class_biases,
    class_precisions,
    mean_and_deviation,
    paper_dataset,
    paper_map,
    validation_maps,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_INCHES = 0.3  # of a bar and the line of text beside it


def plot(study: Study, results: Results, dataset: str) -> bytes | None:
    """None where no run had targets to compare with."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if not study.bias and not any(validation_maps(folders) for folders in results.values()):
        return None
    height = 4.0 if study.x or study.bias or study.classes else 1.5 + ROW_INCHES * len(study.rows)
    figure = Figure(figsize=(7, height), layout="constrained")
    figure.suptitle(study.title)
    axes = figure.add_subplot()
    if study.bias:
        _bias(axes, study, results)
    elif study.classes:
        _classes(axes, study, results)
    elif study.x:
        _curve(axes, study.x, study, results)
    else:
        _bars(axes, study, results, dataset)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        figure.legend(loc="outside lower right", ncols=2)
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "ccd", "svg.fonttype": "none"}):  # no chance and no date; text that can be read
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _bias(axes: "Axes", study: Study, results: Results) -> None:
    biases = class_biases(results[study.rows[0].name][0])
    axes.bar([one.name for one in biases], [one.bias for one in biases])
    axes.tick_params(axis="x", rotation=90)
    axes.set_ylabel("CLIP's mean top-1 probability")


def _classes(axes: "Axes", study: Study, results: Results) -> None:
    names, width = biased_classes(study, results), 0.8 / len(study.rows)
    for number, row in enumerate(study.rows):
        precisions = [class_precisions(folder) for folder in results[row.name]]
        found = [mean_and_deviation([one[name] for one in precisions]) for name in names]
        places = [place + (number - (len(study.rows) - 1) / 2) * width for place in range(len(names))]
        means, deviations = [mean for mean, _ in found], [deviation or 0.0 for _, deviation in found]
        axes.bar(places, means, width, yerr=deviations, capsize=2, label=row.name)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("AP in %")


def _curve(axes: "Axes", setting: str, study: Study, results: Results) -> None:
    found = [mean_and_deviation(validation_maps(results[row.name])) for row in study.rows]
    xs, means = [row.settings[setting] for row in study.rows], [mean for mean, _ in found]
    axes.errorbar(xs, means, yerr=[deviation or 0.0 for _, deviation in found], marker="o", capsize=3)
    axes.set_xlabel(setting.replace("_", " "))
    axes.set_ylabel("validation mAP in %")


def _bars(axes: "Axes", study: Study, results: Results, dataset: str) -> None:
    """The first row on top; a diamond where the paper has a figure."""
    found = [mean_and_deviation(validation_maps(results[row.name])) for row in study.rows]
    names, means = [row.name for row in study.rows], [mean for mean, _ in found]
    axes.barh(names, means, xerr=[deviation or 0.0 for _, deviation in found], capsize=3, label="here")
    published = [(value, row.name) for row in study.rows if (value := paper_map(row, dataset)) is not None]
    if published:
        values, places = zip(*published, strict=True)
        axes.plot(values, places, "D", color="black", fillstyle="none", label=f"paper, {paper_dataset(dataset)}")
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("validation mAP in %")
