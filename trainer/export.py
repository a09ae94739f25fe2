"""The classifier that people take away from a run: safetensors with a readable config."""

from collections.abc import Mapping

from trainer.checksums import write_checksums
from trainer.exported_model import Description, load_model, write_model
from trainer.files import write_atomically
from trainer.model_card import model_card, named_figures, provenance, read_per_class
from trainer.session import Run
from trainer.training import Training

__all__ = ["export_model", "load_model"]


def export_model(run: Run, training: Training, quality: Mapping[str, Mapping[str, float]] | None = None) -> None:
    """Writes model/: the kept epoch's weights, what is needed to use them, and a card with the figures in `quality`,
    as `summary.evaluate` gives them. `load_model` reads it."""
    training.load_kept_weights()
    config, folder, facts = run.config, run.folder.path("model/config.json").parent, provenance(run, training)
    reason = write_model(
        folder, training.model, Description(config.backbone, config.image_size, run.class_names, facts)
    )
    if reason is not None:
        note = f"note: model/ opens here and as ONNX, but not in timm: {reason}"
        run.console.print(note, markup=False, highlight=False, soft_wrap=True)
    card = model_card(
        facts, run.class_names, image_size=config.image_size, timm_form=reason is None,
        figures=named_figures(quality or {}), per_class=read_per_class(run.folder.path("per_class.csv")),
    )  # fmt: skip
    write_atomically(folder / "README.md", card.encode())
    write_checksums(folder)
