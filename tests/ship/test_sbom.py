"""The software bill of materials, as docs/operations.md has it made."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tools.extras import SHIPPED
from tools.licences import closure

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_bill_of_materials_names_everything_that_is_shipped(tmp_path: Path) -> None:
    """Would fail if a package, its version or its licence were missing in it, or it were no valid CycloneDX."""
    file = tmp_path / "sbom.cdx.json"
    command = [
        sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", "pyproject.toml", "--output-reproducible",
        "--validate", "--output-file", str(file), sys.executable,
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=ROOT)
    bill = json.loads(file.read_text())
    assert bill["metadata"]["component"]["name"] == "ccd"
    listed = {(canonicalize_name(part["name"]), part["version"]) for part in bill["components"]}
    assert {(canonicalize_name(dist.name), dist.version) for dist in closure(SHIPPED)} <= listed
    [torch] = [part for part in bill["components"] if part["name"] == "torch"]
    assert torch["licenses"]
    assert torch["purl"] == f"pkg:pypi/torch@{torch['version']}"
