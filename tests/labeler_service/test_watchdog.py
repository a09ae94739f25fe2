"""The watchdog, in a process of its own: it ends a stuck one, and leaves one alone that beats or was frozen."""

import signal
import subprocess
import sys
import time

BEATING = """
import time
from labeler_service.watchdog import Watchdog
watchdog = Watchdog(stuck_seconds=3)
for _ in range(30):
    watchdog.beat()
    time.sleep(0.2)
print("went on")
"""
STUCK = BEATING.replace("watchdog.beat()", "").replace("range(30)", "range(300)")


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
    process = start(BEATING)
    time.sleep(2)
    process.send_signal(signal.SIGSTOP)
    time.sleep(5)
    process.send_signal(signal.SIGCONT)
    output, log = process.communicate(timeout=60)
    assert (process.returncode, output, log) == (0, "went on\n", "")
