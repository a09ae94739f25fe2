"""`ccd export --hub` with huggingface_hub itself, against a hub that runs here and keeps what it gets."""

import base64
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

Ccd = Callable[..., tuple[int, str]]


class Hub(ThreadingHTTPServer):
    """What uploading needs of https://huggingface.co: repositories, and commits of small files."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.refuses = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.refuses:
            self._answer(403, {"error": "you have no right to write there"})
        elif self.path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.server.repositories[name] = wanted.get("private") or wanted.get("visibility") == "private"
            self._answer(200, {"url": f"{self.server.address}/{name}", "id": "1", "name": name})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        else:
            assert "/commit/" in self.path, self.path
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    self.server.files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            url = f"{self.server.address}/{'/'.join(self.path.split('/')[3:5])}/commit/{'0' * 40}"
            self._answer(200, {"success": True, "commitOid": "0" * 40, "commitUrl": url, "hookOutput": ""})

    def do_GET(self) -> None:
        self._answer(404, {"error": "there is nothing yet"})

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    constants = pytest.importorskip("huggingface_hub.constants")
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)  # HF_ENDPOINT was read at import
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hub_has_the_folder(hub: Hub, ccd: Ccd, model_folder: Path, tmp_path: Path) -> None:
    """Would fail if a file were missing, a half-written one went along, or checksums were those of an older folder."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / ".model.onnx.partial").write_bytes(b"half")
    (folder / "README.md").write_text("---\nlibrary_name: timm\n---\n# card\n")
    code, text = ccd("export", folder, "--hub", "team/classifier", "--private")
    assert code == 0, text
    assert hub.repositories == {"team/classifier": True}
    assert hub.tokens == {"Bearer hf_test"}
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}
    assert b"README.md" in hub.files["checksums.txt"]
    assert f"{hub.address}/team/classifier" in text


def test_a_refusal_is_one_line(hub: Hub, ccd: Ccd, model_folder: Path, tmp_path: Path) -> None:
    hub.refuses = True
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    code, text = ccd("export", folder, "--hub", "team/classifier")
    assert (code, "team/classifier could not be uploaded" in text, "Traceback" in text) == (2, True, False), text
    assert text.count("\n") == 1


def test_mistakes_are_found_before_anything_is_sent(
    hub: Hub, ccd: Ccd, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would fail if a wrong name made a repository somewhere else, or damaged weights were published."""
    damaged = tmp_path / "model"
    shutil.copytree(model_folder, damaged)
    with (damaged / "model.safetensors").open("ab") as file:
        file.write(b"x")
    for (folder, name), says in (
        ((tmp_path, "team/classifier"), "holds no exported classifier"),
        ((model_folder, "classifier"), "ORG/NAME"),
        ((damaged, "team/classifier"), "damaged"),
    ):
        code, text = ccd("export", folder, "--hub", name)
        assert (code, says in text) == (2, True), text
    code, text = ccd("export", model_folder, "--private")
    assert (code, "belongs to --hub" in text) == (2, True), text
    code, text = ccd("export", model_folder, "--hub", "team/classifier", "--thresholds", "prior")
    assert (code, "belongs to --format" in text) == (2, True), text
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    code, text = ccd("export", model_folder, "--hub", "team/classifier")
    assert (code, "HF_TOKEN" in text) == (2, True), text
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, text = ccd("export", model_folder, "--hub", "team/classifier")
    assert (code, "pip install 'ccd[hub]'" in text) == (2, True), text
    assert hub.repositories == {}
