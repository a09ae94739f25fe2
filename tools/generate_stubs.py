"""Generates the typed Python stubs of the contract into a source root (default: clients/).

`make proto` runs it; a test runs it into a temporary folder and compares.
"""

import subprocess
import sys
from pathlib import Path

import grpc_tools

ROOT = Path(__file__).resolve().parent.parent
PROTO = "clip_labeler/v1/labeler.proto"
HEADER = '"""Generated from proto/clip_labeler/v1/labeler.proto by tools/generate_stubs.py. Do not edit."""\n'


def generate(output: Path) -> None:
    """Writes `clip_labeler/v1/` below `output`: messages, services and their type stubs.

    The proto path equals the import path, so the generated absolute imports work as they are.
    """
    import google.rpc

    common_protos = Path(next(iter(google.rpc.__path__))).parents[1]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    binaries = Path(sys.executable).parent
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc",
            f"-I{ROOT / 'proto'}", f"-I{common_protos}", f"-I{well_known}",
            f"--plugin=protoc-gen-mypy={binaries / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={binaries / 'protoc-gen-mypy_grpc'}",
            f"--python_out={output}", f"--grpc_python_out={output}",
            f"--mypy_out=quiet:{output}", f"--mypy_grpc_out=quiet:{output}",
            PROTO,
        ],
        check=True,
    )  # fmt: skip
    (output / "clip_labeler" / "v1" / "__init__.py").write_text(HEADER)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "clients")
