"""The pages as a site, and the page that is generated."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_protocol_s_page_is_the_contract_s(tmp_path: Path) -> None:
    """Would fail if the .proto were changed without `python -m tools.proto_docs`."""
    subprocess.run([sys.executable, "-m", "tools.proto_docs", str(tmp_path)], check=True, cwd=ROOT)
    assert (tmp_path / "protocol.md").read_text("utf-8") == (ROOT / "docs/protocol.md").read_text("utf-8")


def test_the_protocol_s_page_says_everything() -> None:
    """Would fail if a call, message, field or value were left out of the page."""
    from clip_labeler.v1 import labeler_pb2

    page = (ROOT / "docs/protocol.md").read_text("utf-8")
    contract = labeler_pb2.DESCRIPTOR
    for service in contract.services_by_name.values():
        assert all(f"### {method.name}\n" in page for method in service.methods)
    for message in contract.message_types_by_name.values():
        section = page.split(f"### {message.name}\n")[1]
        assert all(f"`{field.name}`" in section for field in message.fields), message.name
        for enum in message.enum_types:
            assert all(f"`{value.name}`" in page.split(f"### {message.name}.{enum.name}\n")[1] for value in enum.values)


def test_every_page_is_in_the_navigation() -> None:
    """Would fail if a page were written that nobody finds, or named that is not there."""
    [*entries] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = {page for entry in entries for page in entry.values()}
    there = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert named == there


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Would fail for a link that leads nowhere; and if a page that is read asked another host for fonts or scripts."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not re.findall(r"^WARNING.*", done.stderr, re.M)
    for page in tmp_path.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"', text)
        loaded += re.findall(r'<link rel="(?:stylesheet|icon|preload)"[^>]+href="([^"]+)"', text)
        assert not [address for address in loaded if address.startswith(("http:", "https:", "//"))], page
