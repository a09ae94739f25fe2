"""Trains a multi-label classifier without labels: the trainer's side of Classifier-guided CLIP Distillation."""

__version__ = "0.1.0"
