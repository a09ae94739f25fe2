"""The process that decodes: encoded images come in through a socket, views go back. Knows neither gRPC nor torch.

decode_pool.py runs it as `python -m labeler_service.decode_worker FD` and survives whatever hostile bytes do to it.

Both speak in frames. To the worker, two lengths, a pickle and an image's bytes: first WorkerSettings and no image, then
for each task a DecodeTask. Back come READY, and for each task one frame per view: kind, height, width and length,
then the view's pixels or "REASON message". FAILED stands for all views of a task. The pool unpickles nothing: the
worker may have fallen to an attacker.
"""

import functools
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from labeler_service import decoding, images
from labeler_service.decoding import DecodedImage, ImageError, ImageLimits
from labeler_service.images import Box, Pixels, ViewGeometry

# Bytes of the pickle and of the image.
REQUEST_HEADER = struct.Struct("!II")
READY = b"R"
# Kind, height, width, bytes that follow.
VIEW_HEADER = struct.Struct("!BHHI")
VIEW, VIEW_ERROR, FAILED = range(3)
# Up to here a copy costs less than a second call of the kernel.
COPIED_BYTES = 32 * 1024


@dataclass(frozen=True)
class WorkerSettings:
    """What one worker may use: bytes of memory, all told, seconds of CPU per image or view, and which cores: those that
    nothing less nice wants."""

    limits: ImageLimits
    memory_bytes: int
    cpu_seconds: float
    niceness: int = 0


@dataclass(frozen=True)
class DecodeTask:
    """The views that are wanted of one image: of its boxes, of the image as a crop, or of the whole image."""

    geometry: ViewGeometry
    boxes: tuple[Box, ...] = ()
    is_crop: bool = False

    @property
    def num_views(self) -> int:
        return len(self.boxes) or 1


def serve(connection: socket.socket) -> None:
    """Decodes task after task until the other side is gone."""
    settings: WorkerSettings
    settings, _ = _receive_request(connection)
    _restrict(settings)
    connection.sendall(READY)
    while True:
        _serve_one(connection, settings)


def _serve_one(connection: socket.socket, settings: WorkerSettings) -> None:
    """A function of its own, so that an image's bytes are gone before those of the next one come."""
    task, content = _receive_request(connection)
    for kind, view in _outcomes(task, content, settings):
        height, width = view.shape[:2] if kind == VIEW else (0, 0)
        header = VIEW_HEADER.pack(kind, height, width, view.nbytes)
        if view.nbytes > COPIED_BYTES:
            connection.sendall(header)
            connection.sendall(view)
        else:
            connection.sendall(header + view.tobytes())


def _restrict(settings: WorkerSettings) -> None:
    # Data: unlike the address space it leaves out libraries, whose size differs by machine.
    resource.setrlimit(resource.RLIMIT_DATA, (settings.memory_bytes, settings.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(settings.niceness)
    warnings.simplefilter("ignore")  # Pillow warns of odd files; callers choose how many of them there are.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # Sent to the whole group; the server still has calls to finish.


def _outcomes(task: DecodeTask, content: bytes, settings: WorkerSettings) -> Iterator[tuple[int, Any]]:
    """Kind and pixels or message of each view."""
    try:
        _limit_cpu(settings)
        image = decoding.decode(content, settings.limits)
    except ImageError as error:
        yield FAILED, _message(error)
        return
    for number in range(task.num_views):
        try:
            _limit_cpu(settings)
            yield VIEW, _view(image, task, number)
        except ImageError as error:
            yield VIEW_ERROR, _message(error)


def _limit_cpu(settings: WorkerSettings) -> None:
    """From now on. The kernel ends the process, also when no Python code runs or the server is gone."""
    signal.setitimer(signal.ITIMER_PROF, settings.cpu_seconds)


def _view(image: DecodedImage, task: DecodeTask, number: int) -> Pixels:
    try:
        if task.boxes:
            return images.local_view(image, task.boxes[number], task.geometry)
        if task.is_crop:
            return images.crop_view(image, task.geometry)
        return images.global_view(image, task.geometry)
    except MemoryError:
        raise ImageError("IMAGE_TOO_LARGE", "view takes more memory than is allowed") from None


def _message(error: ImageError) -> memoryview:
    return memoryview(f"{error.reason} {error.message}".encode())


def _receive_request(connection: socket.socket) -> tuple[Any, bytes]:
    num_pickled, num_bytes = REQUEST_HEADER.unpack(_receive(connection, REQUEST_HEADER.size))
    return _unpickle(_receive(connection, num_pickled)), _receive(connection, num_bytes) if num_bytes else b""


_unpickle = functools.lru_cache(1000)(pickle.loads)


def _receive(connection: socket.socket, size: int) -> bytes:
    content = connection.recv(size, socket.MSG_WAITALL)
    if len(content) < size:  # The server has ended, in whatever way.
        sys.exit()
    return content


def main() -> None:
    Image.preinit()  # Loads the other decoders now and not within a task.
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
