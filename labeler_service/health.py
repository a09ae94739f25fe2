"""Health (grpc.health.v1) that means progress: SERVING while images really go through the decoder and the device.

Readiness is what the server ("") and the labeler service answer: send work here or not. Liveness is a service name of
its own: NOT_SERVING means that only a restart helps.
"""

import asyncio
import io
import logging
import time
from typing import Any

from grpc_health.v1 import health, health_pb2
from PIL import Image

from labeler_service.backends import ModelInfo
from labeler_service.call_context import CallContext, current_call
from labeler_service.engine import Engine
from labeler_service.errors import DeviceLostError, LabelerError
from labeler_service.images import Profile, ViewGeometry
from labeler_service.metrics import SERVING
from labeler_service.pipeline import EncodedImage, Pipeline, Preprocessing, Timings
from labeler_service.watchdog import Watchdog

logger = logging.getLogger(__name__)

SERVICE = "clip_labeler.v1.LabelerService"
LIVENESS = "liveness"

TICK_SECONDS = 0.2
# An idle server tests itself this often, but spends at most a twentieth of the device on it.
CANARY_INTERVAL_SECONDS = 1.0
CANARY_SHARE = 20
# What a canary may take beyond a multiple of what it took at start, before the server is called unready.
CANARY_SLACK_SECONDS = 1.0
CANARY_FACTOR = 4
# A tick that comes so late shows that the whole process was frozen: what seems overdue is not the device's fault.
FROZEN_SECONDS = 5.0


class Readiness:
    """The health service and what it answers."""

    def __init__(self) -> None:
        self.servicer: Any = health.aio.HealthServicer()
        self.serving: bool | None = None

    async def set(self, *, serving: bool) -> None:
        if serving == self.serving:
            return
        self.serving = serving
        SERVING.set(serving)
        for service in ("", SERVICE):
            await self.servicer.set(service, _status(serving))

    async def set_alive(self, alive: bool) -> None:
        await self.servicer.set(LIVENESS, _status(alive))


def _status(good: bool) -> Any:
    return health_pb2.HealthCheckResponse.SERVING if good else health_pb2.HealthCheckResponse.NOT_SERVING


class Canary:
    """A small drawn image that goes the way of every other."""

    def __init__(self, pipeline: Pipeline, model: ModelInfo) -> None:
        self._pipeline = pipeline
        self._model = model
        content = io.BytesIO()
        Image.linear_gradient("L").save(content, "PNG")
        self._image = EncodedImage(content.getvalue())
        geometry = ViewGeometry(Profile.MODEL, model.native_resolution, 1, 1, model.preprocessing)
        self._preprocessing = Preprocessing(geometry, model.normalization)

    async def run(self) -> float:
        """The seconds that it took. Raises ValueError when the model cannot do it."""
        current_call.set(CallContext(caller="canary"))
        started = time.monotonic()
        try:
            await self._pipeline.embed_image(self._image, self._preprocessing, Timings())
        except DeviceLostError:
            raise
        except LabelerError as error:
            model = self._model
            raise ValueError(f"the model failed on a test image at {model.dtype} on {model.device}: {error}") from error
        return time.monotonic() - started


class Monitor:
    """Keeps the answers of the health service true.

    Unready while a batch is overdue, or when the device is idle and the canary does not come back. A batch that is
    overdue by `hang_seconds` means that the device is lost.
    """

    def __init__(self, engine: Engine, readiness: Readiness, *, hang_seconds: float) -> None:
        self._pipeline = engine.pipeline
        self._canary = Canary(engine.pipeline, engine.model)
        self._batcher = engine.batcher
        self._readiness = readiness
        self._hang_seconds = hang_seconds
        self._canary_seconds = 0.0
        self._awake_since = time.monotonic()

    async def start(self) -> None:
        """Returns when the server can be called ready. Raises ValueError when the first canary fails."""
        await self._readiness.set_alive(True)
        self._canary_seconds = await self._canary.run()
        await self._readiness.set(serving=True)

    async def watch(self) -> None:
        """Until it is cancelled or the device is lost."""
        watchdog = Watchdog(asyncio.get_running_loop())
        try:
            while not self._batcher.lost.is_set():
                await self._readiness.set(serving=await self._makes_progress())
                slept_from = time.monotonic()
                await asyncio.sleep(TICK_SECONDS)
                if time.monotonic() - slept_from > FROZEN_SECONDS:
                    self._awake_since = time.monotonic()
            await self._readiness.set_alive(False)
        finally:
            watchdog.stop()

    async def _makes_progress(self) -> bool:
        progress = self._batcher.progress
        overdue = min(progress.overdue, time.monotonic() - self._awake_since)
        if overdue > self._hang_seconds:
            logger.critical("a batch is overdue by %.0f s: the device is given up", overdue)
            self._batcher.lose()
        if progress.overdue or self._batcher.lost.is_set():
            return False
        interval = max(CANARY_INTERVAL_SECONDS, CANARY_SHARE * self._canary_seconds)
        last = max(progress.last_completed, self._pipeline.last_decoded)
        if progress.busy or time.monotonic() - last < interval:
            return True
        return await self._canary_comes_back()

    async def _canary_comes_back(self) -> bool:
        patience = CANARY_SLACK_SECONDS + CANARY_FACTOR * self._canary_seconds
        try:
            await asyncio.wait_for(self._canary.run(), patience)
        except (TimeoutError, ValueError, DeviceLostError) as error:
            logger.error("the canary did not come back: %s", error or f"no answer for {patience:.1f} s")
            return False
        return True
