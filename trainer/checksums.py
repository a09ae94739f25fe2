"""checksums.txt of an exported model: what was written, as `sha256sum --check` reads it."""

import hashlib
from pathlib import Path

from trainer.files import write_atomically

CHECKSUMS = "checksums.txt"
HASH_CHUNK = 1 << 20  # bytes


def write_checksums(folder: Path) -> None:
    """checksums.txt of all files, as `sha256sum --check` reads it."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and _counts(path))
    write_atomically(folder / CHECKSUMS, "".join(f"{sha256(path)}  {path.name}\n" for path in files).encode())


def _counts(path: Path) -> bool:
    return path.name != CHECKSUMS and not path.name.startswith(".")


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check_weights(folder: Path) -> None:
    """Raises ValueError where the weights are not those that were written. Without checksums.txt, as when somebody
    took weights and config.json alone, there is nothing to compare."""
    path, weights = folder / CHECKSUMS, folder / "model.safetensors"
    lines = path.read_text().splitlines() if path.exists() else []
    digest = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}.get(weights.name)
    if digest is not None and sha256(weights) != digest:
        raise ValueError(f"{weights}: damaged, its checksum in {CHECKSUMS} does not match")
