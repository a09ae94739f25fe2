"""The wheel, built from the sdist as an index would: each extra alone in a clean environment, and at work there."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tools import extras

ROOT = Path(__file__).resolve().parents[2]
IMPORT_EVERYTHING = Path(__file__).with_name("import_everything.py")

# What an environment must not have been given by the way.
STRANGERS = {
    "": {"torch", "PIL", "timm", "pyarrow", "rich", "cyclopts"},
    "labeler": {"pyarrow", "sklearn", "matplotlib"},
    "trainer": {"open_clip", "prometheus_client", "grpc_health"},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Uv = Callable[..., None]
Environment = Callable[[str], Path]


@pytest.fixture(scope="module")
def uv() -> Uv:
    """uv(*arguments): as the Makefile calls it, with hard links from its cache."""
    if subprocess.run([sys.executable, "-m", "uv", "--version"], capture_output=True).returncode:
        pytest.skip("uv is not installed in this environment: pip install uv")

    def call(*arguments: str | Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment["UV_LINK_MODE"] = "hardlink"
        done = subprocess.run(
            [sys.executable, "-m", "uv", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr

    return call


@pytest.fixture(scope="module")
def built(uv: Uv, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--build-constraints", "constraints.txt", "--out-dir", folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [file] = built.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(uv: Uv, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """environment(extra): folder of commands of a clean virtual environment with the wheel and that extra alone."""
    made: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("environments")

    def make(extra: str) -> Path:
        if extra not in made:
            place = folder / (extra or "base")
            uv("venv", "--python", sys.executable, place)
            uv("pip", "install", "--python", place, "--constraints", "constraints.txt",
               f"ccd[{extra}] @ {wheel.as_uri()}" if extra else wheel)  # fmt: skip
            made[extra] = place / "bin"
        return made[extra]

    yield make
    subprocess.run(["rm", "-rf", folder], check=True)  # tens of thousands of links


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Elsewhere than in the project's folder and without this environment's paths: nothing is found by luck."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, env=environment, cwd=program.parent, timeout=280
    )


def test_both_archives_hold_what_they_must(built: Path, wheel: Path) -> None:
    """Would fail if the bundled weights, the typing marks or the licence were left behind, or tests were shipped."""
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "labeler_service/demo_model/model.safetensors", "labeler_service/demo_model/config.json",
        "trainer/demo_backbone/model.safetensors", "trainer/demo_backbone/config.json",
        "labeler_service/py.typed", "trainer/py.typed", "clip_labeler/py.typed",
        "clip_labeler/v1/labeler_pb2.py", "clip_labeler/v1/labeler_pb2.pyi",
    ):  # fmt: skip
        assert name in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "clip_labeler", "labeler_service", "trainer", "ccd",
    }  # fmt: skip
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "trainer/demo_backbone/model.safetensors"} <= files


@pytest.mark.parametrize("extra", extras.SHIPPED)
def test_an_extra_alone_imports_everything_that_it_ships(environment: Environment, extra: str) -> None:
    """Would fail if a module needed a package that its extra does not declare. What another extra of the same side
    declares is imported only where it is asked for, and may be missing."""
    sides = {"labeler": "labeler_service", "trainer": "trainer"}
    packages = [package for side, package in sides.items() if side in extras.builds_on(extra)]
    done = run(environment(extra) / "python", IMPORT_EVERYTHING, "clip_labeler", *packages)
    assert done.returncode == 0, done.stderr
    elsewhere = set().union(*map(extras.declared, extras.SHIPPED)) - extras.declared(extra) if packages else set()
    owners = packages_distributions()
    for module, missing in json.loads(done.stdout).items():
        names = {canonicalize_name(name) for name in owners.get(missing.partition(".")[0], [])}
        assert names & elsewhere, f"{module} needs {missing}, which no extra declares"


@pytest.mark.parametrize("extra", STRANGERS)
def test_an_extra_brings_nothing_of_the_others(environment: Environment, extra: str) -> None:
    """Would fail if the client grew heavy, or one side pulled in the other's libraries."""
    find = "import sys, importlib.util as u; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    assert run(environment(extra) / "python", "-c", find, *sorted(STRANGERS[extra])).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("extra", "command"), [("", "clip-labeler-client"), ("labeler", "clip-labeler"), ("trainer", "ccd")]
)
def test_commands_start(environment: Environment, extra: str, command: str) -> None:
    done = run(environment(extra) / command, "--help")
    assert done.returncode == 0, done.stderr
    assert command in done.stdout


def test_the_three_work_together(environment: Environment, image_bytes: Callable[..., bytes], tmp_path: Path) -> None:
    """Client, labeler and trainer, each from an environment with its own extra alone: a run from images to a model."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(8):
        (photos / f"{seed}.jpg").write_bytes(image_bytes(seed))
    flags = ["serve", "--port", "0", "--stop-with-stdin"]
    pipe = subprocess.PIPE
    labeler = environment("labeler") / "clip-labeler"
    with subprocess.Popen([labeler, *flags], stdin=pipe, stdout=pipe, text=True, cwd=tmp_path) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        address = server.stdout.readline().split()[-1]
        client, trainer = environment("") / "clip-labeler-client", environment("trainer") / "ccd"
        scored = run(client, "score", photos, "--classes", "cat, dog", "--labeler", address)
        trained = run(
            trainer, "run", photos, "--classes", "cat, dog", "--labeler", address, "--output", tmp_path / "run",
            "--epochs", "2", "--warmup-epochs", "1", "--batch-size", "4",
        )  # fmt: skip
        server.stdin.close()
    assert scored.returncode == 0, scored.stderr
    assert len(scored.stdout.splitlines()) == 9
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run/model/model.safetensors").is_file()
