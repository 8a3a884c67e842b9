"""A process that stands still for a while, as that of a paused sandbox does."""

import contextlib
import os
import signal
import time

from harness.execd import eventually, status_field


@contextlib.contextmanager
def stopped(pid, at_least_s):
    """It is stopped for the block, and for so long, while it waits: of a stop just behind the wait nobody could tell how long
    it was."""
    eventually(lambda: status_field(pid, "State").startswith("S"))
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: status_field(pid, "State").startswith("T"))
    until = time.monotonic() + at_least_s
    try:
        yield
        time.sleep(max(0, until - time.monotonic()))
    finally:
        os.kill(pid, signal.SIGCONT)
