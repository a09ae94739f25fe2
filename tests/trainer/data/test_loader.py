"""Loaders: each image exactly once, and pixels that depend on seed, epoch and index alone."""

import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.data.loader import Batch, EvaluationBatches, TrainingBatches
from trainer.data.pixel_cache import PixelCache
from trainer.data.sample import ImageSet, Sample

SIZE = 16
NUM_IMAGES = 23


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    samples = []
    for i in range(NUM_IMAGES):
        coarse = np.random.default_rng(i).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 24 + i)).save(folder / f"{i:02}.png")
        samples.append(Sample(f"{i:02}", folder / f"{i:02}.png"))
    return ImageSet("train", tuple(samples))


def training(images: ImageSet, **options) -> TrainingBatches:
    settings = {"image_size": SIZE, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "batch_size": 5}
    return TrainingBatches(images, **(settings | {"seed": 7, "workers": 1, "two_views": True} | options))


def evaluation(images: ImageSet, **options) -> EvaluationBatches:
    settings = {"image_size": SIZE, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "batch_size": 5, "workers": 1}
    return EvaluationBatches(images, **(settings | options))


def joined(batches: Iterable[Batch]) -> tuple[torch.Tensor, torch.Tensor | None, list[int]]:
    parts = list(batches)
    strong = [part.strong for part in parts if part.strong is not None]
    indices = torch.cat([part.indices for part in parts])
    assert indices.dtype == torch.int64
    return torch.cat([part.weak for part in parts]), torch.cat(strong) if strong else None, indices.tolist()


def by_image(batches: Iterable[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    weak, strong, indices = joined(batches)
    order = np.argsort(indices)
    return weak[order], strong[order]


def test_evaluation_sees_each_image_once_in_order(images: ImageSet) -> None:
    """A dropped last batch would leave 3 of 23 images out of the mAP."""
    batches = list(evaluation(images))
    assert [len(batch.indices) for batch in batches] == [5, 5, 5, 5, 3]
    assert len(evaluation(images)) == len(batches)
    weak, strong, indices = joined(batches)
    assert indices == list(range(NUM_IMAGES))
    assert strong is None
    assert (weak.shape, weak.dtype) == ((NUM_IMAGES, 3, SIZE, SIZE), torch.float32)


def test_evaluation_does_not_augment(images: ImageSet) -> None:
    assert torch.equal(joined(evaluation(images))[0], joined(evaluation(images, batch_size=23))[0])


def test_each_epoch_is_a_permutation_of_its_own(images: ImageSet) -> None:
    orders = [joined(training(images).epoch(epoch))[2] for epoch in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(NUM_IMAGES))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("cached", [False, True])
def test_worker_count_changes_nothing(images: ImageSet, cached: bool) -> None:
    """A generator shared by workers would give other bits on a machine with more cores."""
    one, three = (
        joined(training(images, workers=workers, cache=PixelCache() if cached else None).epoch(2)) for workers in (1, 3)
    )
    assert torch.equal(one[0], three[0])
    assert torch.equal(one[1], three[1])
    assert one[2] == three[2]


def test_cache_changes_nothing(images: ImageSet) -> None:
    with_cache, without = joined(training(images, cache=PixelCache()).epoch(1)), joined(training(images).epoch(1))
    assert torch.equal(with_cache[0], without[0])
    assert torch.equal(with_cache[1], without[1])


def test_resumed_run_sees_what_the_straight_run_saw(images: ImageSet) -> None:
    """Epoch 3 of a loader that has already given three epochs, and of one made after a restart."""
    straight = training(images)
    for epoch in range(3):
        joined(straight.epoch(epoch))
    assert torch.equal(joined(straight.epoch(3))[1], joined(training(images).epoch(3))[1])


def test_views_do_not_depend_on_batches(images: ImageSet) -> None:
    small, large = by_image(training(images, batch_size=2).epoch(0)), by_image(training(images, batch_size=9).epoch(0))
    assert torch.equal(small[0], large[0])
    assert torch.equal(small[1], large[1])


def test_weak_view_is_the_same_with_and_without_the_strong_one(images: ImageSet) -> None:
    """Ablating the consistency loss must not change what the label loss sees."""
    assert torch.equal(joined(training(images).epoch(0))[0], joined(training(images, two_views=False).epoch(0))[0])
    assert joined(training(images, two_views=False).epoch(0))[1] is None


@pytest.mark.parametrize("change", [{"seed": 8}, {}])
def test_another_seed_or_epoch_gives_other_views(images: ImageSet, change: dict[str, int]) -> None:
    first, other = by_image(training(images).epoch(0)), by_image(training(images, **change).epoch(1))
    assert not torch.equal(first[0], other[0])
    differing = sum(not torch.equal(a, b) for a, b in zip(first[1], other[1], strict=True))
    assert differing == NUM_IMAGES


def test_images_of_a_batch_have_their_own_randomness(images: ImageSet) -> None:
    """The classic defect: every image of a batch jittered by the same draw."""
    same = ImageSet("train", (images.samples[0],) * 8)
    _, strong, _ = joined(training(same, batch_size=8).epoch(0))
    assert len(torch.unique(strong.flatten(1), dim=0)) == 8


MIXED = {"image_size": 96, "sizes": (32, 96), "batch_size": 2}


def sides(batches: Iterable[Batch]) -> list[int]:
    return [batch.weak.shape[-1] for batch in batches]


def test_each_batch_has_a_size_of_its_own(images: ImageSet) -> None:
    """Both views of one size, sizes by seed and epoch alone: a run that goes on has those of one that never stopped."""
    batches = list(training(images, **MIXED).epoch(1))
    assert set(sides(batches)) == {32, 64, 96}
    assert all(batch.strong.shape == batch.weak.shape for batch in batches)
    assert sides(batches) == sides(training(images, workers=3, **MIXED).epoch(1))
    assert sides(batches) != sides(training(images, **MIXED).epoch(2))
    assert sides(batches) != sides(training(images, seed=8, **MIXED).epoch(1))


def test_mixed_sizes_are_the_same_from_cache_and_file(images: ImageSet) -> None:
    """Other pixels from the cache would make the labels depend on how much memory was free."""
    cached, read = (list(training(images, cache=cache, **MIXED).epoch(0)) for cache in (PixelCache(), None))
    assert all(torch.equal(a.strong, b.strong) for a, b in zip(cached, read, strict=True))


def test_cache_reads_each_file_once(images: ImageSet, tmp_path: Path) -> None:
    """Also for a second loader over the same images, and with the files gone."""
    copies = tuple(Sample(s.image_id, tmp_path / s.path.name) for s in images.samples)
    for sample, original in zip(copies, images.samples, strict=True):
        sample.path.write_bytes(original.path.read_bytes())
    cache, copied = PixelCache(), ImageSet("train", copies)
    before = joined(evaluation(copied, cache=cache))[0]
    for sample in copies:
        sample.path.unlink()
    assert torch.equal(joined(evaluation(copied, cache=cache))[0], before)
    joined(training(copied, cache=cache).epoch(0))
    joined(evaluation(copied.subset(range(NUM_IMAGES)), cache=cache))


def test_cache_has_a_budget_over_all_sets(images: ImageSet) -> None:
    cache = PixelCache(max_bytes=NUM_IMAGES * SIZE * SIZE * 3)
    assert cache.pixels(images, 2 * SIZE, 1) is None
    assert cache.pixels(images, SIZE, 1).shape == (NUM_IMAGES, SIZE, SIZE, 3)
    assert cache.pixels(images, 1, 1) is None
    assert cache.pixels(images, SIZE, 1) is not None


@pytest.mark.parametrize("cached", [False, True])
def test_broken_image_is_named(images: ImageSet, tmp_path: Path, cached: bool) -> None:
    """A worker's error must reach the caller: swallowed, it would be a batch that never comes."""
    (tmp_path / "broken.jpg").write_bytes(b"hello")
    broken = ImageSet("train", (*images.samples, Sample("broken", tmp_path / "broken.jpg")))
    with pytest.raises(ValueError, match=r"broken\.jpg: not an image"):
        joined(evaluation(broken, workers=2, cache=PixelCache() if cached else None))


def test_consumer_may_stop_early(images: ImageSet) -> None:
    """The threads end with the iterator, or each interrupted epoch would leave some behind."""
    before = threading.active_count()
    batches = training(images, workers=3).epoch(0)
    next(batches)
    batches.close()
    assert threading.active_count() == before
