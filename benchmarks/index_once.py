"""Indexes a folder as a run does, and prints the number of files, of usable ones, and the seconds, as JSON."""

import json
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
    print(json.dumps([len(images), usable, seconds]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
