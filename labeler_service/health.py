"""Readiness (grpc.health.v1): SERVING only after an image really went through the decoder and the device."""

import io
from typing import Any

from grpc_health.v1 import health, health_pb2
from PIL import Image

from labeler_service.backends import ModelInfo
from labeler_service.errors import LabelerError
from labeler_service.images import Profile, ViewGeometry
from labeler_service.metrics import SERVING
from labeler_service.pipeline import Pipeline, Preprocessing, Timings

SERVICE = "clip_labeler.v1.LabelerService"


class Readiness:
    """What the health service says, of the server ("") and of the labeler service alike."""

    def __init__(self) -> None:
        self.servicer: Any = health.aio.HealthServicer()
        self.serving = False

    async def set(self, *, serving: bool) -> None:
        self.serving = serving
        SERVING.set(serving)
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            await self.servicer.set(service, status)


async def run_canary(pipeline: Pipeline, model: ModelInfo) -> None:
    """Embeds a small drawn image. Raises ValueError when the model cannot."""
    content = io.BytesIO()
    Image.linear_gradient("L").save(content, "PNG")
    geometry = ViewGeometry(Profile.MODEL, model.native_resolution, 1, 1, model.preprocessing)
    try:
        await pipeline.embed_image(content.getvalue(), Preprocessing(geometry, model.normalization), Timings())
    except LabelerError as error:
        raise ValueError(f"the model failed on a test image at {model.dtype} on {model.device}: {error}") from error
