"""The one error of the builder, and running a program so that its failure is one readable line."""

import subprocess


class Failure(Exception):
    """Ends the build; its text is the one-line reason, details (a log's end) may follow it."""

    def __init__(self, reason, details=""):
        super().__init__(reason)
        self.details = details


def run(what, command, *, env=None, stdin=None, cwd=None):
    """Run command and return what it printed; on failure say what was tried and why it failed."""
    try:
        done = subprocess.run(
            [str(word) for word in command], env=env, cwd=cwd, input=stdin, text=True,
            errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
    except FileNotFoundError:
        raise Failure(f"{what}: '{command[0]}' is not installed") from None
    if done.returncode:
        raise Failure(f"{what}: {reason(done.stdout) or f'status {done.returncode}'}", done.stdout)
    return done.stdout


def reason(log):
    """The line of a log that tells most: the first error, else the last line that is not empty."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "ERROR:"))]
    return (errors or lines[-1:] or [""])[0]
