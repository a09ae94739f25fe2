"""The images, built for real by buildah without a daemon, and run as they should be: not as root, on a read-only root.

The base image is made of Debian's packages by mmdebstrap instead of coming from a registry of images. Entry point,
environment, user and health check are those of each image's own configuration.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("buildah", "mmdebstrap", "unshare", "nsenter", "setpriv")
UV_CACHE = "/var/cache/uv"  # in the builder
PORT = 50051  # the labeler image's own
# What reaches a package index from this machine, as a company's own base image would carry it.
PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "PIP_CERT", "UV_DEFAULT_INDEX", "SSL_CERT_FILE")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

# `docker run --read-only --tmpfs /tmp` with a fresh volume at each path that the image names: $1 is the root file
# system, $2 a folder that becomes /tmp/data, the rest the program.
CONTAINER = """
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
for volume in $VOLUMES; do mount -t tmpfs -o "uid=${OWNER%:*},gid=${OWNER#*:}" tmpfs "$1$volume"; done
mkdir "$1/tmp/data"
mount --bind "$2" "$1/tmp/data"
root=$1
shift 2
exec chroot --userspec="$OWNER" "$root" /usr/bin/env -i -C "$FOLDER" "$@"
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

Buildah = Callable[..., str]


@dataclass(frozen=True)
class Image:
    """A built image: its unpacked root file system and its configuration, as docker knows it."""

    root: Path
    config: dict[str, Any]

    def start(self, *arguments: str, data: Path) -> "subprocess.Popen[str]":
        """The image's program in a mount namespace of its own; its process id is the one of the program."""
        settings = {
            "PATH": os.environ["PATH"],
            "OWNER": self.config["User"],
            "FOLDER": self.config["WorkingDir"],
            "VOLUMES": " ".join(self.config["Volumes"]),
        }
        program = [*self.config["Env"], *self.config["Entrypoint"], *(arguments or self.config["Cmd"])]
        command = ["unshare", "--mount", "sh", "-eu", "-c", CONTAINER, "container", self.root, data, *program]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=settings, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def is_healthy(self, process: "subprocess.Popen[str]") -> bool:
        """Whether the image's health check says so, run beside the program."""
        kind, *check = self.config["Healthcheck"]["Test"]
        assert kind == "CMD-SHELL"
        user, group = self.config["User"].split(":")
        inside = ["nsenter", f"--target={process.pid}", "--mount", "--root"]
        as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        command = [*inside, *as_user, "/usr/bin/env", "-i", *self.config["Env"], "/bin/sh", "-c", *check]
        return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """buildah(*arguments): what it prints. Its images are in a store of this module's."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(PROGRAMS)}; missing: {', '.join(missing) or 'root'}")
    # vfs copies where overlay mounts, but works everywhere.
    driver = "overlay" if "overlay" in Path("/proc/filesystems").read_text() else "vfs"
    store = tmp_path_factory.mktemp("store")
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(tmp_path_factory.mktemp("tmp"))}

    def call(*arguments: str | Path) -> str:
        places = ["--storage-driver", driver, "--root", str(store / "root"), "--runroot", str(store / "run")]
        command = ["buildah", *places, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stdout

    yield call
    call("rm", "--all")
    call("rmi", "--all", "--force")
    if (mounted := store / "root" / driver).is_mount():  # overlay's own, which buildah leaves
        subprocess.run(["umount", mounted], check=True)
    shutil.rmtree(store)


@pytest.fixture(scope="module")
def base(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of Debian with Python, in the place of python:3.11-slim-bookworm."""
    folder = tmp_path_factory.mktemp("base")
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["mmdebstrap", "--variant=minbase", packages, "bookworm", "base.tar"], check=True, cwd=folder)
    shutil.copy(CERTIFICATES, folder)
    (folder / "hosts").write_text("127.0.0.1 localhost\n")
    settings = [f"ENV {name}={os.environ[name]}" for name in PASSED_ON if name in os.environ]
    settings.append(f"ENV UV_CACHE_DIR={UV_CACHE}")
    files = [f"COPY {CERTIFICATES.name} {CERTIFICATES}", "COPY hosts /etc/hosts"]
    (folder / "Dockerfile").write_text("\n".join(["FROM scratch", "ADD base.tar /", *files, *settings, ""]))
    buildah("build", "--tag", "localhost/base", folder)
    return "localhost/base"


@pytest.fixture
def built(buildah: Buildah, base: str) -> Callable[[str], AbstractContextManager[Image]]:
    """built(name): the image of Dockerfile.NAME and of the sources as they are, for the time of the block."""

    @contextmanager
    def build(name: str) -> Iterator[Image]:
        uv_cache = subprocess.run([sys.executable, "-m", "uv", "cache", "dir"], capture_output=True, text=True)
        shared = ["--volume", f"{uv_cache.stdout.strip()}:{UV_CACHE}"] if uv_cache.returncode == 0 else []
        buildah(
            "build", "--format", "docker", "--build-arg", f"PYTHON_IMAGE={base}", *shared,
            "--file", f"Dockerfile.{name}", "--tag", name, ".",
        )  # fmt: skip
        config = json.loads(buildah("inspect", "--type", "image", name))["Docker"]["config"]
        working = buildah("from", name).strip()
        yield Image(Path(buildah("mount", working).strip()), config)
        buildah("rm", working)
        buildah("rmi", "--force", name)

    return build


@pytest.fixture
def photos(tmp_path: Path, image_bytes: Callable[..., bytes]) -> Path:
    """A folder that the images' user may read, as pytest's own may not be."""
    folder = tmp_path / "photos"
    folder.mkdir(mode=0o755)
    for seed in range(8):
        (folder / f"{seed}.jpg").write_bytes(image_bytes(seed))
    return folder


def left_over(image: Image) -> list[str]:
    """What the builder needs and nobody else."""
    return [path for path in ("opt/uv", "src", "opt/venv/bin/pip") if (image.root / path).exists()]


def test_the_labeler_serves_and_its_health_check_knows(built: Callable[..., Any], photos: Path) -> None:
    """Would fail if it wrote elsewhere than to /tmp and its volume, ran as root, or something were missing in it; or if
    the check said healthy of a server that does not answer."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            pytest.skip(f"port {PORT} is in use")
    with built("labeler") as image:
        assert left_over(image) == []
        with image.start(data=photos) as server:
            assert server.stdout is not None
            while not (line := server.stdout.readline()).startswith("serving demo at "):
                assert line, "it ended before it served"
            assert "Uid:\t10001\t10001\t10001\t10001" in Path(f"/proc/{server.pid}/status").read_text()
            assert image.is_healthy(server)
            server.send_signal(signal.SIGSTOP)
            assert not image.is_healthy(server)
            server.send_signal(signal.SIGCONT)
            server.terminate()
            server.stdout.read()
            assert server.wait() == 0


def test_the_trainer_trains(built: Callable[..., Any], start_labeler: Callable[..., Any], photos: Path) -> None:
    """Would fail if it wrote elsewhere than to /tmp and its volumes, or something were missing in it."""
    address = start_labeler("--model", "demo").address
    flags = ["--classes", "cat, dog", "--epochs", "2", "--warmup-epochs", "1", "--batch-size", "4"]
    with built("trainer") as image:
        assert left_over(image) == []
        run = image.start("run", "/tmp/data", "--labeler", address, "--output", "/workspace/run", *flags, data=photos)
        output, _ = run.communicate()
    assert run.returncode == 0, output
    assert "train: 8 images" in output
