"""A long pause of execd: all its timers are due at once, while what they wait for has arrived."""

import contextlib
import json
import os
import select
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from control import Faults
from harness.execd import BUILD, TOKEN, TOKEN_HEADER, Execd, children, eventually, output_of, sse_events
from harness.patience import PATIENCE_S
from harness.raw import RawConnection
from harness.stopped import stopped

EXECD = BUILD / "fault" / "execd"
HOUR_S = 3600


@contextlib.contextmanager
def started(folder, env=None, **keywords):
    faults = Faults(folder)
    env = {"FAULT_CONTROL": str(faults.path), "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0", **(env or {})}
    with Execd(folder, binary=EXECD, env=env, **keywords) as running:
        running.stalls_matter = False
        running.faults = faults
        yield running


@pytest.fixture
def agent(tmp_path):
    with started(tmp_path) as running:
        yield running


@pytest.fixture
def gate(tmp_path):
    """Of which a shell can read a line once somebody has written one."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    yield SimpleNamespace(path=path, open=lambda: os.write(fd, b"\n"))
    os.close(fd)


def pause(agent):
    with stopped(agent.pid, 0):
        agent.faults.shift(uptime_s=HOUR_S)


def is_blocked(agent):
    """Does its command wait for room in its pipe?"""
    return any("pipe_write" in Path(f"/proc/{pid}/wchan").read_text() for pid, _ in children(agent.pid))


@pytest.mark.parametrize("reads", [True, False], ids=["who reads meanwhile", "who reads on afterwards"])
def test_a_pause_cuts_no_reader_off(agent, reads):
    body = json.dumps({"command": "exec seq 1 2000000"})
    with RawConnection(agent.connect()) as client:
        client.send(f"POST /command HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        eventually(lambda: is_blocked(agent))
        with stopped(agent.pid, 0):
            agent.faults.shift(uptime_s=HOUR_S)
            while reads and select.select([client.socket], [], [], 0)[0]:
                client.fill()
        events = sse_events(client.read_response().body.decode())
    assert output_of(events) == "".join(f"{i}\n" for i in range(1, 2000001))
    assert events[-1]["type"] == "execution_complete"


def test_a_pause_is_no_part_of_a_commands_time(agent, gate):
    command = agent.command(f"read x <{gate.path}; exit 3", background=True, timeout=60000)[0]["text"]
    pause(agent)
    status = agent.client.get(f"/command/status/{command}").json()
    assert status["running"] is True
    gate.open()
    status = eventually(lambda: (now := agent.client.get(f"/command/status/{command}").json())["running"] is False and now)
    assert status["exit_code"] == 3 and status["receipt"]["reason"] == "exit"


def test_a_pause_is_no_part_of_a_runs_time(agent, gate, tmp_path):
    session = agent.client.post("/session").json()["session_id"]
    begun, client = tmp_path / "begun", agent.new_client()
    body = {"command": f"echo >{begun}; read x <{gate.path}; (exit 3)", "timeout": 60000}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, f"/session/{session}/run", json=body)
        eventually(begun.exists)
        pause(agent)
        assert agent.client.get(f"/session/{session}").json()["running"] is True
        gate.open()
        events = sse_events(answer.result(PATIENCE_S).text)
    assert events[-1]["error"]["evalue"] == "3" and events[-1]["receipt"]["reason"] == "exit", events


def test_an_interrupt_is_answered_by_what_came_of_it(agent, gate, tmp_path):
    """The command ended during the pause, in which the time to wait for it ended as well."""
    begun, told = tmp_path / "begun", tmp_path / "told"
    text = f"trap 'echo >{told}; read x <{gate.path}; exit 4' TERM; echo >{begun}; while :; do sleep 0.02; done"
    command = agent.command(text, background=True)[0]["text"]
    [(pid, _)] = children(agent.pid)
    eventually(begun.exists)
    client = agent.new_client()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.delete, "/command", params={"id": command})
        eventually(told.exists)
        with stopped(agent.pid, 0):
            agent.faults.shift(uptime_s=HOUR_S)
            gate.open()
            eventually(lambda: (pid, "Z") in children(agent.pid))
        assert answer.result(PATIENCE_S).status_code == 200, answer.result().text
    status = agent.client.get(f"/command/status/{command}").json()
    assert status["exit_code"] == 4 and status["receipt"]["reason"] == "cancelled"


def test_a_pause_is_no_part_of_a_hooks_time(tmp_path, gate):
    script = f"echo waiting >&2; read x <{gate.path}"
    hooks = {"preStart": {"command": ["sh", "-c", script], "timeoutSeconds": 60}}
    program = ["sh", "-c", "echo begun >&2; sleep 1000"]
    with started(tmp_path, {"OPENSANDBOX_LIFECYCLE": json.dumps(hooks)}, entrypoint=program) as agent:
        eventually(lambda: "waiting" in agent.lines)
        pause(agent)
        gate.open()
        eventually(lambda: "begun" in agent.lines)
        assert agent.wait_log(msg="a hook has ended", hook="preStart")["code"] == "0"
