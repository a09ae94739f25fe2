"""The processes of one run, as torchrun starts them. A plain process is a world of one, without a process group.

Rank 0 is the main process: it alone decides, prints and works in the run's folder. Values travel by pickle, from
processes that torchrun started to one another and nowhere else.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

Value = TypeVar("Value")

# The others wait for the main process while it warms up or a slow labeler is out of reach. That a process has died is
# noticed by torchrun and by its closed connections, not by a timeout.
PATIENCE = timedelta(days=14)

# How the main process's store is found.
PORT_KEY = "ccd/port"
CONNECT_SECONDS, RETRY_SECONDS = 5.0, 0.1


class PeerLostError(RuntimeError):
    """Another process of the run has ended, so that this one cannot go on."""


@contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that torchrun's environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) names.

    Tensors on CUDA travel by NCCL, others and objects by gloo. After an error the group is left as it is: its
    connections close with the process, and that is what tells the others.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = _store_of_this_attempt(rank) if dist.is_torchelastic_launched() else None
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with peers_watched():
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    if not is_main():  # it has nothing to clean up, and Python's handler would not run while it waits for the others
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    dist.destroy_process_group()


def _store_of_this_attempt(rank: int) -> TCPStore:
    """Where the processes find each other: served by the main one, whose port torchrun's own store tells.

    torchrun's store outlives a restart, and so do the addresses in it of processes that are dead; one that read them
    before they were overwritten would never find the others (https://github.com/pytorch/pytorch/issues/135712). A dead
    server does not answer, and then its port is read again.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent = TCPStore(address, port, is_master=False)
    if rank == 0:
        store = TCPStore(address, 0, is_master=True, wait_for_workers=False)
        agent.set(PORT_KEY, str(store.port))
        return store
    while True:
        port = int(agent.get(PORT_KEY))
        with suppress(OSError, dist.DistError), socket.create_connection((address, port), timeout=CONNECT_SECONDS):
            return TCPStore(address, port, is_master=False)
        time.sleep(RETRY_SECONDS)


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    return rank() == 0


def node_size() -> int:
    """Processes on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if dist.is_initialized() else 1


@contextmanager
def peers_watched() -> Iterator[None]:
    """Around every exchange. torch has no error of its own for a process that is gone: gloo raises RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise PeerLostError(f"another process of this run has ended, or was never reached ({reason})") from error


def broadcast(value: Any = None) -> Any:
    """The main process's value on every process; that of the others does not matter."""
    if world_size() == 1:
        return value
    box = [value]
    with peers_watched():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def from_main(make: Callable[[], Value]) -> Value:
    """What the main process alone makes, on every process."""
    value: Value = broadcast(make() if is_main() else None)
    return value


def gather(value: Value) -> list[Value]:
    """The values of all processes by rank, on the main one; an empty list on the others."""
    if world_size() == 1:
        return [value]
    values: list[Any] | None = [None] * world_size() if is_main() else None
    with peers_watched():
        dist.gather_object(value, values, dst=0)
    return values or []


def main_first(make: Callable[[], Value]) -> Value:
    """What each process makes for itself, the main one before the others, who then find what it has downloaded. They
    never begin where it fails, so that its error is reported once."""
    if is_main():
        value = make()
        broadcast()
        return value
    broadcast()
    return make()


def own_device(name: str) -> torch.device:
    """The device that `name` is for this process: of several on a machine each has a GPU of its own.

    Raises ValueError where there are not enough.
    """
    device = torch.device(name)
    if device.type != "cuda" or world_size() == 1:
        return device
    if device.index is not None:
        raise ValueError(
            f"--device {name} is one GPU for {world_size()} processes; each takes its own with --device cuda"
        )
    if node_size() > torch.cuda.device_count():
        raise ValueError(
            f"{node_size()} processes share {torch.cuda.device_count()} GPUs; give torchrun --nproc-per-node "
            f"{torch.cuda.device_count()}, or --device cpu"
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device
