"""Each package of this project imports only what the extras that ship it declare."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from tools import extras

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "clip_labeler": ROOT / "clients/clip_labeler",
    "labeler_service": ROOT / "labeler_service",
    "trainer": ROOT / "trainer",
}
NEEDS = {"labeler_service": "labeler", "trainer": "trainer"}


# --logger asks for them by name and says how to install them; no extra does, as trackio wants an older Pillow.
UNDECLARED = {"trackio", "wandb"}


def declared_for(package: str) -> set[str]:
    """By the base for the client, else by any extra that builds on the one which the package needs."""
    if package not in NEEDS:
        return extras.declared("")
    return set().union(*(extras.declared(name) for name in extras.SHIPPED if NEEDS[package] in extras.builds_on(name)))


def modules_of(distributions: set[str]) -> set[str]:
    """Dotted names of all modules and packages that these bring; a namespace, as `google` is, belongs to nobody.

    One that is not installed here is believed to bring a package of its own name.
    """
    modules: set[str] = set()
    for name in distributions:
        try:
            files = distribution(name).files or ()
        except PackageNotFoundError:
            modules.add(name.replace("-", "_"))
            continue
        for file in files:
            if file.suffix in {".py", ".so"}:
                parts = [*file.parts[:-1], file.name.partition(".")[0]]
                modules.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return modules


def imports(folder: Path) -> Iterator[tuple[Path, str]]:
    """Dotted name of everything that a folder's files import from others, wherever in the file it stands."""
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                if name.partition(".")[0] not in {*SOURCES} | sys.stdlib_module_names:
                    yield file, name


@pytest.mark.parametrize("package", SOURCES)
def test_imports_are_declared(package: str) -> None:
    """Would fail if a package were used that comes only by the way, or with another extra of this environment."""
    known = modules_of(declared_for(package))
    undeclared = {
        f"{file.relative_to(ROOT)}: {name}"
        for file, name in imports(SOURCES[package])
        if name not in known | UNDECLARED and name.rpartition(".")[0] not in known
    }
    assert not undeclared


def test_the_check_sees_what_is_undeclared() -> None:
    """Would fail if the check let everything through: each package against the extra of another."""
    known = modules_of(declared_for("clip_labeler"))
    assert {"grpc", "google.rpc.status_pb2"} <= known
    for package, example in (("labeler_service", "torch"), ("trainer", "timm")):
        used = {name.partition(".")[0] for _, name in imports(SOURCES[package])}
        assert example in used - known
    assert not {"timm", "pyarrow"} & {name.partition(".")[0] for _, name in imports(SOURCES["labeler_service"])}
    assert "open_clip" not in {name.partition(".")[0] for _, name in imports(SOURCES["trainer"])}
