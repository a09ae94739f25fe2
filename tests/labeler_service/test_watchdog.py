"""The watchdog, in a process of its own: it ends a stuck one, and leaves one alone that goes on or was frozen."""

import signal
import subprocess
import sys
import time

GOING = """
import asyncio, time
from labeler_service.watchdog import Watchdog

async def main():
    watchdog = Watchdog(asyncio.get_running_loop(), stuck_seconds=3)
    await asyncio.sleep(6)
    watchdog.stop()

asyncio.run(main())
print("went on")
"""
STUCK = GOING.replace("await asyncio.sleep(6)", "time.sleep(60)")


def start(program: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True)


def test_a_stuck_process_ends_and_says_where() -> None:
    """It would hold its port and its GPU for ever, and answer nobody."""
    output, log = (process := start(STUCK)).communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    assert "most recent call first" in log


def test_a_frozen_process_goes_on() -> None:
    """A machine that was asleep, or a container that was paused, would lose its work as it wakes up."""
    process = start(GOING)
    time.sleep(2)
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)
    output, log = process.communicate(timeout=60)
    assert (process.returncode, output, log) == (0, "went on\n", "")
