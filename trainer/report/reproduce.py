"""Section 8: the command, the settings, the versions and the hashes that lead to this run again, and what it cost."""

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from trainer.report.run_files import RunFiles

TITLE = "How to reproduce"


@dataclass(frozen=True)
class Reproduction:
    """Pairs of a name and a value, as text."""

    command: str
    settings: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    hashes: tuple[tuple[str, str], ...]
    timings: tuple[tuple[str, str], ...]


def build(run: RunFiles) -> Reproduction:
    return Reproduction(
        command(run),
        tuple((name, str(value)) for name, value in run.settings.items() if name != "classes"),
        tuple(sorted(run.environment.items())),
        tuple(_hashes(run)),
        tuple(_timings(run)),
    )


def command(run: RunFiles) -> str:
    """`ccd run` with the settings that were given, but for those that say where things run, not what."""
    words = ["ccd", "run", str(run.given.get("data", run.settings["data"]))]
    identity = run.settings.keys() - {"data"}  # what makes two runs the same run; places are not among it
    flags = {f"--{name.replace('_', '-')}": value for name, value in run.given.items() if name in identity}
    for flag, value in flags.items():
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    return shlex.join([*words, "--output", str(run.root)])


def _hashes(run: RunFiles) -> Iterator[tuple[str, str]]:
    """sha256 of CLIP's weights, of all images in their order, of the settings and of the trained classifier."""
    if "labeler" in run.state:
        yield f"weights of {run.state['labeler']['model']}", run.state["labeler"]["weights_sha256"]
    if run.images:
        digest = hashlib.sha256()
        for row in run.images:
            digest.update(row.sha256 or b"")
        yield f"the {len(run.images):,} training images", digest.hexdigest()
    for name in ("config.resolved.yaml", "labels/final.npy", "model/model.safetensors"):
        path = run.root / name
        if path.exists():
            with path.open("rb") as file:
                yield name, hashlib.file_digest(file, "sha256").hexdigest()


def _timings(run: RunFiles) -> Iterator[tuple[str, str]]:
    for stage, seconds in run.seconds.items():
        yield stage.replace("_", " "), f"{seconds:,.1f} s"
    if run.summary is None:
        return
    yield "all stages", f"{run.total_seconds:,.1f} s"
    yield "passes through CLIP", f"{run.summary['clip_forward_passes']:,}"
    scoring = sum(run.seconds.get(stage, 0.0) for stage in ("clip_labels", "label_update"))
    if scoring and run.summary["clip_forward_passes"]:
        yield "passes through CLIP per second", f"{run.summary['clip_forward_passes'] / scoring:,.0f}"
