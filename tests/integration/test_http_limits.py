"""What a crowd of connections cannot do: hold every slot, spin the loop, or lock the health probe out."""

import contextlib
import resource
import socket
import time

import pytest

from harness.execd import eventually
from http_fixtures import drain, read_response, run_harness
from http_fixtures import harness, harness_binary  # noqa: F401


def cpu_seconds(server):
    fields = open(f"/proc/{server.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_D53_idle_connections_give_way(harness_binary):
    with run_harness(harness_binary, CONNS_MAX="30") as server, contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(30)]
        time.sleep(0.1)
        assert server.answers()
        assert drain(held[0]) == b""  # the oldest made room


def test_D53_the_reserve_serves_open_routes_only(harness_binary):
    with run_harness(harness_binary, CONNS_MAX="20") as server, contextlib.ExitStack() as stack:
        for _ in range(4):  # 20 less the reserve of 16
            s = stack.enter_context(server.connect())
            s.sendall(server.head("GET", "/wait?ms=1000"))
        time.sleep(0.1)
        response = server.ask(server.head("GET", "/echo/x"))
        assert (response.status, response.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert server.ask(server.head("GET", "/ping")).status == 200


def test_D54_running_out_of_descriptors(harness_binary):
    with run_harness(harness_binary) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, 40))
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(server.connect()) for _ in range(60)]
            time.sleep(0.2)
            before = cpu_seconds(server)
            time.sleep(0.5)
            assert cpu_seconds(server) - before < 0.2  # no busy loop
            held[0].sendall(server.head("GET", "/echo/x"))
            assert read_response(held[0].makefile("rb")).status == 200  # those inside are served
        for _ in range(50):
            with contextlib.suppress(ConnectionError, AssertionError, AttributeError):
                if server.answers():
                    break
            time.sleep(0.1)
        assert server.answers()


def test_D54_connection_churn(harness):
    before = harness.fds()
    for _ in range(3000):
        harness.connect().close()
    assert harness.answers()
    eventually(lambda: harness.fds() <= before + 1)


def test_idle_costs_no_cpu(harness):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            s = stack.enter_context(harness.connect())
            s.sendall(harness.head("GET", "/ping"))
            s.recv(1000)
        before = cpu_seconds(harness)
        time.sleep(1)
        assert cpu_seconds(harness) - before <= 0.02


def check_quiet(server):
    before = cpu_seconds(server)
    time.sleep(0.5)
    assert cpu_seconds(server) - before < 0.1  # no busy loop


@pytest.mark.parametrize("framing", ["Content-Length: 60000", "Transfer-Encoding: chunked"])
def test_a_refused_body_that_never_comes_costs_no_cpu(harness, framing):
    with harness.connect() as s:
        s.sendall(harness.head("POST", "/count", "X-Token: wrong", framing))
        f = s.makefile("rb")
        assert read_response(f).status == 401
        check_quiet(harness)
        s.sendall(bytes(60000) if "Length" in framing else b"5\r\nhello\r\n0\r\n\r\n")
        s.sendall(harness.head("GET", "/ping"))  # the connection goes on behind it
        assert read_response(f).status == 200


def test_a_stream_that_is_written_from_outside_costs_no_cpu(harness):
    with harness.connect() as s:
        s.sendall(harness.head("GET", "/ticks?n=1"))
        assert b" 200 " in s.recv(1000)
        check_quiet(harness)


def test_a_client_that_stops_reading_what_is_written_from_outside(harness_binary):
    """It is found out also where no other deadline of its connection was left."""
    with run_harness(harness_binary, STALL_MS="600") as server, socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.settimeout(5)
        s.connect(("127.0.0.1", server.port))
        s.sendall(server.head("GET", "/ticks?n=65536"))
        until = time.monotonic() + server.head_deadline_s + 0.5
        while time.monotonic() < until:
            assert s.recv(65536)
        deadline = time.monotonic() + 10
        while server.ask(server.head("GET", "/stats")).json()["unclosed"]:
            assert time.monotonic() < deadline, "nobody noticed"
            time.sleep(0.1)
