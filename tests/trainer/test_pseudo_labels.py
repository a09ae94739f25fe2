"""Label update (eq. 5-7) by hand and by its identities; the row store under crashes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.pseudo_labels import RowStore, load_rows, max_over_views, save_rows, update_labels

SEEDS = st.integers(0, 2**32)
ALPHAS = st.floats(0, 1)


def random_labels(seed: int, num_images: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Initial labels in [0, 1] and local ones up to 2 (debiased, not clamped), each third image without a view."""
    rng = np.random.default_rng(seed)
    initial = rng.random((num_images, 4), dtype=np.float32)
    local = 2 * rng.random((num_images, 4), dtype=np.float32)
    local[::3] = np.nan
    return initial, local


def test_max_over_views_takes_every_class_from_every_view() -> None:
    """A view raises all classes that it shows, not only the one that proposed it; image 1 has none."""
    rows = np.array([[0.7, 0.1, 0.2], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], np.float32)
    found = max_over_views(rows, np.array([0, 2, 0]), 3)
    np.testing.assert_array_equal(found[[0, 2]], np.float32([[0.7, 0.1, 0.8], [0.2, 0.5, 0.3]]))
    assert np.isnan(found[1]).all()
    assert found.dtype == np.float32


def test_max_over_views_without_any_view() -> None:
    assert np.isnan(max_over_views(np.empty((0, 3), np.float32), np.empty(0, np.int64), 2)).all()


def test_official_update_worked_example() -> None:
    """clamp(0.2 l + 0.8 p / bias): 0.16 + 0.8 * 0.45 / 0.9, and a local label of 1.2 that the limit cuts."""
    local = np.float32([[0.45 / 0.9, 0.9 / 0.75]])
    final = update_labels(np.float32([[0.8, 1.0]]), local, alpha=0.2, empty=None)
    np.testing.assert_allclose(final, [[0.56, 1.0]], rtol=1e-6)


def test_image_without_views_keeps_its_label_or_gets_the_floor() -> None:
    """The released floor shrinks a certain label to 0.2 + 0.8 / 20 / bias; keeping it is our correction."""
    initial, local = np.float32([[1.0, 0.3]]), np.float32([[np.nan, np.nan]])
    np.testing.assert_array_equal(update_labels(initial, local, alpha=0.2, empty=None), initial)
    floor = 0.05 / np.array([1.0, 0.8])
    np.testing.assert_allclose(update_labels(initial, local, alpha=0.2, empty=floor), [[0.24, 0.11]], rtol=1e-6)


@given(SEEDS)
def test_alpha_one_keeps_initial_and_alpha_zero_takes_local(seed: int) -> None:
    initial, local = random_labels(seed)
    np.testing.assert_array_equal(update_labels(initial, local, alpha=1, empty=np.ones(4)), initial)
    expected = np.where(np.isnan(local), initial, np.minimum(local, 1))
    np.testing.assert_array_equal(update_labels(initial, local, alpha=0, empty=None), expected)


@given(SEEDS, ALPHAS, st.booleans())
def test_final_labels_are_float32_in_range(seed: int, alpha: float, keep: bool) -> None:
    """BCE with a label above 1 drives logits to infinity; float64 labels would promote the whole loss."""
    final = update_labels(*random_labels(seed), alpha=alpha, empty=None if keep else np.full(4, 0.1))
    assert final.dtype == np.float32
    assert ((final >= 0) & (final <= 1)).all()


@given(SEEDS, ALPHAS)
def test_update_is_monotone(seed: int, alpha: float) -> None:
    """More evidence in a view never lowers a label."""
    initial, local = random_labels(seed)
    higher = update_labels(initial, local + np.float32(0.1), alpha=alpha, empty=None)
    assert (higher >= update_labels(initial, local, alpha=alpha, empty=None)).all()


def test_store_keeps_rows_between_runs(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "rows.npy", 3, 2)
    assert store.missing().tolist() == [0, 1, 2]
    store.put(1, np.array([0.25, 0.75]))
    again = RowStore(tmp_path / "rows.npy", 3, 2)
    assert again.missing().tolist() == [0, 2]
    assert again.rows()[1].tolist() == [0.25, 0.75]
    assert len(again) == 3


def test_torn_row_counts_as_unanswered(tmp_path: Path) -> None:
    """A process that dies while it writes leaves some columns NaN; using the others would invent a label."""
    path = tmp_path / "rows.npy"
    RowStore(path, 2, 3).put(0, np.ones(3))
    torn = np.load(path, mmap_mode="r+")
    torn[1, :2] = 0.5
    torn.flush()
    store = RowStore(path, 2, 3)
    assert store.missing().tolist() == [1]
    assert np.isnan(store.rows()[1]).all()
    store.put(1, np.full(3, 0.5))
    assert store.missing().tolist() == []


def test_kill_loses_no_answered_row(tmp_path: Path) -> None:
    """SIGKILL right after a put, without flush or close: the row must be in the file."""
    script = (
        "import os, signal, sys, pathlib, numpy as np\n"
        "from trainer.pseudo_labels import RowStore\n"
        "store = RowStore(pathlib.Path(sys.argv[1]), 50, 4)\n"
        "for i in range(20): store.put(i, np.full(4, i / 20))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "rows.npy"
    killed = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    store = RowStore(path, 50, 4)
    assert store.missing().tolist() == list(range(20, 50))
    np.testing.assert_array_equal(store.rows()[:20, 0], np.float32(np.arange(20) / 20))


def test_store_refuses_the_file_of_another_run(tmp_path: Path) -> None:
    """Labels of other classes or images would be taken for this run's."""
    RowStore(tmp_path / "rows.npy", 3, 2)
    with pytest.raises(ValueError, match=r"rows.npy holds \(3, 2\) float32, expected \(3, 5\)"):
        RowStore(tmp_path / "rows.npy", 3, 5)
    np.save(tmp_path / "other.npy", np.zeros((3, 2)))
    with pytest.raises(ValueError, match="float64"):
        RowStore(tmp_path / "other.npy", 3, 2)


def test_store_leaves_no_half_made_file(tmp_path: Path) -> None:
    RowStore(tmp_path / "rows.npy", 3, 2).flush()
    assert [file.name for file in tmp_path.iterdir()] == ["rows.npy"]


def test_store_without_rows(tmp_path: Path) -> None:
    """A run in which no image has a local view."""
    store = RowStore(tmp_path / "rows.npy", 0, 4)
    assert (len(store.missing()), store.rows().shape) == (0, (0, 4))
    assert len(RowStore(tmp_path / "rows.npy", 0, 4)) == 0


def test_store_refuses_an_answer_that_is_not_finite(tmp_path: Path) -> None:
    """It would count as unanswered, and be asked for again for ever."""
    with pytest.raises(AssertionError, match="row 0"):
        RowStore(tmp_path / "rows.npy", 1, 2).put(0, np.array([0.5, np.nan]))


def test_saved_rows_load_again(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    save_rows(tmp_path / "a" / "rows.npy", rows)
    np.testing.assert_array_equal(load_rows(tmp_path / "a" / "rows.npy"), rows)
