"""All checks in order, shown to people or programs."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from clip_labeler import Credentials
from clip_labeler.targets import Target
from trainer.doctor.finding import Finding
from trainer.doctor.labeler import check_labeler
from trainer.doctor.software import check_software

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
# Of findings that failed: anything, or nothing but the labeler.
FAILED, UNREACHABLE = 1, 4


def examine(labeler: str | None, credentials: Credentials) -> Iterator[Finding]:
    """The findings as they come. Raises ValueError before the first when `labeler` is no address."""
    if labeler is not None:
        Target.parse(labeler)
    yield from _guarded("software", check_software)
    yield from _guarded("machine", _check_machine)
    if labeler is not None:
        yield from check_labeler(labeler, credentials)


def _check_machine() -> Iterator[Finding]:
    from trainer.doctor.machine import check_machine  # needs torch, whose absence was found above

    yield from check_machine()


def _guarded(subject: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A check that meets what it did not expect is a failed finding: it must not hide the others."""
    try:
        yield from check()
    except Exception as error:  # whatever it is
        yield Finding(subject, "fail", f"could not be checked: {error!r}", "report this line")


def show(findings: Iterable[Finding], console: Console) -> list[Finding]:
    """A line each, at once, and what to do below it."""
    seen = []
    for finding in findings:
        line = Text(f"{finding.status:<5}", STYLES[finding.status]) + Text(f"{finding.subject:<16}{finding.text}")
        console.print(line, soft_wrap=True)
        if finding.status != "ok":
            console.print(Text(f"{'':<21}-> {finding.advice}"), soft_wrap=True)
        seen.append(finding)
    return seen


def as_json(findings: Iterable[Finding]) -> str:
    """All findings as one JSON list."""
    return json.dumps([asdict(finding) for finding in findings], indent=2)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when nothing failed, 4 when the labeler alone did, else 1."""
    failed = [finding.subject for finding in findings if finding.status == "fail"]
    if not failed:
        return 0
    return UNREACHABLE if all(subject.startswith("labeler") for subject in failed) else FAILED
