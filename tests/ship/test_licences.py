"""What the project brings to a user's machine has a licence that the user can live with."""

from collections.abc import Callable
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from tools import licences

OSI = "Classifier: License :: OSI Approved"

MakeDist = Callable[..., Distribution]


@pytest.fixture
def make_dist(tmp_path: Path) -> MakeDist:
    """make_dist(name, *lines): an installed distribution with these lines of metadata."""

    def make(name: str, *lines: str) -> Distribution:
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines, ""])
        )
        return PathDistribution(info)

    return make


def test_nothing_that_is_shipped_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Would fail if an extra brought a package under AGPL, or one whose licence nobody has looked at."""
    assert licences.main([]) == 0, capsys.readouterr().out
    names = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert {"torch", "open-clip-torch", "timm", "grpcio", "onnxruntime-gpu"} <= names


@pytest.mark.parametrize(
    ("lines", "licence"),
    [
        (["License-Expression: AGPL-3.0-only"], "AGPL-3.0-only"),
        (["License-Expression: MIT AND GPL-3.0-or-later"], "MIT AND GPL-3.0-or-later"),
        (["License-Expression: CC-BY-NC-4.0"], "CC-BY-NC-4.0"),
        (["License-Expression: LicenseRef-NVIDIA-Proprietary"], "LicenseRef-NVIDIA-Proprietary"),
        ([f"{OSI} :: GNU Affero General Public License v3"], "GNU Affero General Public License v3"),
        (["Classifier: License :: Free for non-commercial use"], "Free for non-commercial use"),
        ([f"{OSI} :: MIT License", "Classifier: License :: Free For Home Use"], "MIT AND Free For Home Use"),
        (["License: Creative Commons Attribution-NonCommercial 4.0"], "Creative Commons Attribution-NonCommercial 4.0"),
        ([], "unknown"),
        ([OSI], "unknown"),
    ],
)  # fmt: skip
def test_planted_licences_are_refused(make_dist: MakeDist, lines: list[str], licence: str) -> None:
    """One of each way in which metadata say it; the licence that was reviewed for others is no free pass."""
    assert licences.judge(make_dist("planted", *lines)) == licences.Finding("planted", "1.0", licence, None)


@pytest.mark.parametrize(
    "lines",
    [
        ["License-Expression: Apache-2.0"],
        ["License-Expression: GPL-2.0-only OR BSD-2-Clause"],
        ["License-Expression: Apache-2.0 WITH LLVM-exception AND (MIT OR AGPL-3.0-only)"],
        [f"{OSI} :: Apache Software License"],
        ["License: MIT License", "        Copyright (c) somebody"],
        ["License: MPL-2.0 AND MIT"],
    ],
)
def test_planted_licences_are_allowed(make_dist: MakeDist, lines: list[str]) -> None:
    assert licences.judge(make_dist("planted", *lines)).verdict == "allowed"


def test_a_review_ends_with_the_licence_that_was_reviewed(make_dist: MakeDist) -> None:
    """Would fail if a package that changed its licence stayed allowed by its name."""
    reviewed = licences.judge(make_dist("nvidia-cublas", "License-Expression: LicenseRef-NVIDIA-Proprietary"))
    assert reviewed.verdict not in (None, "allowed")
    assert licences.judge(make_dist("nvidia-new", "License-Expression: CC-BY-NC-4.0")).verdict is None


def test_what_cannot_be_judged_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if a package that is not installed, or an extra that does not exist, passed as allowed."""
    monkeypatch.setattr(licences, "REQUIREMENTS", {"": ["no-such-package>=1"], "labeler": []})
    assert licences.main([""]) == 2
    assert "no-such-package is not installed" in capsys.readouterr().err
    assert licences.main(["labler"]) == 2
    assert "no extra labler; known: labeler" in capsys.readouterr().err
