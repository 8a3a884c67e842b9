"""What a peer did before it went counts, in whichever order execd comes to see it.

execd stands still while its peers go on. When it goes on it finds several things at once, first what came first.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.execd import TOKEN, TOKEN_HEADER, children, eventually, fds, output_of, sse_events
from harness.patience import PATIENCE_S
from harness.raw import RawConnection
from harness.ws import BINARY, CLOSE, TEXT, WebSocket


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

    def __init__(self, path):
        self.path = path
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR)

    def open(self):
        os.write(self.fd, b"\n")


@pytest.fixture
def make_gate(tmp_path):
    made = []

    def make():
        made.append(Gate(tmp_path / f"gate{len(made)}"))
        return made[-1]

    yield make
    for each in made:
        os.close(each.fd)


@pytest.fixture
def gate(make_gate):
    return make_gate()


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


# ---- shells


def unread(path):
    """Bytes in a pipe, which is one of a process's descriptors."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(fd)


class Run:
    """A run in a session of its own that waits for a gate, says "said" and ends with status 5."""

    def __init__(self, agent, gate, **body):
        before = {pid for pid, _ in children(agent.pid)}
        self.session = agent.client.post("/session").json()["session_id"]
        [self.shell] = {pid for pid, _ in children(agent.pid)} - before
        report = os.readlink(f"/proc/{self.shell}/fd/3")
        self.report = next(number for number, link in fds(agent.pid).items() if link == report)
        self.agent = agent
        self.pool = ThreadPoolExecutor(1)
        self.gate, begun = gate, gate.path.with_name("begun")
        text = f"read x <{gate.path}; echo said; (exit 5)"
        client = agent.new_client()
        self.answer = self.pool.submit(client.post, f"/session/{self.session}/run",
                                       json={"command": f"echo >{begun}; {text}", **body})
        eventually(begun.exists)
        eventually(lambda: self.unread_report() == 0)

    def unread_report(self):
        return unread(f"/proc/{self.agent.pid}/fd/{self.report}")

    def finish(self):
        """It is over, and execd has not taken notice."""
        self.gate.open()
        eventually(lambda: self.unread_report() > 0)

    def check(self):
        """It ended as it did."""
        answer = self.answer.result(PATIENCE_S)
        self.pool.shutdown()
        self.agent.client.delete(f"/session/{self.session}")  # if it is there still
        events = sse_events(answer.text)
        assert output_of(events) == "said\n", events
        assert events[-1]["error"]["evalue"] == "5" and events[-1]["receipt"]["reason"] == "exit", events


def test_a_report_before_the_end_of_its_shell(execd, make_gate):
    """Which is seen with an earlier end, before the report."""
    run, gate = Run(execd, make_gate()), make_gate()
    execd.command(f"read x <{gate.path}", background=True)
    [command] = {pid for pid, _ in children(execd.pid)} - {run.shell}
    with standstill(execd):
        gate.open()
        await_end_of(execd, command)
        run.finish()
        os.kill(run.shell, signal.SIGKILL)
        await_end_of(execd, run.shell)
    eventually(lambda: execd.client.get(f"/session/{run.session}").json()["alive"] is False)
    run.check()


def test_an_interrupt_of_a_run_that_is_over(execd, wire, gate):
    run = Run(execd, gate)
    with standstill(execd):
        wire.request("DELETE", f"/command?id={run.session}")
        run.finish()
    assert "nothing runs" in wire.read_response().body.decode()
    run.check()


def test_a_session_that_is_deleted_behind_its_run(execd, wire, gate):
    run = Run(execd, gate)
    with standstill(execd):
        wire.request("DELETE", f"/session/{run.session}")
        run.finish()
    assert wire.read_response().status == 200
    run.check()


def test_a_timeout_of_a_run_that_is_over(execd, gate):
    run = Run(execd, gate, timeout=1000)
    with standstill(execd):
        late = time.monotonic() + 1
        run.finish()
        eventually(lambda: time.monotonic() > late)
    run.check()


# ---- terminals


def open_terminal(agent, query, **body):
    session = agent.client.post("/pty", json=body).json()["session_id"]
    terminal = WebSocket(agent.connect(), f"/pty/{session}/ws{query}", (f"{TOKEN_HEADER}: {TOKEN}",))
    while b'"connected"' not in terminal.read().payload:
        pass
    return session, terminal


def rest(terminal):
    """Output and texts up to the end."""
    out, texts = b"", []
    while (frame := terminal.read()).opcode != CLOSE:
        if frame.opcode == TEXT:
            texts.append(json.loads(frame.payload))
        else:
            out += frame.payload[1:]
    return out, texts


def test_input_that_comes_with_the_end(execd, gate):
    """Nobody reads it any more, and that is no fault of who wrote it."""
    session, terminal = open_terminal(execd, "?pty=0", command=f"read x <{gate.path}; echo said; exit 5")
    [(pid, _)] = children(execd.pid)
    with standstill(execd):
        terminal.send(BINARY, b"\0late\n")
        gate.open()
        await_end_of(execd, pid)
    assert rest(terminal) == (b"said\n", [{"type": "exit", "exit_code": 5}])
    execd.client.delete(f"/pty/{session}")


def test_a_size_and_input_that_come_at_once(execd):
    session, terminal = open_terminal(execd, "", command="stty -echo; echo go; read x; stty size", record=True)
    while b"go" not in terminal.read().payload:
        pass
    with standstill(execd):
        terminal.send_json(type="resize", cols=100, rows=50)
        terminal.send(BINARY, b"\0\n")
    out, texts = rest(terminal)
    assert out.endswith(b"50 100\r\n") and texts == [{"type": "exit", "exit_code": 0}]
    assert '"r", "100x50"' in execd.client.get(f"/pty/{session}/recording").text
    execd.client.delete(f"/pty/{session}")


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
