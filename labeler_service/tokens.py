"""Bearer tokens: a file that says who may call, and how much. Knows nothing of gRPC."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from labeler_service.quota import Quota
from labeler_service.reloading import Reloading

# 16 random characters of base64 are 96 bits: beyond guessing.
MIN_TOKEN_LENGTH = 16
# Names stand in logs and metrics.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE = "NAME TOKEN [IMAGES_PER_MINUTE]"


@dataclass(frozen=True)
class Tenant:
    """Whom a token stands for."""

    name: str
    quota: Quota


class TokenFile:
    """Lines of `NAME TOKEN [IMAGES_PER_MINUTE]`; empty lines and those that start with # are skipped.

    A name may have several tokens, under one quota, so that a token can be replaced without a gap. The file is read
    again when it changes. Raises ValueError when it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._quotas: dict[str, Quota] = {}
        self._tenants = Reloading([path], self._load)

    def find(self, token: str) -> Tenant | None:
        """Whom the token stands for. The time that it takes tells nothing of the tokens."""
        digest = _digest(token)
        found = [tenant for known, tenant in self._tenants.value().items() if hmac.compare_digest(known, digest)]
        return found[0] if found else None

    def _load(self) -> dict[bytes, Tenant]:
        """Tenants by the sha256 of their tokens. What a tenant has used of its quota outlasts a change of the file."""
        quotas: dict[str, Quota] = {}
        tenants: dict[bytes, Tenant] = {}
        for number, line in enumerate(_read(self._path), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            where = f"--token-file {self._path}, line {number}"
            name, token, per_minute = _parse(line, where)
            used = quotas.get(name) or self._quotas.get(name)
            if name in quotas and quotas[name].per_minute != per_minute:
                raise ValueError(f"{where}: {name} has another quota in a line above")
            if _digest(token) in tenants:
                raise ValueError(f"{where}: the token stands in a line above, too")
            quotas[name] = used if used and used.per_minute == per_minute else Quota(per_minute)
            tenants[_digest(token)] = Tenant(name, quotas[name])
        if not tenants:
            raise ValueError(f"--token-file {self._path} holds no token; its lines are: {_LINE}")
        self._quotas = quotas
        return tenants


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _read(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"--token-file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--token-file {path} is not a text file; its lines are: {_LINE}") from None


def _parse(line: str, where: str) -> tuple[str, str, int | None]:
    """Name, token and quota. Messages quote nothing: any field may be a token in the wrong place."""
    fields = line.split()
    if len(fields) not in (2, 3):
        raise ValueError(f"{where}: a line is {_LINE}, this one has {len(fields)} fields")
    name, token, *quota = fields
    if not _NAME.fullmatch(name):
        raise ValueError(f"{where}: a name is up to 64 of the characters A-Z a-z 0-9 . _ -")
    if len(token) < MIN_TOKEN_LENGTH or not token.isascii():
        raise ValueError(f"{where}: a token has at least {MIN_TOKEN_LENGTH} characters, all of them ASCII")
    if not quota:
        return name, token, None
    if not quota[0].isdecimal() or int(quota[0]) < 1:
        raise ValueError(f"{where}: IMAGES_PER_MINUTE is a positive whole number")
    return name, token, int(quota[0])
