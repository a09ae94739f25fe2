"""Indexes a folder as a run does, and prints the number of files, of usable ones, the seconds, those of its processors'
time, and the bytes that came from the disk and not from the system's cache, as JSON."""

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
    # of this process and of those that it started and that have ended
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    disk_bytes = 512 * sum(usage.ru_inblock for usage in usages)  # blocks of 512 bytes: getrusage(2)
    print(json.dumps([len(images), usable, seconds, cpu_seconds, disk_bytes]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
