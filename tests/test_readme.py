"""README says what is there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_tree_is_the_one_on_disk() -> None:
    """Would fail if a folder moved, or a new one came, and README kept telling the old story."""
    block = README.split("## Where things are")[1].split("```")[1]
    told, parent = set(), ""
    for line in block.strip().splitlines():
        name = line.split()[0].rstrip("/")
        parent = parent if line.startswith("  ") else name
        told.add(f"{parent}/{name}" if line.startswith("  ") else name)
    assert all((ROOT / name).is_dir() for name in told)
    top = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    ignored = set(re.findall(r"^(\w+)/$", (ROOT / ".gitignore").read_text(), re.MULTILINE))
    assert {name.split("/")[0] for name in told} == {
        name for name in top if name not in ignored and not name.endswith(".egg-info") and name != "__pycache__"
    }
