"""GET /ports: who listens, by whom, since when; with socket diagnostics and without."""

import datetime
import socket
import sys
import threading

import pytest

from harness.execd import eventually
from harness.patience import PATIENCE_S
from test_events import Follower, follow  # noqa: F401

# A filter that refuses netlink sockets: what a strict sandbox does.
NO_NETLINK = """
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 3, 41), (0x20, 0, 0, 16), (0x15, 0, 1, 16), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7fff0000)]
program = b"".join(struct.pack("HBBI", *row) for row in code)
buffer = ctypes.create_string_buffer(program)
header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, header) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"""


def ports(agent):
    response = agent.client.get("/ports")
    assert response.status_code == 200, response.text
    return response.json()


def find(agent, port, family="ipv4"):
    found = [p for p in ports(agent)["ports"] if p["port"] == port and p["family"] == family]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.fixture(params=["netlink", "proc"])
def agent(request, start_execd):
    launcher = [sys.executable, "-c", NO_NETLINK] if request.param == "proc" else []
    if request.param == "proc" and __import__("platform").machine() != "x86_64":
        pytest.skip("the filter is written for x86-64")
    agent = start_execd(launcher=launcher)
    agent.source = request.param
    return agent


def test_own_ports_are_marked(agent):
    answer = ports(agent)
    assert answer["source"] == agent.source and answer["truncated"] is False
    entry = find(agent, agent.port)
    assert entry["own"] and entry["pid"] == agent.pid and entry["command"] == "execd"
    assert entry["address"] == "127.0.0.1" and entry["uid"] == 0
    datetime.datetime.fromisoformat(entry["since"].replace("Z", "+00:00"))
    assert [p["port"] for p in answer["ports"]] == sorted(p["port"] for p in answer["ports"])


def test_what_a_command_opens_and_closes(agent, tmp_path):
    script = ("import socket, sys\n"
              "s = socket.create_server(('127.0.0.1', 0)); t = socket.create_server(('::1', 0), family=socket.AF_INET6)\n"
              f"open('{tmp_path}/ports', 'w').write(f'{{s.getsockname()[1]}} {{t.getsockname()[1]}}\\n')\n"
              f"open('{tmp_path}/gate').read()\n")
    (tmp_path / "listen.py").write_text(script)
    gate = tmp_path / "gate"
    __import__("os").mkfifo(gate)
    body = {"argv": [sys.executable, str(tmp_path / "listen.py")]}
    runner = threading.Thread(target=lambda: agent.new_client().post("/command", json=body))
    runner.start()
    read = lambda: (tmp_path / "ports").read_text() if (tmp_path / "ports").exists() else ""  # noqa: E731
    four, six = map(int, eventually(lambda: read() if read().endswith("\n") else "").split())
    entry = eventually(lambda: find(agent, four))
    assert not entry["own"] and entry["command"].startswith("python") and entry["pid"] > 1
    assert find(agent, six, "ipv6")["address"] == "::1"
    later = find(agent, four)
    assert later["since"] == entry["since"]
    gate.write_text("go")
    runner.join(PATIENCE_S)
    eventually(lambda: find(agent, four) is None)


def test_sockets_that_share_a_port_are_one_listener(agent):
    shared = []
    for _ in range(3):
        shared.append(socket.socket())
        shared[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared[-1].bind(("127.0.0.1", shared[0].getsockname()[1] if len(shared) > 1 else 0))
        shared[-1].listen()
    port = shared[0].getsockname()[1]
    eventually(lambda: find(agent, port) is not None)
    shared.pop().close()
    assert find(agent, port) is not None
    for left in shared:
        left.close()
    eventually(lambda: find(agent, port) is None)


def test_many_ask_at_once(execd):
    clients = [execd.new_client() for _ in range(20)]
    results = []
    threads = [threading.Thread(target=lambda c=c: results.append(c.get("/ports").status_code)) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert results == [200] * 20


def test_who_leaves_before_the_answer_is_forgotten(execd):
    for _ in range(50):
        with execd.connect() as connection:
            connection.sendall(b"GET /ports HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: integration-token-5b1e\r\n\r\n")
    assert ports(execd)["ports"]


def test_ports_are_events_while_somebody_follows(execd, follow):  # noqa: F811
    follower = follow()
    marker = socket.create_server(("127.0.0.1", 0))  # may be there before the first look: no event of its own then
    eventually(lambda: find(execd, marker.getsockname()[1]))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        opened = follower.wait("port_opened", port=port)
        assert opened["address"] == "127.0.0.1"
    follower.wait("port_closed", port=port)
    marker.close()
    assert not [e for _, _, e in follower.events if e.get("port") == execd.port], "what was there is no news"
