"""Studies as whole commands: runs beside each other, and shared by studies that ask for the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Compare = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare") / "studies"


@pytest.fixture(scope="module")
def compare(
    voc_folder: Path,
    classes_file: Path,
    labeler,
    run_here: Callable[..., tuple[int, str]],
    small_run: list[str],
    output: Path,
) -> Compare:
    """compare(study, *flags): with one seed, in `output`."""
    others = ("--no-report", "--epochs=4", "--warmup-epochs=2")
    flags = [flag for flag in small_run if flag not in others] + ["--epochs=2", "--warmup-epochs=1"]
    places = ("--classes", classes_file, "--labeler", labeler.address, "--output", output)
    return lambda study, *more: run_here(
        "compare", f"voc:{voc_folder}", "--study", study, "--seeds", "1", *places, *flags, *more
    )


@pytest.fixture(scope="module")
def table3(compare: Compare, output: Path) -> dict[str, float]:
    """Two runs at a time; when each of them ended."""
    code, text = compare("table3", "--jobs", "2")
    assert code == 0, text
    assert "update + consistency, seed 0: " in text
    return finished(output)


def finished(output: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in output.glob("*/summary.json")}


def test_runs_beside_each_other_end_in_a_table_and_a_figure(table3: dict[str, float], output: Path) -> None:
    assert table3.keys() == {"seed=0", "debias=False,seed=0"}
    assert {"table3.md", "table3.csv", "table3.svg"} <= {path.name for path in output.iterdir()}


def test_a_study_takes_the_runs_of_another(compare: Compare, table3: dict[str, float], output: Path) -> None:
    """Fig. 2 shows the bias of the method's own run, which Table 3 has made; a repeated study makes none."""
    for study in ("fig2", "table3"):
        code, text = compare(study)
        assert code == 0, text
    assert finished(output) == table3


def test_finished_runs_with_other_settings_are_not_taken(
    compare: Compare, table3: dict[str, float], output: Path
) -> None:
    """A table of runs that were asked for differently would say what is not so."""
    code, text = compare("fig2", "--max-entropy", "0.3", "--jobs", "1")
    assert code == 2
    assert "max_entropy" in text
    assert "other settings" in text
    assert finished(output) == table3


def test_a_study_by_map_is_not_begun_without_targets(run_here: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    """Would fail if hours of runs ended in an empty table."""
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    code, text = run_here("compare", tmp_path, "--study", "table3", "--classes", "cat, dog")
    assert code == 3
    assert "no validation images with targets" in text
