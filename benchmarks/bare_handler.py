"""The least that a Python server of this contract can cost: grpc.aio and a handler that answers without a look.

python -m benchmarks.bare_handler
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc

from clip_labeler.v1 import labeler_pb2 as pb
from clip_labeler.v1 import labeler_pb2_grpc

MAX_REQUEST_BYTES = 64 * 2**20  # the labeler's default


class Bare(labeler_pb2_grpc.LabelerServiceServicer):
    """Answers each image with its id."""

    async def ScoreImageStream(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.ScoreImageStreamRequest], context: Any
    ) -> AsyncIterator[pb.ScoreImageStreamResponse]:
        async for request in request_iterator:
            yield pb.ScoreImageStreamResponse(results=[pb.ImageResult(id=image.id) for image in request.images])


async def serve() -> None:
    """Until standard input closes."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_REQUEST_BYTES)])
    labeler_pb2_grpc.add_LabelerServiceServicer_to_server(Bare(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"serving nothing at 127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve())
