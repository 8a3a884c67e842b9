"""What a peer did before it went counts, in whichever order execd comes to see it.

execd stands still while its peers go on. When it goes on it finds several things at once, first what came first.
"""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from harness.execd import TOKEN, TOKEN_HEADER, children, eventually, output_of, sse_events
from harness.raw import RawConnection


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def standstill(agent):
    agent.stalls_matter = False
    agent.send_signal(signal.SIGSTOP)
    eventually(lambda: state_of(agent.pid) == "T")
    yield
    agent.send_signal(signal.SIGCONT)


def await_end_of(agent, pid):
    """It is over, and execd has not taken notice."""
    eventually(lambda: (pid, "Z") in children(agent.pid))


class Gate:
    """`read x <PATH` in a shell waits until it is opened."""

    def __init__(self, folder):
        self.path = folder / "gate"
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR)

    def open(self):
        os.write(self.fd, b"\n")


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path)
    yield made
    os.close(made.fd)


@pytest.fixture
def wire(execd):
    """A connection that execd knows already: a request on it is seen as soon as it looks."""
    with RawConnection(execd.connect()) as connection:
        connection.request = lambda method, path, body="": connection.send(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        connection.request("GET", "/ping")
        assert connection.read_response().status == 200
        yield connection


def test_an_interrupt_that_comes_with_the_end(execd, wire, gate):
    """It was not what ended the command."""
    command = execd.command(f"read x <{gate.path}; exit 3", background=True)[0]["text"]
    [(pid, _)] = children(execd.pid)
    with standstill(execd):
        wire.request("DELETE", f"/command?id={command}")
        gate.open()
        await_end_of(execd, pid)
    assert wire.read_response().status == 200
    status = execd.client.get(f"/command/status/{command}").json()
    assert status["exit_code"] == 3 and status["receipt"]["reason"] == "exit"
