"""Batches from the host to the device that trains on them, behind its back."""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from trainer.data.loader import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches with their images on `device`, in channels_last memory; indices stay on the host.

    On CUDA images go through a stream of their own: while a step computes, those of the next one are copied, if they
    lie in pinned memory. channels_last is what convolutions are fastest in, on CUDA tensor cores and with oneDNN alike.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    for batch in batches:
        with nullcontext() if stream is None else torch.cuda.stream(stream):
            weak, strong = _copied(batch.weak, device), _copied(batch.strong, device)
        if stream is not None:
            _hand_over(stream, torch.cuda.current_stream(device), weak, strong)
        assert weak is not None
        yield replace(batch, weak=weak, strong=strong)


def _copied(images: Tensor | None, device: torch.device) -> Tensor | None:
    return None if images is None else images.to(device, non_blocking=True, memory_format=torch.channels_last)


def _hand_over(copying: torch.cuda.Stream, computing: torch.cuda.Stream, *images: Tensor | None) -> None:
    """Lets the computing stream wait for the copies, and keeps their memory until it has used them."""
    computing.wait_stream(copying)
    for tensor in images:
        if tensor is not None:
            tensor.record_stream(computing)
