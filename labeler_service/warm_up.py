"""Runs a full batch of each shape that callers will send, so that the first of them does not pay for kernels that are
chosen and compiled."""

import asyncio
import logging
import time

import numpy as np

from labeler_service.engine import Engine
from labeler_service.images import Pixels

logger = logging.getLogger(__name__)


def bucketed_shapes(side: int, stride: int) -> list[tuple[int, int]]:
    """(height, width) of all views that the bucketed profile makes at that view size: 39 at 640 and a stride of 32."""
    longer = max(stride, round(side / stride) * stride)
    shorter = range(stride, longer + 1, stride)
    return sorted({*((longer, side) for side in shorter), *((side, longer) for side in shorter)})


async def warm_up(engine: Engine, view_size: int) -> None:
    """For models that take one size only there is nothing to do: the canary has that size."""
    if not engine.model.variable_size:
        return
    started = time.monotonic()
    shapes = bucketed_shapes(view_size, engine.model.stride)
    for height, width in shapes:
        await _run_batch(engine, np.zeros((height, width, 3), np.uint8))
    logger.info("warmed up %d shapes in %.1f s", len(shapes), time.monotonic() - started)


async def _run_batch(engine: Engine, view_HW3: Pixels) -> None:
    size = engine.batcher.capacity(*view_HW3.shape[:2])
    await asyncio.gather(*(engine.batcher.encode(view_HW3, engine.model.normalization) for _ in range(size)))
