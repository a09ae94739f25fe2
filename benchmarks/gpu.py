"""All benchmarks for the models that labelling uses, with random weights, into benchmarks/results/.

python -m benchmarks.gpu --device cuda --seconds 20
"""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cyclopts

from benchmarks.target import Target, ready_target

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Model:
    """The view size is the paper's 640 where the model takes it, otherwise the model's own."""

    name: str
    view_size: int


MODELS = (Model("RN50x64", 640), Model("ViT-L-14-336", 336), Model("ViT-B-32", 224))


def main(
    *,
    device: str = "cuda",
    backend: str | None = None,
    seconds: float = 20.0,
    items: int = 100_000,
    minutes: float = 20.0,
) -> None:
    """Writes one file of JSON lines a model, and shows the tables meanwhile.

    Parameters
    ----------
    device, backend
        As for `clip-labeler serve`.
    seconds
        Time per measurement.
    items
        Images of labeler_memory.
    minutes
        Time of labeler_soak.
    """
    RESULTS.mkdir(exist_ok=True)
    for model in MODELS:
        wanted = Target(
            model=model.name, view_size=model.view_size, device=device, backend=backend, random_weights=True
        )
        with ready_target(wanted) as target:
            lines = [
                *_run("labeler_throughput", target, "--seconds", str(seconds)),
                *_run("labeler_latency", target, "--seconds", str(seconds)),
                *_run("labeler_soak", target, "--minutes", str(minutes)),
                *_run("labeler_memory", replace(target, view_size=64), "--items", str(items)),
            ]
        (RESULTS / f"{model.name}-{device}.jsonl").write_text("".join(lines))
    (RESULTS / "transport.jsonl").write_text("".join(_run("labeler_transport", None, "--seconds", str(seconds))))


def _run(program: str, target: Target | None, *flags: str) -> list[str]:
    """The lines of JSON that it printed, also when they say that a check failed."""
    settings = {} if target is None else {**target.settings, "view-size": target.view_size}
    target_flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-m", f"benchmarks.{program}", *target_flags, *flags]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    print(output, flush=True)
    lines = [f"{line}\n" for line in output.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"{' '.join(command[2:])} failed")
    return lines


if __name__ == "__main__":
    cyclopts.run(main)
