"""Puts the sections into one HTML file that needs nothing else and loads nothing else."""

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trainer import __version__
from trainer.files import write_atomically
from trainer.map_samples import PER_CLASS
from trainer.report import (
    bias,
    cam_wall,
    class_quality,
    label_statistics,
    licences,
    reproduce,
    review,
    training_curves,
    verdict,
)
from trainer.report.pictures import Pictures
from trainer.report.run_files import RunFiles
from trainer.report.text import visible

# A report shall go into a mail.
MAX_BYTES = 20_000_000
REPORT = "report.html"


@dataclass(frozen=True)
class Section:
    """One part of the page: its anchor, which is also its template's name, its title, and what the template shows; None
    where the run has not got so far, or never gets there."""

    anchor: str
    title: str
    content: object | None


@dataclass(frozen=True)
class ClassOrder:
    """By what classes can be ordered; None where it is not known."""

    class_index: int
    labels: int | None
    bias: float | None
    average_precision: float | None


def write_report(folder: Path, output: Path | None = None, *, images: bool = True) -> Path:
    """Writes the report of the run in `folder`, by default as report.html in it, and returns its path.

    The run may be going on. images=False leaves all pictures out. Raises ValueError where there is no run, OSError
    where the report cannot be written.
    """
    path = output or folder / REPORT
    write_atomically(path, render(RunFiles(folder), Pictures(enabled=images)).encode())
    return path


def render(run: RunFiles, pictures: Pictures) -> str:
    """The page, with as many pictures as go into MAX_BYTES."""
    for per_class in range(PER_CLASS, -1, -1):
        html = _render(sections(run, pictures, per_class), run)
        if len(html.encode()) <= MAX_BYTES:
            break
    return html


def sections(run: RunFiles, pictures: Pictures, per_class: int) -> list[Section]:
    """All sections in their order, with at most per_class pictures of each class."""
    return [
        Section("verdict", verdict.TITLE, verdict.build(run)),
        Section("bias", bias.TITLE, bias.build(run)),
        Section("labels", label_statistics.TITLE, label_statistics.build(run)),
        Section("wall", cam_wall.TITLE, cam_wall.build(run, pictures, per_class)),
        Section("training", training_curves.TITLE, training_curves.build(run)),
        Section("classes", class_quality.TITLE, class_quality.build(run)),
        Section("review", review.TITLE, review.build(run, pictures, per_class / PER_CLASS)),
        Section("reproduce", reproduce.TITLE, reproduce.build(run)),
        Section("licences", licences.TITLE, licences.build(run)),
    ]


def class_orders(run: RunFiles) -> list[ClassOrder]:
    given = run.given_labels
    return [
        ClassOrder(
            c,
            None if given is None else int(given[:, c].sum()),
            run.bias["bias"][c] if run.bias is not None and run.bias["counts"][c] else None,
            float(run.precisions[c]["average_precision"]) if run.precisions else None,
        )
        for c in range(len(run.class_names))
    ]


def _render(parts: list[Section], run: RunFiles) -> str:
    templates = Environment(
        loader=PackageLoader("trainer.report"),
        autoescape=True,  # file and class names are hostile input
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["percent"] = lambda share: "-" if share is None else f"{100 * share:.0f} %"
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    return templates.get_template("report.html.j2").render(
        sections=parts, run=run, names=run.class_names, class_orders=class_orders(run), version=__version__,
        style=style, script=script, style_hash=_hash(style), script_hash=_hash(script),
    )  # fmt: skip


def _asset(name: str) -> Markup:
    return Markup((files("trainer.report") / "templates" / name).read_text())  # ours: shown as it is


def _hash(text: str) -> str:
    """What a Content-Security-Policy calls a script or a style sheet by; nothing else in the page may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
