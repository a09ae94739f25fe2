"""What a check found."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """status: ok; warn: a run works, but not as well as it could; fail: a run would end. advice: what to do then."""

    subject: str
    status: Status
    text: str
    advice: str = ""
