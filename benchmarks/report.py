"""Prints what a program measured: a table for people and a line of JSON with the machine that it was measured on."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.target import Target


def report(
    name: str,
    target: Target,
    columns: Sequence[str],
    rows: Mapping[str, Sequence[Any]],
    figures: Mapping[str, Any],
) -> None:
    """Of a labeler. Rows by their title, each with a cell for each column."""
    title = f"{name}: {target.model} at {target.view_size} px"
    show(name, title, columns, rows, {"target": asdict(target), **figures})


def show(
    name: str, title: str, columns: Sequence[str], rows: Mapping[str, Sequence[Any]], figures: Mapping[str, Any]
) -> None:
    """Rows by their title, each with a cell for each column."""
    table = Table("", *columns, title=f"{title} on {machine()}")
    for row, cells in rows.items():
        table.add_row(row, *map(_text, cells))
    Console(width=120).print(table)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    print(json.dumps({"benchmark": name, "date": now, "machine": machine(), **figures}))


def _text(cell: str | float | None) -> str:
    return "-" if cell is None else cell if isinstance(cell, str) else f"{cell:.4g}"


def machine() -> str:
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{gpu}{os.cpu_count()} CPUs ({platform.machine()})"
