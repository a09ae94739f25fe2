"""The page as a whole: it needs nothing, runs nothing, and is there at any time."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from trainer.data.names import spell
from trainer.report import page
from trainer.report.page import write_report
from trainer.report.pictures import Pictures
from trainer.report.run_files import RunFiles

VOID = {"meta", "link", "img", "br", "input", "rect", "line", "polyline"}


class Page(HTMLParser):
    """Tags with attributes, visible text, and whether every element is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.feed(self.html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def finished(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_report(finished_run, tmp_path_factory.mktemp("page") / "report.html"))


def test_every_section_is_there_and_filled(finished: Page) -> None:
    assert re.findall(r"<h2 [^>]*>(\d)\. ([^<]*)</h2>", finished.html) == [
        ("1", "Verdict"), ("2", "Class bias"), ("3", "Labels"), ("4", "Where the classifier looks"), ("5", "Training"),
        ("6", "Classes one by one"), ("7", "Review queue"), ("8", "How to reproduce"),
        ("9", "Licences of the weights used"),
    ]  # fmt: skip
    assert "Nothing yet" not in finished.text
    assert "no picture" not in finished.text


def test_nothing_is_loaded_from_anywhere(finished: Page) -> None:
    """A mail program or an offline machine would show a broken page, and a server would learn who reads it."""
    without_pictures = re.sub(r"data:image/webp;base64,[\w+/=]+", "", finished.html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_pictures)
    for _, attributes in finished.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes


def test_only_our_script_and_style_may_run(finished: Page) -> None:
    """Would fail if the policy's hashes were not those of what is in the page, or it allowed more."""
    policy = next(m["content"] for m in finished.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", finished.html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not [a for _, a in finished.tags if any(name == "style" or name.startswith("on") for name in a)]


def test_hostile_names_stay_text(finished: Page, hostile_files: tuple[str, ...]) -> None:
    """A file name could otherwise run a script, or make another name look like its own."""
    assert len(finished.all("script")) == 1
    assert not finished.all("b")
    assert not [a for _, a in finished.tags if "onerror" in a or "onload" in a or "onmouseover" in a]
    for name in hostile_files:
        assert spell(name) in finished.text
    assert "\u202e" not in finished.html
    assert "b\\xff\\xfe.png" in finished.text, "bytes that are no UTF-8"
    assert "<b>tree</b>" in finished.text


def test_it_can_be_read_by_a_screen_reader(finished: Page) -> None:
    ids = [attributes["id"] for _, attributes in finished.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(attributes.get("alt") for attributes in finished.all("img"))
    for svg in finished.all("svg"):
        assert svg.get("aria-hidden") == "true" or (svg.get("role") == "img" and svg.get("aria-label")), svg
    for tag, attributes in finished.tags:
        assert attributes.get("aria-labelledby", ids[0]) in ids, tag
    assert all("scope" in attributes for attributes in finished.all("th"))
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in finished.tags}
    assert finished.all("html")[0]["lang"] == "en"


@pytest.mark.parametrize("until", ["settings", "index", "clip", "labels", "views", "training"])
def test_a_run_that_goes_on_shows_what_there_is(make_run: Callable[..., Path], tmp_path: Path, until: str) -> None:
    made = Page(write_report(make_run(tmp_path / "run", until=until)))
    assert "The run has not ended" in made.text
    assert ("CLIP's labels, debiasing, warm-up" in made.text) == (until == "training")
    assert bool(made.all("img")) == (until != "settings")


def test_the_page_has_a_limit(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many classes would make a file that no mail takes and no phone opens."""
    run = RunFiles(finished_run)
    whole = page.render(run, Pictures())
    monkeypatch.setattr(page, "MAX_BYTES", len(whole) * 2 // 3)
    smaller = page.render(run, Pictures())
    assert len(smaller.encode()) <= page.MAX_BYTES
    assert 0 < smaller.count("data:image") < whole.count("data:image")


def test_pictures_can_be_left_out(finished_run: Path, tmp_path: Path) -> None:
    made = Page(write_report(finished_run, tmp_path / "report.html", images=False))
    assert not made.all("img")
    assert "holiday 03.png" in made.text


def test_images_that_have_gone_do_not_matter(
    make_run: Callable[..., Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is looked at on another machine than it was made on."""
    folder = make_run(tmp_path / "run")
    photos.rename(photos.with_name("gone"))
    try:
        made = Page(write_report(folder))
    finally:
        photos.with_name("gone").rename(photos)
    assert not made.all("img")
    assert "no picture" in made.text


def test_the_command_writes_it_or_says_why_not(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trainer.__main__ import main

    for arguments, code, says in (
        (["report", str(finished_run), "--output", str(tmp_path / "a.html")], 0, "a.html"),
        (["report", str(tmp_path)], 2, "holds no run"),
    ):
        with pytest.raises(SystemExit) as exit_info:
            main(arguments)
        captured = capsys.readouterr()
        assert exit_info.value.code == code
        assert says in captured.out + captured.err
    assert (tmp_path / "a.html").is_file()


def test_a_run_whose_report_fails_is_still_whole(
    make_run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours of training would seem lost for a page."""
    from trainer.commands.application import write_report_of

    folder = make_run(tmp_path / "run", until="index")
    (folder / "report.html").mkdir()
    assert not write_report_of(folder, Console(quiet=True))
    error = capsys.readouterr().err
    assert "the run is finished, but its report could not be written" in error
    assert "Traceback" not in error
