"""The stages of the method on a small data set: what each setting changes in what is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="module")
def run(
    voc_folder: Path,
    classes_file: Path,
    labeler,
    run_here: Callable[..., tuple[int, str]],
    small_run: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """run(*flags): a finished run's folder."""

    def finished(*flags: str) -> Path:
        output = tmp_path_factory.mktemp("method") / "run"
        places = ("--classes", classes_file, "--labeler", labeler.address, "--output", output)
        code, text = run_here("run", f"voc:{voc_folder}", *small_run, *places, *flags)
        assert code == 0, text
        return output

    return finished


def summary_of(output: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text())
    return summary


def test_without_modules_the_labels_are_clip_s_own(run: Callable[..., Path]) -> None:
    """Would fail if a switched-off module still changed the labels: Table 2 would then compare nothing."""
    output = run("--no-update", "--no-debias", "--no-consistency")
    raw, initial = (np.load(output / "labels" / f"{name}.npy") for name in ("initial_raw", "initial"))
    assert (raw == initial).all()
    assert not (output / "labels" / "final.npy").exists()
    summary = summary_of(output)
    assert summary["modules"] == {"update": False, "debias": False, "consistency": False}
    assert summary["clip_forward_passes"] == len(raw)
    assert summary["map"]["initial_labels"] == summary["map"]["final_labels"]
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert all(row["consistency_loss"] == 0 for row in rows)


def test_labels_follow_the_formulas(run: Callable[..., Path]) -> None:
    """Would fail if floor, bias, maximum over views or blend were applied in another order than the method's."""
    output = run()
    raw, initial, local, final, views = (
        np.load(output / "labels" / f"{name}.npy").astype(np.float64)
        for name in ("initial_raw", "initial", "local", "final", "views")
    )
    bias = np.array(json.loads((output / "labels" / "bias.json").read_text())["bias"])
    num_classes = raw.shape[1]
    np.testing.assert_allclose(initial, np.minimum(np.maximum(raw, 1 / num_classes) / bias, 1), atol=1e-6)
    image = pq.read_table(output / "labels" / "views.parquet")["image"].to_numpy()
    for i in range(len(raw)):
        if (image == i).any():
            np.testing.assert_array_equal(local[i], views[image == i].max(axis=0))  # eq. 5
            blend = 0.2 * initial[i] + 0.8 * np.maximum(local[i], 1 / num_classes) / bias  # eq. 7
            np.testing.assert_allclose(final[i], np.clip(blend, 0, 1), atol=1e-6)
        else:
            assert np.isnan(local[i]).all()
            np.testing.assert_array_equal(final[i], initial[i])
    summary = summary_of(output)
    assert summary["mean_views_per_image"] == pytest.approx(5.0, abs=0.5)
    assert summary["clip_forward_passes"] == len(raw) + len(views)
    assert set(summary["map"]) == {"initial_labels", "final_labels", "validation", "validation_best_epoch"}
    assert {"initial_labels", "views", "label_update", "warmup", "training", "evaluation"} <= set(summary["seconds"])


@pytest.mark.parametrize("constants", ["paper", "official", "paper_literal"])
def test_the_other_constants_run_too(run: Callable[..., Path], constants: str) -> None:
    """Would fail if a rule that only another set of constants uses were broken."""
    summary = summary_of(run("--constants", constants))
    assert summary["constants"] == constants
    assert 0 <= summary["stop_epoch"] < summary["epochs_trained"] <= 4


def test_full_supervision_asks_nobody_for_labels(run: Callable[..., Path]) -> None:
    """Would fail if the upper bound were trained on anything but the targets."""
    output = run("--method", "bce")
    summary = summary_of(output)
    assert summary["clip_forward_passes"] == 0
    assert set(summary["map"]) == {"validation", "validation_best_epoch"}
    assert not list((output / "labels").glob("*.npy"))
