"""The licence gate: refuses what an extra of this project would bring under a licence that its users cannot live with.

python -m tools.licences                  # every extra that users install
python -m tools.licences labeler trainer

It reads the metadata of the installed distributions, closure of the extra's requirements included, and exits with 1
when one has a licence that is not in `ALLOWED` (AGPL and GPL alone, non-commercial, unknown) and was not reviewed.
"""

import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from license_expression import AND, OR, ExpressionError, Licensing, get_spdx_licensing
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.extras import PROJECT, REQUIREMENTS, SHIPPED

# SPDX identifiers (https://spdx.org/licenses): permissive, or copyleft that ends at the file's own border.
ALLOWED = frozenset({
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense", "Zlib",
})  # fmt: skip

# What older metadata say instead: the last part of a trove classifier, or the first line of the free text. Those that
# say no more than "BSD" are read as the three clauses.
SPDX_NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}


# Classifiers that name no licence.
GROUPS = ("License", "OSI Approved", "DFSG approved")


@dataclass(frozen=True)
class Review:
    """A person's decision: distributions of this name, as long as they have this licence, may be used."""

    name: str
    licence: str
    reason: str


_CUDA = "CUDA for torch: proprietary, free of charge also in commerce, and redistributable (CUDA EULA, attachment A)"
REVIEWED = (
    Review("nvidia-*", "LicenseRef-NVIDIA-Proprietary", _CUDA),
    Review("nvidia-*", "NVIDIA Proprietary Software", _CUDA),
    Review("cuda-toolkit", "unknown", "names the nvidia-* packages of one CUDA release, and has no code of its own"),
)


@dataclass(frozen=True)
class Finding:
    """A distribution, its licence, and `verdict`: allowed, the reason of a review, or None where it is refused."""

    name: str
    version: str
    licence: str
    verdict: str | None


def licence_of(dist: Distribution) -> str:
    """SPDX expression where the metadata give one or can be read as one, else their own words, else "unknown"."""
    metadata: Any = dist.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [line.split(" :: ") for line in metadata.get_all("Classifier") or ()]
    named = [parts[-1] for parts in classifiers if parts[0] == "License" and parts[-1] not in GROUPS]
    if named:
        return " AND ".join(SPDX_NAMES.get(name, name) for name in named)
    lines = [line.strip() for line in (metadata.get("License") or "").splitlines() if line.strip()]
    return SPDX_NAMES.get(lines[0], lines[0]) if lines else "unknown"


def is_allowed(licence: str) -> bool:
    """Whether the expression can be met with allowed licences alone: any side of OR, both sides of AND."""

    def allowed(node: Any) -> bool:
        if isinstance(node, AND | OR):
            return (all if isinstance(node, AND) else any)(allowed(part) for part in node.args)
        return str(node) in ALLOWED

    try:
        return allowed(_spdx().parse(licence))
    except ExpressionError:
        return False


@functools.cache
def _spdx() -> Licensing:
    """Made of the list of all licences, which takes half a second."""
    return get_spdx_licensing()


def judge(dist: Distribution) -> Finding:
    name, licence = canonicalize_name(dist.name), licence_of(dist)
    verdict = "allowed" if is_allowed(licence) else None
    for review in REVIEWED:
        if verdict is None and fnmatch(name, review.name) and licence == review.licence:
            verdict = review.reason
    return Finding(name, dist.version, licence, verdict)


def closure(extras: Iterable[str]) -> Iterator[Distribution]:
    """Every installed distribution that the project with these extras brings on this platform, once each.

    Raises PackageNotFoundError with the name of one that is not installed.
    """
    seen: set[tuple[str, frozenset[str]]] = set()
    found: set[str] = set()
    waiting = [(Requirement(f"{PROJECT}[{','.join(filter(None, extras))}]"), frozenset({""}))]
    while waiting:
        requirement, wanted_by = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in wanted_by):
            continue
        name, asked = canonicalize_name(requirement.name), frozenset({"", *requirement.extras})
        if (name, asked) in seen:
            continue
        seen.add((name, asked))
        if name == PROJECT:
            waiting += [(Requirement(text), asked) for extra in asked for text in REQUIREMENTS[extra]]
            continue
        dist = distribution(name)
        waiting += [(Requirement(text), asked) for text in dist.requires or ()]
        if name not in found:
            found.add(name)
            yield dist


def main(names: Sequence[str]) -> int:
    unknown = sorted(set(names) - set(REQUIREMENTS))
    if unknown:
        known = ", ".join(filter(None, REQUIREMENTS))
        print(f"licences: there is no extra {unknown[0]}; known: {known}", file=sys.stderr)
        return 2
    try:
        dists = list(closure(names or SHIPPED))
    except PackageNotFoundError as error:
        print(f"licences: {error.name} is not installed: install the extra first", file=sys.stderr)
        return 2
    findings = sorted((judge(dist) for dist in dists), key=lambda finding: (finding.verdict is None, finding.name))
    for finding in findings:
        print(f"{finding.name} {finding.version}: {finding.licence}: {finding.verdict or 'REFUSED'}")
    refused = [finding.name for finding in findings if finding.verdict is None]
    if refused:
        print(f"licences: refused {', '.join(refused)}: use another package, or add a Review with its reason",
              file=sys.stderr)  # fmt: skip
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
