"""The contract and its stubs, and the layout that imports depend on."""

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "clients" / "clip_labeler" / "v1"


def test_committed_stubs_are_the_contract_s(tmp_path: Path) -> None:
    """Would fail if the .proto were changed without `make proto`."""
    subprocess.run([sys.executable, str(ROOT / "tools" / "generate_stubs.py"), str(tmp_path)], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "clip_labeler" / "v1").iterdir()}
    committed = {path.name: path.read_text() for path in STUBS.iterdir() if path.suffix in {".py", ".pyi"}}
    assert made == committed


def test_every_call_message_and_field_is_explained() -> None:
    """Would fail if something were added to the contract without saying what it means."""
    from clip_labeler.v1 import labeler_pb2

    service = labeler_pb2.DESCRIPTOR.services_by_name["LabelerService"]
    assert [method.name for method in service.methods] == [
        "GetServerInfo", "CreateVocabulary", "ScoreImages", "ScoreImageStream",
        "ScoreCrops", "EstimateBias", "ApplyBias", "EmbedImages",
    ]  # fmt: skip
    lines = (ROOT / "proto" / "clip_labeler" / "v1" / "labeler.proto").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if line.strip().startswith("rpc "):
            assert before.strip().startswith("//"), line
    text = "\n".join(lines)
    for method in service.methods:
        assert "Status codes:" in text.split(f"rpc {method.name}(")[0].rsplit("\n\n", 1)[-1], method.name


def test_proto_folder_holds_no_python() -> None:
    """Would fail if proto/ became a package and hid the proto-plus package of the same name."""
    assert not list((ROOT / "proto").rglob("*.py"))
    assert importlib.util.find_spec("tests") is None or not (ROOT / "tests" / "__init__.py").exists()
