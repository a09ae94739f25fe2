"""Any number of processes sees the batches that one would see, and each image once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trainer.data.loader import EvaluationBatches, TrainingBatches
from trainer.data.pixel_cache import PixelCache
from trainer.data.sample import ImageSet, Sample
from trainer.data.sharding import Share

SIZE = 8
NUM_IMAGES = 13

PROCESSES, BATCH_SIZES = st.integers(1, 6), st.integers(1, 15)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    folder = tmp_path_factory.mktemp("images")
    for i in range(NUM_IMAGES):
        pixels = np.random.default_rng(i).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    return ImageSet("train", tuple(Sample(path.stem, path) for path in sorted(folder.glob("*.png"))))


@pytest.fixture(scope="module")
def cache() -> PixelCache:
    return PixelCache()


def options(batch_size: int, cache: PixelCache) -> dict[str, object]:
    mean_and_std = {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    return {"image_size": SIZE, **mean_and_std, "batch_size": batch_size, "workers": 1, "cache": cache}


@given(total=st.integers(0, 100), size=PROCESSES)
def test_shares_are_the_whole(total: int, size: int) -> None:
    """In order, nothing twice, nothing lost, and no process has more than one more than another."""
    items = np.arange(total)
    shares = [Share(rank, size).of(items) for rank in range(size)]
    assert np.concatenate(shares).tolist() == items.tolist()
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(size=PROCESSES, batch_size=BATCH_SIZES, epoch=st.integers(0, 3))
def test_batches_are_the_same_for_any_number_of_processes(
    images: ImageSet, cache: PixelCache, size: int, batch_size: int, epoch: int
) -> None:
    """Would fail if the order depended on the processes, or if the last batch were padded or dropped."""
    settings = options(batch_size, cache) | {"seed": 3, "two_views": True}
    loaders = [TrainingBatches(images, **settings, share=Share(rank, size)) for rank in range(size)]
    wholes = TrainingBatches(images, **settings).epoch(epoch)
    for whole, *shares in zip(wholes, *(loader.epoch(epoch) for loader in loaders), strict=True):
        assert all(torch.equal(share.indices, whole.indices) for share in shares)
        assert torch.equal(torch.cat([share.weak for share in shares]), whole.weak)
        assert torch.equal(torch.cat([share.strong for share in shares]), whole.strong)


@given(size=PROCESSES, batch_size=BATCH_SIZES)
def test_evaluation_counts_each_image_once(images: ImageSet, cache: PixelCache, size: int, batch_size: int) -> None:
    """And each in the batch in which one process would have it, so that its logits have the same bits."""
    loader = EvaluationBatches(images, **options(batch_size, cache))
    whole = [batch.indices.tolist() for batch in loader]
    shares = [[batch.indices.tolist() for batch in loader.only(range(len(loader))[rank::size])] for rank in range(size)]
    assert [shares[number % size][number // size] for number in range(len(loader))] == whole
    assert sorted(i for share in shares for batch in share for i in batch) == list(range(NUM_IMAGES))
