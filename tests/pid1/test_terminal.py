"""A container's terminal goes to the entrypoint: Ctrl-C reaches it and not PID 1."""

import os
import pty
import select
import signal
import sys
import time

import pytest

from harness.execd import EXECD
from harness.patience import PATIENCE_S

# The process that becomes PID 1 makes the session, as container runtimes do.
LEADER = ("import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 1); "
          "os.execv(sys.argv[1], sys.argv[1:])")
PROGRAM = "trap 'echo got INT' INT; ps -o tty= -p $$; echo ready; while :; do sleep 0.02; done"


class Terminal:
    """A pseudo terminal whose other side runs execd as PID 1."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.master)
            for number in (0, 1, 2):
                os.dup2(slave, number)
            os.execvp("unshare", ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child",
                                  sys.executable, "-c", LEADER, str(EXECD), *arguments])
        os.close(slave)
        self.text = ""

    def wait_for(self, text, limit_s=PATIENCE_S):
        deadline = time.monotonic() + limit_s
        while text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode(errors="replace")
                except OSError:
                    raise AssertionError(f"closed before {text!r}: {self.text!r}") from None

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


@pytest.fixture
def terminal():
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    opened = []

    def start(*arguments):
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield start
    for one in opened:
        one.end()


def test_control_c_reaches_the_entrypoint_only(terminal):
    one = terminal("--insecure", "--listen", "127.0.0.1:0", "--inner-listen", "off", "--", "/bin/sh", "-c", PROGRAM)
    one.wait_for("ready")
    assert "pts/" in one.text
    os.write(one.master, b"\x03")
    one.wait_for("got INT")
    assert "shutting down" not in one.text and "ignored a signal" not in one.text
