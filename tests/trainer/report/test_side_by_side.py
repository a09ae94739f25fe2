"""Runs beside each other."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.__main__ import main

MakeRun = Callable[..., Path]


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as exit_info:
        main(["compare", *map(str, arguments)])
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


def test_two_runs(make_run: MakeRun, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_run(tmp_path / "[bold]other", epochs=7)
    assert call(finished_run, other, "--output", tmp_path) == 0
    assert "[bold]other" in capsys.readouterr().out
    with (tmp_path / "table.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["", "with targets", "[bold]other"]
    table = {name: values for name, *values in rows}
    assert table["mAP of the classifier"] == ["65.0 %", "65.0 %"]
    assert table["--epochs"] == [table["--epochs"][0], "7"]
    assert "--seed" not in table, "only the settings that differ"
    assert "AP of cat" in table
    assert (tmp_path / "table.md").read_text().count("\n") == len(rows) + 2


def test_a_run_without_targets_has_gaps(finished_run: Path, run_without_targets: Path, tmp_path: Path) -> None:
    assert call(finished_run, run_without_targets, "--output", tmp_path) == 0
    assert "| mAP of the classifier | 65.0 % | - |" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{run}"], "give two or more"),
        (["{run}", "{tmp}"], "holds no run"),
        (["{run}", "{going}"], "has not ended"),
        (["{run}", "{run}", "--study", "table2"], "a study takes one DATA"),
        ([], "a study takes one DATA"),
    ],
)
def test_mistakes(
    make_run: MakeRun,
    finished_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    going = make_run(tmp_path / "going", until="labels")
    assert call(*(word.format(run=finished_run, tmp=tmp_path, going=going) for word in arguments)) == 2
    assert says in capsys.readouterr().err
