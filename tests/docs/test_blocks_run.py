"""Blocks of commands, and of Python, that no comment excuses: they run as they stand on the page, top to bottom."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"(<!-- needs: [^>]+ -->\n+)?^```(bash|python)\n(.*?)^```$", re.M | re.S)
COMMANDS = {"ccd": "trainer", "clip-labeler": "labeler_service", "clip-labeler-client": "clip_labeler"}
PORT = 50051  # the default that pages speak of


def runnable(page: Path) -> list[tuple[str, str]]:
    """(language, code) of the blocks that need nothing."""
    return [(language, code) for needs, language, code in FENCE.findall(page.read_text("utf-8")) if not needs]


# Examples that are parts of programs, not programs: test_extending.py executes them.
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name != "extending.md" and runnable(page)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/, and the commands in .venv/bin."""
    from trainer.data.scenes import write_demo_dataset

    folder = tmp_path_factory.mktemp("desk")
    write_demo_dataset(folder / "drawn", num_train=24, num_val=1, seed=3)
    (folder / "photos").mkdir()
    for file in sorted((folder / "drawn" / "JPEGImages").iterdir())[:24]:
        shutil.copy(file, folder / "photos")
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, module in COMMANDS.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (commands / name).chmod(0o755)
    (commands / "python").symlink_to(sys.executable)
    return folder


@pytest.fixture(scope="module")
def labeler_at_the_default_port(start_labeler) -> Iterator[None]:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.skip(f"port {PORT} is in use")
    labeler = start_labeler("--model", "demo", port=PORT)
    yield
    labeler.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run(page: Path, desk: Path, labeler_at_the_default_port: None) -> None:
    """Would fail if a reader who copies a page's commands met an error."""
    path = f"{desk / '.venv' / 'bin'}:{os.environ['PATH']}"
    roots = os.pathsep.join([str(ROOT), str(ROOT / "clients")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": roots, "OMP_NUM_THREADS": "1"}
    for language, code in runnable(page):
        program = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        done = subprocess.run([*program, code], cwd=desk, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
