"""The project's extras, as pyproject.toml declares them."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PROJECT: str = _PROJECT["name"]
# Requirements by extra, without the base's, which "" stands for.
REQUIREMENTS: dict[str, list[str]] = {"": _PROJECT["dependencies"], **_PROJECT["optional-dependencies"]}
# For developers of this project. All others are for users.
NOT_SHIPPED = {"dev", "docs"}
SHIPPED = [extra for extra in REQUIREMENTS if extra not in NOT_SHIPPED]


def builds_on(extra: str) -> set[str]:
    """The extra itself, the base, and the extras that it is made of."""
    own = [requirement for requirement in map(Requirement, REQUIREMENTS[extra]) if requirement.name == PROJECT]
    return {"", extra}.union(*(builds_on(name) for requirement in own for name in requirement.extras))


def declared(extra: str) -> set[str]:
    """Canonical names of the distributions that an installation with this extra asks for, without what those bring."""
    texts = [text for name in builds_on(extra) for text in REQUIREMENTS[name]]
    return {str(canonicalize_name(Requirement(text).name)) for text in texts} - {PROJECT}
