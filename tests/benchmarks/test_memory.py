"""Memory while images stream, with the control that shows that a leak would be seen; and a short soak."""

from collections.abc import Iterator

import pytest

from benchmarks import material
from benchmarks.labeler_memory import drift, measure
from benchmarks.labeler_soak import soak
from benchmarks.soak_caller import Findings
from benchmarks.target import FREE, ServerProcess, Target, running

ITEMS = 20_000
# A leak of 1 kB an item is 16 MB between the second tenth and the last.
MAX_GROWTH_BYTES = 8 * 2**20
VIEW_SIZE = 32


@pytest.fixture
def free_server() -> Iterator[ServerProcess]:
    with running(Target(model=FREE)) as server:
        yield server


def growth(samples: list[int]) -> float:
    return drift(samples) * samples[len(samples) // 10]


@pytest.mark.slow
def test_memory_stays_flat(free_server: ServerProcess) -> None:
    """A labeler runs for months: what each image leaves behind adds up."""
    measure(free_server, VIEW_SIZE, 1000)
    num_fds, num_threads = free_server.process.num_fds(), free_server.process.num_threads()
    memory = measure(free_server, VIEW_SIZE, ITEMS)
    assert memory.num_failed == ITEMS // 100, "only the broken ones"
    assert growth(memory.server) < MAX_GROWTH_BYTES
    assert growth(memory.client) < MAX_GROWTH_BYTES
    assert free_server.process.num_fds() <= num_fds
    assert free_server.process.num_threads() <= num_threads


@pytest.mark.slow
def test_a_leak_is_seen() -> None:
    with running(Target(model=FREE), "--leak", "1024") as leaking:
        assert growth(measure(leaking, VIEW_SIZE, ITEMS).server) > MAX_GROWTH_BYTES


@pytest.mark.slow
def test_soak() -> None:
    """Cancelled and late work, broken images and crops at once are where batchers lose or double results."""
    findings = Findings()
    with running(Target(), "--metrics-port", "0") as server:
        soak(server, 96, seconds=30, callers=3, seed=1, findings=findings)
    assert findings.faults == []
    assert findings.done["results"] > 0


def test_drift() -> None:
    """It must see growth and forgive the start, or the figure that is claimed means nothing."""
    assert drift([1000] * 100) == 0
    assert drift([0] * 10 + [1000] * 90) == 0
    assert drift([1000 + 10 * step for step in range(100)]) == pytest.approx(800 / 1109)
    assert drift([1000, 1000, 1000, 2000] * 25) == 0, "work in flight"


def test_boxes_are_within_the_photo() -> None:
    boxes = material.boxes(0, 1000)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= material.PHOTO_WIDTH).all()
    assert (boxes[:, 3] <= material.PHOTO_HEIGHT).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 37).all()
    assert len(material.tiny_image(0, 100_000)) == 100_000
