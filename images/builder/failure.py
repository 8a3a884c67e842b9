"""The one error of the builder, and running a program so that its failure is one readable line."""

import os
import signal
import subprocess
import threading

RUNNING = set()  # processes, of any thread
STOPPED = threading.Event()


class Failure(Exception):
    """Ends the build; its text is the one-line reason, details (a log's end) may follow it."""

    def __init__(self, reason, details=""):
        super().__init__(reason)
        self.details = details


def run(what, command, *, env=None, stdin=None, cwd=None):
    """Run command and return what it printed; on failure say what was tried and why it failed."""
    try:
        process = subprocess.Popen(
            [str(word) for word in command], env=env, cwd=cwd, text=True, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise Failure(f"{what}: '{command[0]}' is not installed") from None
    with process:
        RUNNING.add(process)
        try:
            if STOPPED.is_set():
                raise Failure(f"{what}: stopped")
            output, _ = process.communicate(stdin)
        except BaseException:
            kill(process)
            raise
        finally:
            RUNNING.discard(process)
    if process.returncode:
        raise Failure(f"{what}: {reason(output) or f'status {process.returncode}'}", output)
    return output


def kill(process):
    """With everything that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def stop_all():
    """End what other threads run; they fail, and start nothing more."""
    STOPPED.set()
    for process in list(RUNNING):
        kill(process)


def reason(log):
    """The line of a log that tells most: the first error, else the last line that is not empty."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "ERROR:"))]
    return (errors or lines[-1:] or [""])[0]
