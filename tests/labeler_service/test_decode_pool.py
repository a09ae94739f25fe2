"""The pool of decode processes: crashes, hangs, memory, cancellation, and what is left when the server is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from labeler_service import decode_pool, images
from labeler_service.decode_pool import WORKER_PROGRAM, DecodePool
from labeler_service.decode_worker import DecodeTask, WorkerSettings
from labeler_service.decoding import ImageLimits, decode
from labeler_service.errors import ItemError
from labeler_service.images import Box, ModelPreprocessing, Pixels, Profile, ViewGeometry

LIMITS = ImageLimits(max_bytes=2**25, max_pixels=2**26, max_non_jpeg_pixels=2**26)
SETTINGS = WorkerSettings(LIMITS, memory_bytes=2**28, cpu_seconds=5)
GEOMETRY = ViewGeometry(Profile.PAPER, side=64, multiple=1, minimum=32, model=ModelPreprocessing(48))
CRASHING = (str(Path(__file__).with_name("crashing_worker.py")),)
# Far more than anything here takes; a machine may be busy.
PATIENCE = 60

ImageBytes = Callable[..., bytes]


def run(
    test: Callable[[DecodePool], Awaitable[None]],
    *,
    settings: WorkerSettings = SETTINGS,
    num_workers: int = 2,
    program: tuple[str, ...] = CRASHING,
) -> None:
    async def main() -> None:
        pool = DecodePool(settings, num_workers=num_workers, program=program)
        await pool.start()
        try:
            await asyncio.wait_for(test(pool), PATIENCE)
        finally:
            pool.close()

    asyncio.run(main())


async def view_of(pool: DecodePool, content: bytes) -> Pixels | ItemError:
    try:
        [view], _ = await pool.decode(DecodeTask(GEOMETRY), content)
    except ItemError as error:
        return error
    return view


def test_views_are_those_of_this_process(image_bytes: ImageBytes) -> None:
    """Bytes that get lost or mixed up on the way would give labels of another image."""
    content = image_bytes(0, 90, 70)
    boxes = (Box(0, 0, 90, 70), Box(5, 5, 5, 9), Box(10, 20, 60, 50))
    image = decode(content, LIMITS)

    async def test(pool: DecodePool) -> None:
        [view], seconds = await pool.decode(DecodeTask(GEOMETRY), content)
        assert np.array_equal(view, images.global_view(image, GEOMETRY))
        assert seconds > 0
        [crop], _ = await pool.decode(DecodeTask(GEOMETRY, is_crop=True), content)
        assert np.array_equal(crop, images.crop_view(image, GEOMETRY))
        (whole, empty, part), _ = await pool.decode(DecodeTask(GEOMETRY, boxes), content)
        assert np.array_equal(whole, crop)
        assert empty.reason == "EMPTY_BOX"
        assert np.array_equal(part, images.local_view(image, boxes[2], GEOMETRY))

    run(test, program=WORKER_PROGRAM)


def test_a_crash_costs_one_image(image_bytes: ImageBytes) -> None:
    """Pools of processes fail all that is queued and stay broken; threads take the server with them."""
    contents = [image_bytes(seed) for seed in range(20)]
    contents[4] = b"crash"

    async def test(pool: DecodePool) -> None:
        views = await asyncio.gather(*(view_of(pool, content) for content in contents))
        failure = views.pop(4)
        assert isinstance(failure, ItemError)
        assert (failure.reason, failure.code) == ("DECODER_CRASHED", grpc.StatusCode.INTERNAL)
        expected = [
            images.global_view(decode(content, LIMITS), GEOMETRY) for content in contents if content != b"crash"
        ]
        np.testing.assert_array_equal(views, expected)
        assert pool.restarts == 2, "it was tried once more, alone"

    run(test)


def test_what_crashed_by_chance_is_decoded(tmp_path: Path) -> None:
    """The machine's memory or an operator can end a worker whose image is good."""

    async def test(pool: DecodePool) -> None:
        assert isinstance(await view_of(pool, f"crash once:{tmp_path / 'crashed'}".encode()), np.ndarray)
        assert pool.restarts == 1

    run(test)


def test_killed_while_idle(image_bytes: ImageBytes) -> None:
    async def test(pool: DecodePool) -> None:
        for pid in worker_pids(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        views = await asyncio.gather(*(view_of(pool, image_bytes(seed)) for seed in range(8)))
        assert all(isinstance(view, np.ndarray) for view in views)
        assert pool.restarts in (1, 2), "one that got no image may still be dead"

    run(test)


def test_endless_work_is_cut_off(image_bytes: ImageBytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A progressive JPEG of a million scans would hold a worker for hours. Tried twice, it would cost twice as much."""

    async def test(pool: DecodePool) -> None:
        spinning, view = await asyncio.gather(view_of(pool, b"spin"), view_of(pool, image_bytes()))
        assert (spinning.reason, spinning.code) == ("DECODE_TIMEOUT", grpc.StatusCode.INVALID_ARGUMENT)
        assert isinstance(view, np.ndarray)
        assert pool.restarts == 1

    monkeypatch.setattr(decode_pool, "WALL_SECONDS_PER_CPU_SECOND", 60)  # a busy machine gives it half a second late
    run(test, settings=WorkerSettings(LIMITS, 2**28, cpu_seconds=0.5))


def test_hanging_worker_is_replaced(image_bytes: ImageBytes) -> None:
    async def test(pool: DecodePool) -> None:
        assert (await view_of(pool, b"hang")).reason == "DECODE_TIMEOUT"
        assert isinstance(await view_of(pool, image_bytes()), np.ndarray)

    run(test, settings=WorkerSettings(LIMITS, 2**28, cpu_seconds=0.5), num_workers=1)


def test_memory_is_limited(image_bytes: ImageBytes) -> None:
    """An image of 20 megapixels in a worker of 128 MiB: it fails alone and the worker lives on."""
    large = image_bytes(0, 4500, 4500, "PNG")

    async def test(pool: DecodePool) -> None:
        assert (await view_of(pool, large)).reason == "IMAGE_TOO_LARGE"
        assert isinstance(await view_of(pool, image_bytes()), np.ndarray)
        assert pool.restarts == 0

    run(test, settings=WorkerSettings(LIMITS, 2**27, cpu_seconds=5), num_workers=1, program=WORKER_PROGRAM)


def test_a_worker_is_not_believed(tmp_path: Path, image_bytes: ImageBytes) -> None:
    """Code that took a worker over could make the server allocate 10 GB for a view."""

    async def test(pool: DecodePool) -> None:
        assert (await view_of(pool, f"lie:{tmp_path / 'lied'}".encode())).reason == "DECODER_CRASHED"
        assert isinstance(await view_of(pool, image_bytes()), np.ndarray)

    run(test, num_workers=1)


def test_cancelled_before_its_turn(tmp_path: Path, image_bytes: ImageBytes) -> None:
    """Decoding for callers that have gone would delay the others."""
    seen = tmp_path / "seen"

    async def test(pool: DecodePool) -> None:
        first = asyncio.create_task(view_of(pool, image_bytes(0, 2000, 2000)))
        dropped = asyncio.create_task(view_of(pool, f"touch:{seen}".encode()))
        await asyncio.sleep(0)
        dropped.cancel()
        assert isinstance(await first, np.ndarray)
        assert isinstance(await view_of(pool, image_bytes()), np.ndarray)
        assert not seen.exists()

    run(test, num_workers=1)


def test_no_worker_outlives_the_server() -> None:
    """Neither one that waits nor one whose decoder never ends."""
    code = (
        "import asyncio, sys; sys.path.insert(0, sys.argv[1]); import test_decode_pool as t\n"
        "settings = t.WorkerSettings(t.LIMITS, 2**28, cpu_seconds=0.3)\n"
        "async def main():\n"
        "    pool = t.DecodePool(settings, num_workers=2, program=t.CRASHING)\n"
        "    await pool.start()\n"
        "    print('up', flush=True)\n"
        "    await t.view_of(pool, b'spin')\n"
        "asyncio.run(main())\n"
    )
    server = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert server.stdout.readline() == b"up\n"
    workers = [psutil.Process(pid) for pid in worker_pids(server.pid)]
    assert len(workers) == 2
    server.kill()
    server.wait()
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
    assert alive == []


def worker_pids(server: int) -> list[int]:
    children = [child for child in psutil.Process(server).children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child.pid for child in children if any("worker" in argument for argument in child.cmdline())]


def test_a_worker_that_does_not_come_up_is_said() -> None:
    with pytest.raises(ValueError, match="a decode worker did not start"):
        run(lambda pool: asyncio.sleep(0), program=("-c", "raise SystemExit"))


def test_workers_stay_small() -> None:
    """torch in each would take a second and 300 MB a core; gRPC has threads that a decoder's memory limit breaks."""
    code = "import sys, labeler_service.decode_worker; print({'grpc', 'google', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
