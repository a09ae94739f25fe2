"""The folder of a run: where its files are, which stages are finished, and which settings it was started with."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from trainer.events import emit
from trainer.files import read_json, write_atomically, write_json

log = logging.getLogger("trainer")


class RunFolder:
    """One run's folder. The same settings resume it, other settings are refused; one process works in it at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(root / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"another process is working in {root}; wait for it, or choose another --output") from None
        self._log_file = logging.FileHandler(root / "run.log")
        self._log_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(self._log_file)
        log.setLevel(logging.INFO)

    def close(self) -> None:
        log.removeHandler(self._log_file)
        self._log_file.close()
        self._lock.release()

    def path(self, name: str) -> Path:
        """Path of a file of the run; its folder exists."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def bind(self, settings: dict[str, Any]) -> None:
        """Ties the folder to settings. Raises ValueError, naming the differences, when it holds another run."""
        path = self.path("config.resolved.yaml")
        if path.exists():
            before = yaml.safe_load(path.read_text())
            names = sorted(name for name in before.keys() | settings.keys() if before.get(name) != settings.get(name))
            if names:
                changes = "; ".join(f"{name}: {before.get(name)} -> {settings.get(name)}" for name in names[:3])
                raise ValueError(
                    f"{self.root} holds a run with other settings ({changes}); choose another --output, or delete it"
                )
            return
        write_atomically(path, yaml.safe_dump(settings, sort_keys=False).encode())

    # --- stages --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, Any]:
        """Facts that later stages need, by stage name."""
        path = self.root / "state.json"
        return read_json(path) if path.exists() else {}

    def done(self, stage: str) -> bool:
        return "seconds" in self.state.get(stage, {})

    def note(self, stage: str, **facts: Any) -> None:
        """Adds facts to a stage without finishing it."""
        state = self.state
        state[stage] = state.get(stage, {}) | facts
        write_json(self.root / "state.json", state)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a stage and marks it finished at the end of the block; a stage that is interrupted starts again.

        What a stage does must therefore lead to the same files however often it starts.
        """
        log.info("%s begins", name)
        emit("stage", name=name, state="begins")
        start = time.monotonic()
        spent = self.state.get(name, {}).get("interrupted_seconds", 0.0)
        try:
            yield
        except BaseException:
            log.info("%s was interrupted", name)
            seconds = round(spent + time.monotonic() - start, 3)
            self.note(name, interrupted_seconds=seconds)
            emit("stage", name=name, state="interrupted", seconds=seconds)
            raise
        seconds = round(spent + time.monotonic() - start, 3)
        self.note(name, seconds=seconds)
        log.info("%s is finished", name)
        emit("stage", name=name, state="finished", seconds=seconds)

    def seconds(self) -> dict[str, float]:
        """Seconds by finished stage."""
        return {name: facts["seconds"] for name, facts in self.state.items() if "seconds" in facts}
