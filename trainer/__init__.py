"""Trains a multi-label classifier without labels: the trainer's side of Classifier-guided CLIP Distillation."""

__version__ = "0.1.0"

from trainer.api import Model, Prediction, Result, load, run

__all__ = ["Model", "Prediction", "Result", "__version__", "load", "run"]
