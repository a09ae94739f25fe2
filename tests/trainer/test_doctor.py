"""`ccd doctor`: what is wrong is found, named, and told what to do about."""

import socket
from pathlib import Path

import pytest
import trustme

from clip_labeler import Credentials
from trainer.doctor import examination, machine, software
from trainer.doctor import labeler as check
from trainer.doctor.finding import Finding


def test_both_onnxruntimes_exclude_each_other() -> None:
    """Would fail if CUDA vanished without a word, as it does where both are installed."""
    finding = software._onnxruntime("1.20.0", "1.20.0")
    assert finding.status == "fail"
    assert "uninstall" in finding.advice
    assert [software._onnxruntime(*found).status for found in (("1.2", None), (None, "1.2"), (None, None))] == [
        "ok"
    ] * 3


def test_a_package_that_is_missing_or_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert software._package("no-such-package", "no_such_package").status == "fail"
    (tmp_path / "broken_package.py").write_text("raise ImportError('undefined symbol: _ZN3c10')")
    monkeypatch.syspath_prepend(tmp_path)
    finding = software._package("pillow", "broken_package")
    assert (finding.status, "_ZN3c10" in finding.text) == ("fail", True)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Would fail if a run found out hours later, or at the download of its weights."""
    (tmp_path / "file").touch()
    finding = machine._folder("cache", tmp_path / "file" / "cache")
    assert (finding.status, "CCD_CACHE" in finding.advice) == ("fail", True)
    assert machine._folder("cache", tmp_path / "new" / "cache").status in ("ok", "warn")
    assert list((tmp_path / "new" / "cache").iterdir()) == [], "nothing is left behind"


def test_a_containers_share_of_the_processors(tmp_path: Path) -> None:
    """Would fail if two processors of a large machine passed for all of them."""
    limit = tmp_path / "cpu.max"
    limit.write_text("max 100000\n")
    everything = machine.usable_processors(limit)
    assert everything == machine.usable_processors(tmp_path / "none") >= 1
    limit.write_text("100000 100000\n")
    assert machine.usable_processors(limit) == 1


def test_a_check_that_breaks_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise RuntimeError("CUDA error: unknown error")

    monkeypatch.setattr(examination, "check_software", broken)
    monkeypatch.setattr(examination, "_check_machine", lambda: [Finding("gpu", "ok", "fast")])
    findings = list(examination.examine(None, Credentials()))
    assert [finding.status for finding in findings] == ["fail", "ok"]
    assert "CUDA error" in findings[0].text


@pytest.mark.parametrize(
    ("failed", "code"), [([], 0), (["labeler"], 4), (["labeler TLS"], 4), (["torch"], 1), (["torch", "labeler"], 1)]
)
def test_exit_codes(failed: list[str], code: int) -> None:
    findings = [Finding("python", "ok", ""), Finding("gpu", "warn", "")]
    assert examination.exit_code([*findings, *(Finding(subject, "fail", "") for subject in failed)]) == code


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CONTACT_SECONDS", 0.3)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # taken, but nobody listens
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        [finding] = check.check_labeler(address, Credentials())
    assert finding.status == "fail"
    assert address in finding.text


def test_a_labeler_that_is_well(labeler_address: str) -> None:
    """Would fail if a check said less than it saw, or called a good labeler bad."""
    findings = {finding.subject: finding for finding in check.check_labeler(labeler_address, Credentials())}
    assert list(findings) == ["labeler", "labeler TLS", "labeler model", "labeler latency", "labeler speed"]
    assert {finding.status for finding in findings.values()} <= {"ok", "warn"}
    assert "tiny-resnet" in findings["labeler model"].text
    assert "images/s at 64 px" in findings["labeler speed"].text
    assert "bound" in findings["labeler speed"].text


def test_tls_where_the_labeler_speaks_none(labeler_address: str, tmp_path: Path) -> None:
    """gRPC itself says "Socket closed" to this."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    [finding] = check.check_labeler(labeler_address, Credentials(tmp_path / "ca.pem"))
    assert (finding.subject, finding.status) == ("labeler TLS", "fail")
    assert "plain text" in finding.text


@pytest.fixture
def labeler_address(labeler, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(check, "SPEED_SECONDS", 0.2)
    return labeler.address


@pytest.mark.parametrize(
    ("shares", "place"),
    [
        ({"client": 0.0, "network": 0.1, "decode": 0.3, "queue": 0.1, "device": 0.1, "others": 0.4}, "decode"),
        ({"client": 0.0, "network": 0.1, "decode": 0.1, "queue": 0.3, "device": 0.1, "others": 0.4}, "device"),
        ({"client": 0.1, "network": 0.6, "decode": 0.1, "queue": 0.1, "device": 0.1, "others": 0.0}, "network"),
    ],
)
def test_what_bounds_the_rate(shares: dict[str, float], place: str) -> None:
    assert check.bound_by(shares) == place
