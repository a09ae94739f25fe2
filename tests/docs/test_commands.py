"""Every command in README, docs and the files to deploy is one that the programs of today take.

A block of commands is either run here (`test_blocks_run`), in a folder with photos/ and a labeler at localhost:50051,
or stands below a comment <!-- needs: ... --> that says what it wants instead. All of them are parsed.
"""

import importlib
import itertools
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cyclopts
import pytest

from clip_labeler.__main__ import _parser as client_parser
from labeler_service.__main__ import app as labeler
from trainer.__main__ import app as trainer

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Their headers hold commands, indented by three blanks.
HEADERS = [*sorted(ROOT.glob("Dockerfile.*")), *sorted((ROOT / "deploy").glob("*.yaml"))]
IMAGES = {"clip-labeler": "Dockerfile.labeler", "ccd": "Dockerfile.trainer"}
SERVICES = {"labeler": "clip-labeler", "trainer": "ccd"}
OPERATORS = {"|", "||", "&&", ";", "&"}


@dataclass(frozen=True)
class Block:
    """Commands of one page; `line` is where they begin, `needs` what the comment above says."""

    page: Path
    line: int
    text: str
    needs: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str = "bash") -> Iterator[Block]:
    """The fenced blocks of a page in Markdown."""
    text = page.read_text("utf-8")
    for match in re.finditer(rf"(?:<!-- needs: ([^>]+?) -->\n+)?^```{language}\n(.*?)^```$", text, re.M | re.S):
        yield Block(page, text.count("\n", 0, match.start(2)) + 1, match[2], match[1])


def header(file: Path) -> Block:
    """The commands in the comments at the top of a file."""
    lines = re.match(r"(?:#.*\n)+", file.read_text("utf-8"))
    assert lines is not None, file
    return Block(file, 1, "\n".join(re.findall(r"^#   (.*)$", lines[0], re.M)))


ALL = [*(block for page in PAGES for block in blocks(page)), *map(header, HEADERS)]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command, without comments, variables set before it, and redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in OPERATORS:
                words.append(word)
                continue
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield words[: next((i for i, each in enumerate(words) if set(each) <= set("<>")), None)]
            words = []


def parse(words: list[str]) -> bool:
    """Raises where a program would refuse the command line; False for a program that is not this project's."""
    program, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "python" and arguments[:1] == ["-m"]:
        program, arguments = "python -m", arguments[1:]
    takes = PROGRAMS.get(program)
    if takes:
        takes(arguments)
    return takes is not None


def parse_with(app: cyclopts.App, words: list[str]) -> None:
    if words not in (["--help"], ["--version"]):
        app.parse_args(words, exit_on_error=False, print_error=False)


def parse_ccd(words: list[str]) -> None:
    """--config FILE stands before or after the command, and is taken from both before it is parsed."""
    if "--config" in words:
        place = words.index("--config")
        words = words[:place] + words[place + 2 :]
    parse_with(trainer, words)


def parse_client(words: list[str]) -> None:
    if "--help" not in words:
        client_parser().parse_args(words)


def parse_module(words: list[str]) -> None:
    """python -m MODULE: those of this project that have a `main` with flags."""
    name, *flags = words
    known = {"trainer": "ccd", "labeler_service": "clip-labeler", "clip_labeler": "clip-labeler-client"}
    if name in known:
        PROGRAMS[known[name]](flags)
    elif name.startswith(("benchmarks.", "tools.")):
        app = cyclopts.App(default_command=None)
        app.default(importlib.import_module(name).main)
        parse_with(app, flags)
    else:
        assert importlib.util.find_spec(name.partition(".")[0]) or name in {"uv"}, name


def parse_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    for word in words:
        assert "=" in word or word in targets, f"make has no target {word}"


def parse_docker(words: list[str]) -> None:
    """build, run and compose: the files are there, and what follows the image goes to its program."""
    for flag, value in itertools.pairwise(words):
        if flag == "-f":
            assert (ROOT / value).is_file(), value
        if flag == "--build-arg":
            file = words[words.index("-f") + 1]
            assert f"ARG {value.partition('=')[0]}=" in (ROOT / file).read_text(), value
    if "run" in words:
        names = SERVICES if words[0] == "compose" else {image: image for image in IMAGES}
        image = next(word for word in words[words.index("run") :] if word in names)
        arguments = words[words.index(image, words.index("run")) + 1 :]
        program = names[image]
        entry = ["serve", "--host", "0.0.0.0"] if program == "clip-labeler" else []
        if arguments:
            PROGRAMS[program]([*entry, *arguments])


def parse_pip(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if match := re.search(r"(?:ccd|\.|\.whl)\[([\w,-]+)\]", word):
            assert set(match[1].split(",")) <= set(extras), word


def parse_script(words: list[str]) -> None:
    assert (ROOT / words[0]).is_file(), words[0]


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "ccd": parse_ccd,
    "clip-labeler": lambda words: parse_with(labeler, words),
    "clip-labeler-client": parse_client,
    "docker": parse_docker,
    "make": parse_make,
    "pip": parse_pip,
    "uv": parse_pip,
    "python": parse_script,
    "python -m": parse_module,
}


@pytest.mark.parametrize("block", ALL, ids=str)
def test_commands_parse(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would fail if a page told a subcommand or a flag that is gone, or values that the program refuses."""
    for words in commands(block.text):
        try:
            known = parse(words)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{block}: {shlex.join(words)}: {error}")
        assert known or block.needs, f"{block}: {words[0]}: say what it needs"


@pytest.mark.parametrize(
    "line",
    ["ccd run photos/ --clases 'dog'", "ccd trian photos/", "clip-labeler serve --prot 1", "make tset",
     "clip-labeler-client score photos/", "python -m benchmarks.labeler_latency --secnods 3",
     "docker build -f Dockerfile.labler .", "docker run ccd run /data --clases dog", "pip install '.[trianer]'",
     "docker compose -f deploy/compose.yaml run trainer trian", "python tools/no_such.py"],
)  # fmt: skip
def test_wrong_commands_do_not(line: str) -> None:
    """The check itself: would fail if it let everything through."""
    [words] = commands(line)
    with pytest.raises((Exception, SystemExit)):
        parse(words)


def test_nothing_is_overlooked() -> None:
    """Would fail if the fences or the comments were written so that the check does not see them."""
    for page in PAGES:
        text = page.read_text("utf-8")
        assert len(list(blocks(page))) == len(re.findall(r"^\s*(?:```|~~~) ?(?:bash|sh|shell|console)", text, re.M)), (
            page
        )
        assert text.count("<!-- needs:") == sum(
            block.needs is not None for language in ("bash", "python") for block in blocks(page, language)
        ), page
