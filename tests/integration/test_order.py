"""What a peer did before it went counts, in whichever order execd comes to see it.

execd stands still while its peers go on. When it goes on it finds several things at once, first what came first.
"""

import contextlib
import json
import os
import select
import signal
import time
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


class Wire(RawConnection):
    """A connection that execd knows already: a request on it is seen as soon as it looks."""

    def __init__(self, agent):
        super().__init__(agent.connect())
        self.request("GET", "/ping")
        assert self.read_response().status == 200

    def request(self, method, path, **body):
        text = json.dumps(body) if body else ""
        self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n"
                  f"Content-Length: {len(text)}\r\n\r\n{text}")

    def has_answer(self):
        return bool(self.buffer or select.select([self.socket], [], [], 0)[0])

    def events(self):
        response = self.read_response()
        assert response.status == 200, response
        return sse_events(response.body.decode())


@pytest.fixture
def wire(execd):
    with Wire(execd) as connection:
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


# ---- isolated sessions

ISOLATED = "/v1/isolated"


def catch_trial(agent, wire):
    """Asks whether sessions are possible, and stops the trial in its middle; None: it was quicker."""
    wire.request("GET", f"{ISOLATED}/capabilities")
    while not wire.has_answer():
        for pid in map(int, Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()):
            with contextlib.suppress(OSError):
                if b"isolate-init" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    continue
                os.kill(pid, signal.SIGSTOP)
                eventually(lambda: state_of(pid) not in ("R", "S", "D"))
                agent.client.get("/ping")  # what it may have answered before is passed on by now
                return pid if state_of(pid) == "T" and not wire.has_answer() else None
    return None


def test_a_trial_that_has_answered_and_gone(start_execd, gate, tmp_path):
    """Its end is seen with an earlier one, before its answer."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    for _ in range(30):
        agent = start_execd("--isolation-root", str(tmp_path / "layers"))
        agent.command(f"read x <{gate.path}", background=True)
        [(command, _)] = children(agent.pid)
        with Wire(agent) as wire:
            trial = catch_trial(agent, wire)
            if trial is None:
                agent.stop()
                continue
            with standstill(agent):
                gate.open()
                await_end_of(agent, command)
                os.kill(trial, signal.SIGCONT)
                await_end_of(agent, trial)
            report = json.loads(wire.read_response().body)
            assert report["available"] is True, report
            agent.stop()
            return
    pytest.fail("no trial was caught")


def test_a_run_that_comes_with_the_end_of_idleness(start_execd, tmp_path):
    """It was there in time to be seen, so its session stays."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    agent = start_execd("--isolation-root", str(tmp_path / "layers"))
    body = {"workspace": {"path": str(tmp_path)}, "idle_timeout_seconds": 1}
    made = agent.client.post(f"{ISOLATED}/session", json=body)
    until = time.monotonic() + 1
    assert made.status_code == 201, made.text
    session = made.json()["session_id"]
    with Wire(agent) as wire:
        with standstill(agent):
            wire.request("POST", f"{ISOLATED}/session/{session}/run", code="echo here")
            eventually(lambda: time.monotonic() > until)
        assert output_of(wire.events()) == "here\n"
    agent.stop()
