"""What an address given by a user stands for: one labeler, or several replicas that share the work.

    HOST:PORT                     one labeler, or what its name resolves to: gRPC takes the first that answers
    dns:///NAME:PORT              every address of the name, asked again when a connection breaks
    HOST:PORT,HOST:PORT,...       these replicas; names are resolved once, when the connection opens
    any other name of gRPC's      as gRPC understands it (https://github.com/grpc/grpc/blob/master/doc/naming.md)

Each call, and each stream when it is opened, goes to the next replica whose health check says SERVING.
"""

import ipaddress
import json
import re
import socket
from dataclasses import dataclass

from clip_labeler.errors import UnavailableError

HEALTH_SERVICE = "clip_labeler.v1.LabelerService"

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:/,\s]+):(?P<port>\d{1,5})")
_DNS = "dns:///"
# Names of gRPC's that hold no host: a socket of this machine, or what a control plane knows.
_SCHEME = re.compile(r"(unix|unix-abstract|xds|ipv4|ipv6|dns):")


@dataclass(frozen=True)
class Target:
    """`hosts` are (host, port) as written, IPv6 without brackets; empty where gRPC alone understands `text`."""

    text: str
    hosts: tuple[tuple[str, int], ...]

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Raises ValueError that shows what would be right."""
        matches = [_HOST_AND_PORT.fullmatch(part.strip()) for part in text.removeprefix(_DNS).split(",")]
        hosts = tuple((match["host"].strip("[]"), int(match["port"])) for match in matches if match is not None)
        if len(hosts) == len(matches):
            return cls(text, hosts)
        if _SCHEME.match(text):
            return cls(text, ())
        raise ValueError(f"a labeler's address is HOST:PORT, HOST:PORT,HOST:PORT or dns:///NAME:PORT, not {text!r}")

    @property
    def has_replicas(self) -> bool:
        return len(self.hosts) > 1 or self.text.startswith(_DNS)

    @property
    def is_local(self) -> bool:
        """Whether no byte leaves this machine."""
        if not self.hosts:
            return self.text.startswith(("unix:", "unix-abstract:"))
        return all(_is_loopback(host) for host, _ in self.hosts)

    def grpc_name(self) -> str:
        """The name for gRPC; raises UnavailableError while a replica's name does not resolve."""
        if len(self.hosts) <= 1:
            return self.text
        scheme = "ipv6" if ":" in self.hosts[0][0] else "ipv4"
        family = socket.AF_INET6 if scheme == "ipv6" else socket.AF_INET
        return f"{scheme}:{','.join(_resolve(host, port, family) for host, port in self.hosts)}"

    def options(self) -> list[tuple[str, str]]:
        """Channel options: round robin over the replicas, of these only the healthy ones.

        gRPC checks their health by itself, in plain text without a token, which a labeler does not ask for there.
        """
        if not self.has_replicas:
            return []
        config = {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": HEALTH_SERVICE},
        }
        options = [("grpc.service_config", json.dumps(config))]
        if len(self.hosts) > 1:  # the name that the certificate of each must hold: gRPC would take the whole list
            options.append(("grpc.default_authority", self.hosts[0][0]))
        return options


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _resolve(host: str, port: int, family: socket.AddressFamily) -> str:
    try:
        address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise UnavailableError(f"the name {host} does not resolve: {error.strerror or error}") from error
    return f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
