"""Minutes or hours of what real callers do, all at once: streams, requests, crops, work that is cancelled, deadlines
that are too short, and broken images.

python -m benchmarks.labeler_soak --minutes 20

Checks that no call is stuck, that each result comes once and equals the row of the same image alone, that broken images
alone fail, that the server's memory stays flat and that it believes no call to be in flight at the end.
"""

import sys
import threading
import time
from collections.abc import Sequence
from typing import Annotated

import cyclopts

from benchmarks.labeler_memory import MAX_DRIFT, drift
from benchmarks.report import report
from benchmarks.soak_caller import TIMEOUT_SECONDS, Caller, Findings
from benchmarks.target import ServerProcess, Target, ready_target, running

SAMPLE_SECONDS = 1.0
# The server hears of the last cancelled call.
SETTLE_SECONDS = 5.0


def main(
    target: Annotated[Target, cyclopts.Parameter(name="*")] = Target(),  # noqa: B008
    *,
    minutes: float = 20.0,
    callers: int = 4,
    seed: int = 0,
) -> int:
    """Prints a table and a line of JSON; exit status 1 when a check failed.

    Parameters
    ----------
    minutes
        Without starting and stopping.
    callers
        Clients, each with a thread and a connection of its own.
    seed
        Of all that is random.
    """
    with ready_target(target) as ready, running(ready, "--metrics-port", "0") as server:
        findings = Findings()
        memory = soak(server, target.view_size, 60 * minutes, callers, seed, findings)
    grown = drift(memory)
    if grown > MAX_DRIFT:
        findings.fault(f"the server's memory grew by {grown:.2%}")
    rows: dict[str, list[str]] = {what: [str(number)] for what, number in sorted(findings.done.items())}
    rows |= {"memory drift": [f"{grown:+.2%}"], "faults": [str(len(findings.faults))]}
    figures = {
        "minutes": minutes, "seed": seed, "done": findings.done, "faults": findings.faults,
        "drift": grown, "server_bytes": memory,
    }  # fmt: skip
    report("labeler_soak", target, ["number"], rows, figures)
    return int(bool(findings.faults))


def soak(
    server: ServerProcess, view_size: int, seconds: float, callers: int, seed: int, findings: Findings
) -> list[int]:
    """Lets the callers work; the server's memory, in bytes, at even times."""
    started = [Caller(server.address, view_size, 1000 * seed + number, findings) for number in range(callers)]
    images, crops = started[0].reference()
    end = time.perf_counter() + seconds
    for caller in started:
        threading.Thread(target=caller.work, args=(end, images, crops), daemon=True).start()
    memory = []
    while any(caller.since is not None for caller in started) and not _stuck(started, findings):
        memory.append(server.memory())
        time.sleep(SAMPLE_SECONDS)
    time.sleep(SETTLE_SECONDS)
    if in_flight := server.in_flight():
        findings.fault(f"the server believes that {in_flight:.0f} calls are in flight")
    return memory


def _stuck(callers: Sequence[Caller], findings: Findings) -> bool:
    oldest = min((caller.since for caller in callers if caller.since is not None), default=time.perf_counter())
    if time.perf_counter() - oldest < 2 * TIMEOUT_SECONDS:
        return False
    findings.fault(f"a call is stuck for {time.perf_counter() - oldest:.0f} seconds")
    return True


if __name__ == "__main__":
    sys.exit(cyclopts.run(main))
