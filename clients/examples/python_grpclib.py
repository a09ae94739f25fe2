"""Scores an image with grpclib, a gRPC transport in pure Python, over TLS with a token.

LABELER_TOKEN=... python python_grpclib.py HOST:PORT CA.pem IMAGE CLASS...
"""

import asyncio
import os
import ssl
import struct
import sys
from pathlib import Path

from grpclib.client import Channel, UnaryUnaryMethod

from clip_labeler.v1 import labeler_pb2 as pb

SERVICE = "/clip_labeler.v1.LabelerService"
DEADLINE_SECONDS = 60


def connect(address: str, ca: str) -> Channel:
    """`ca`: path of a PEM file."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    return Channel(host, int(port), ssl=context)


async def score(channel: Channel, token: str, image: bytes, class_names: list[str]) -> list[float]:
    """Probabilities in the order of the class names. Raises grpclib.GRPCError."""
    metadata = {"authorization": f"Bearer {token}"}
    create = UnaryUnaryMethod(
        channel, f"{SERVICE}/CreateVocabulary", pb.CreateVocabularyRequest, pb.CreateVocabularyResponse
    )
    vocabulary = await create(
        pb.CreateVocabularyRequest(class_names=class_names), metadata=metadata, timeout=DEADLINE_SECONDS
    )
    options = pb.ScoreOptions(
        vocabulary_id=vocabulary.vocabulary_id,
        preprocessing=pb.Preprocessing(profile=pb.Preprocessing.PROFILE_PAPER),
        output=pb.ScoreOptions.OUTPUT_PROBABILITIES,
    )
    score_images = UnaryUnaryMethod(channel, f"{SERVICE}/ScoreImages", pb.ScoreImagesRequest, pb.ScoreImagesResponse)
    response = await score_images(
        pb.ScoreImagesRequest(options=options, images=[pb.Image(content=image)]),
        metadata=metadata,
        timeout=DEADLINE_SECONDS,
    )
    (result,) = response.results
    if result.HasField("error"):
        raise ValueError(result.error.message)
    return list(struct.unpack(f"<{len(class_names)}f", result.scores.data))


async def main(address: str, ca: str, image: str, *class_names: str) -> None:
    async with connect(address, ca) as channel:
        scores = await score(channel, os.environ["LABELER_TOKEN"], Path(image).read_bytes(), list(class_names))
    for value, name in zip(scores, class_names, strict=True):
        print(f"{value:.6f} {name}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
