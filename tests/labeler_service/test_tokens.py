"""The token file: its lines, its mistakes, and what happens when it changes."""

import logging
from pathlib import Path

import pytest

from labeler_service.tokens import TokenFile

ALICE, BOB = "token-of-alice-0001", "token-of-bob-000001"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# who  token  images per minute\n\nalice {ALICE}\n  bob\t{BOB} 600\nbob {BOB}-new 600\n")
    return path


def test_find(path: Path) -> None:
    tokens = TokenFile(path)
    alice, bob, bob_too = (tokens.find(token) for token in (ALICE, BOB, f"{BOB}-new"))
    assert alice is not None
    assert bob is not None
    assert bob_too is not None
    assert (alice.name, alice.quota.per_minute) == ("alice", None)
    assert (bob.name, bob.quota.per_minute) == ("bob", 600)
    assert bob_too.quota is bob.quota, "two tokens would double the quota"


@pytest.mark.parametrize("token", ["", "alice", ALICE[:-1], f"{ALICE}x", ALICE.upper(), f"alice {ALICE}", "é" * 20])
def test_others_are_not_found(path: Path, token: str) -> None:
    assert TokenFile(path).find(token) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no token"),
        ("# nobody\n", "holds no token"),
        (f"a {ALICE}\nalone\n", "line 2: a line is NAME TOKEN [IMAGES_PER_MINUTE], this one has 1 fields"),
        (f"a {ALICE} 5 6\n", "line 1: a line is NAME TOKEN [IMAGES_PER_MINUTE], this one has 4 fields"),
        ("a short-secret\n", "line 1: a token has at least 16 characters"),
        ("a sécrète-et-longue-assez\n", "all of them ASCII"),
        (f"{ALICE}/ alice\n", "line 1: a name is up to 64"),
        (f"a {ALICE} 0\n", "line 1: IMAGES_PER_MINUTE is a positive whole number"),
        (f"a {ALICE} {BOB}\n", "line 1: IMAGES_PER_MINUTE is a positive whole number"),
        (f"a {ALICE}\nb {ALICE}\n", "line 2: the token stands in a line above"),
        (f"a {ALICE} 5\na {BOB} 6\n", "line 2: a has another quota in a line above"),
        (b"a \xff", "is not a text file"),
    ],
)
def test_mistakes(path: Path, content: str | bytes, message: str) -> None:
    """Each is told by its line, and never with a secret."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="--token-file") as caught:
        TokenFile(path)
    assert message in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (ALICE, BOB, "short-secret", "sécrète"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        TokenFile(tmp_path / "tokens")


def test_change_is_seen_and_keeps_what_was_used(path: Path) -> None:
    """Each change of the file would give everybody a new quota."""
    tokens = TokenFile(path)
    before = tokens.find(BOB)
    path.write_text(f"bob {BOB} 600\ncarol token-of-carol-0001\n")
    after = tokens.find(BOB)
    assert tokens.find(ALICE) is None
    assert tokens.find("token-of-carol-0001")
    assert before is not None
    assert after is not None
    assert before.quota is after.quota
    path.write_text(f"bob {BOB} 300\n")
    changed = tokens.find(BOB)
    assert changed is not None
    assert changed.quota.per_minute == 300


def test_broken_change_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A slip of the editor would lock everybody out."""
    tokens = TokenFile(path)
    path.write_text(f"alice {ALICE} many\n")
    with caplog.at_level(logging.INFO):
        assert tokens.find(ALICE)
        assert tokens.find(BOB)
        path.unlink()
        assert tokens.find(ALICE)
    assert len(caplog.records) == 2
    assert "stays in use" in caplog.text
    assert ALICE not in caplog.text
