"""A client that was used in the parent works in its children, as in the workers of a torch DataLoader."""

import subprocess
import sys
from pathlib import Path
from typing import Any

# In a process of its own: this one has threads of other tests, with which nobody may fork.
SCRIPT = """
import os, pickle, signal, sys
from pathlib import Path
from clip_labeler import Image, LabelerClient, Preprocessing

def score():
    results = client.score_images(vocabulary, images, preprocessing=Preprocessing("model"))
    return {result.id: result.scores.tobytes() for result in results}

images = [Image(path, Path(path).read_bytes()) for path in sys.argv[2:]]
client = LabelerClient(sys.argv[1])
vocabulary = client.create_vocabulary(["cat", "dog"])
expected = score()
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a hang is the very bug: end it
        os._exit(0 if score() == expected else 1)
    children.append(child)
statuses = [os.waitpid(child, 0)[1] for child in children]
assert statuses == [0, 0, 0], statuses
assert score() == expected
client = pickle.loads(pickle.dumps(client))
assert score() == expected
"""


def test_children_and_parent_score_the_same(labeler: Any, image_bytes: Any, tmp_path: Path) -> None:
    """gRPC's channels survive neither fork nor pickle: a data loader's workers would hang, or not start."""
    paths = [tmp_path / f"{seed}.jpg" for seed in range(20)]
    for seed, path in enumerate(paths):
        path.write_bytes(image_bytes(seed))
    command = [sys.executable, "-c", SCRIPT, labeler.address, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
