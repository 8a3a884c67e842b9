"""GET /events: what happens in the sandbox, as a stream that can be taken up again."""

import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from harness.execd import eventually


class Follower:
    """Follows the events in a thread; .events are (id, type, object)."""

    def __init__(self, agent, since=None, **headers):
        self.client = agent.new_client()
        self.context = self.client.stream("GET", "/events", params={} if since is None else {"since": since},
                                          headers=headers)
        self.response = self.context.__enter__()
        self.events, self.ended = [], False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        fields = {}
        try:
            for line in self.response.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    self.events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                    fields = {}
            self.ended = True
        except Exception:  # the test closed the connection
            pass

    def wait(self, kind, limit_s=10, **wanted):
        def search():
            for _, name, event in list(self.events):
                if name == kind and all(event.get(key) == value for key, value in wanted.items()):
                    return event
            return None

        return eventually(search, limit_s, f"no event {kind} {wanted}: {self.events}")

    def close(self):
        """The reading thread is woken first: a socket in use is not closed by closing its number."""
        try:
            self.response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # ended by itself
        self.thread.join(5)
        self.client.close()


@pytest.fixture
def follow(execd):
    opened = []

    def start(**options):
        opened.append(Follower(execd, **options))
        return opened[-1]

    yield start
    for follower in opened:
        follower.close()


def test_headers_come_at_once(follow):
    response = follow().response
    assert response.status_code == 200 and response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache"


def test_commands_tell_of_their_life(execd, follow):
    follower = follow()
    execd.command("exit 3")
    started = follower.wait("command_started")
    finished = follower.wait("command_finished", id=started["id"])
    assert finished["exit_code"] == 3 and finished["end"] == "exit"
    assert started["seq"] < finished["seq"] and started["timestamp"] <= finished["timestamp"]
    assert [number for number, _, _ in follower.events] == list(range(1, len(follower.events) + 1))


def test_a_client_that_comes_back_misses_nothing(execd, follow):
    first = follow()
    execd.command("true")
    first.wait("command_finished")
    seen = first.events[0][0]
    first.close()
    execd.command("exit 4")
    for back in (follow(since=seen), follow(**{"Last-Event-ID": str(seen)})):
        back.wait("command_finished", exit_code=4)
        assert back.events[0][0] == seen + 1
    everything = follow(since=0)
    everything.wait("command_finished", exit_code=4)
    assert everything.events[0][0] == 1


def test_what_is_no_longer_kept_is_a_gap(execd, follow):
    for _ in range(3):
        execd.command("true")
    for _ in range(1100 // 2):
        assert execd.client.post("/command", json={"argv": ["/does/not/exist"]}).status_code == 200
    follower = follow(since=0)
    gap = follower.wait("gap")
    assert gap["dropped"]["from"] == 1
    follower.wait("command_finished")
    assert follower.events[0][0] == gap["dropped"]["to"] and follower.events[1][0] == gap["dropped"]["to"] + 1


def test_secrets_are_not_told(execd, follow):
    follower = follow()
    execd.client.post("/command", json={"command": "echo hidden-text", "envs": {"KEY": "hidden-value"}})
    follower.wait("command_finished")
    assert "hidden" not in str(follower.events)


def test_a_follower_that_reads_nothing_costs_nobody_anything(execd, follow):
    with execd.connect() as stalled:
        stalled.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: integration-token-5b1e\r\n\r\n")
        follower = follow()
        for _ in range(20):
            execd.command("true")
        eventually(lambda: sum(kind == "command_finished" for _, kind, _ in follower.events) == 20)


def test_terminals_tell_of_their_life(execd, follow):
    follower = follow()
    session = execd.client.post("/pty", json={}).json()["session_id"]
    follower.wait("pty_created", id=session)
    execd.client.delete(f"/pty/{session}")


def test_kernels_tell_their_state(start_execd, tmp_path):
    spec = tmp_path / "kernels/fake"
    spec.mkdir(parents=True)
    kernel = Path(__file__).with_name("fake_kernel.py")
    (spec / "kernel.json").write_text(json.dumps({"argv": [sys.executable, str(kernel), "{connection_file}"],
                                                  "language": "fake"}))
    agent = start_execd("--kernel-dir", str(tmp_path / "run"), env={"JUPYTER_PATH": str(tmp_path)})
    follower = Follower(agent)
    context = agent.client.post("/code/context", json={"language": "fake"}).json()["id"]
    agent.client.post("/code", json={"code": "ok", "context": {"id": context, "language": "fake"}})
    agent.client.delete(f"/code/contexts/{context}")
    follower.wait("kernel_state", id=context, state="deleted")
    states = [e["state"] for _, kind, e in follower.events if kind == "kernel_state" and e["id"] == context]
    assert states == ["starting", "idle", "busy", "idle", "deleted"]
    follower.close()


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "", "99999999999999999999"])
def test_a_bad_number_is_refused(execd, since):
    response = execd.client.get("/events", params={"since": since})
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_REQUEST_BODY")


def test_streams_end_when_execd_does(start_execd):
    agent = start_execd()
    follower = Follower(agent)
    agent.send_signal(15)
    follower.wait("shutdown")
    eventually(lambda: follower.ended)
    assert agent.wait() == 0
    follower.close()
