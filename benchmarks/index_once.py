"""Indexes a folder as a run does, and prints the number of files, of usable ones, the seconds, and those of its
processors' time, as JSON."""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from trainer.data.folder import read_folder
from trainer.data.index import Index, write_index


def main(tree: Path, workers: int) -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        images = read_folder(tree, ("cat",)).train
        path = Path(folder) / "index.parquet"
        write_index(path, images, workers=workers, progress=lambda _: None)
        index = Index.read(path)
        usable = int(index.ok.sum())
        assert len(index.hashes) == usable
        seconds = time.perf_counter() - start
    print(json.dumps([len(images), usable, seconds, cpu_seconds()]))


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
