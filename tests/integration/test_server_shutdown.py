"""SIGTERM to execd-server: requests under way get their grace on every listener, nobody new is let in (README, Running it)."""

import json
import os
import signal
import socket

import pytest

from harness.execd import eventually
from harness.patience import PATIENCE_S
from harness.server import KEY, Server, write_config

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the built-in runtime needs root")

ENCLAVE = '[enclave]\nlisten = "127.0.0.1:0"\n'
BODY = json.dumps({"image": "no-such-image"}).encode()


def begin_create(port):
    """A request for a sandbox that cannot be, but for its body."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    connection.sendall((f"POST /sandbox/create?sandbox_type=docker HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
                        f"Content-Length: {len(BODY)}\r\nExpect: 100-continue\r\n\r\n").encode())
    assert b" 100 " in connection.recv(100)  # it has begun
    return connection


def ports(server):
    return server.port, int(server.wait_log("listening for ms-enclave")["port"])


def is_refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except ConnectionRefusedError:
        return True
    return False


def test_every_listener_drains(tmp_path):
    with Server(tmp_path, group="execd-test-stop", extra=ENCLAVE) as server:
        listening = ports(server)
        requests = [begin_create(port) for port in listening]
        server.client.close()
        server.process.send_signal(signal.SIGTERM)
        server.wait_log("stopping; sandboxes keep running")
        for port in listening:
            eventually(lambda: is_refused(port))
        for request in requests:
            assert server.process.poll() is None
            request.sendall(BODY)
            answer = request.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 404 ") and b"no-such-image" in answer
        assert server.process.wait(PATIENCE_S) == 0


def test_a_second_signal_waits_for_nobody(tmp_path):
    patient = tmp_path / "patient.toml"
    text = write_config(tmp_path, "execd-test-stop", ENCLAVE).read_text()
    patient.write_text(text.replace("port = 0\n", "port = 0\ntimeout_graceful_shutdown = 600\n"))
    with Server(tmp_path, "--config", str(patient), group="execd-test-stop", extra=ENCLAVE) as server:
        requests = [begin_create(port) for port in ports(server)]
        server.client.close()
        server.process.send_signal(signal.SIGTERM)
        server.wait_log("stopping; sandboxes keep running")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        for request in requests:
            assert request.makefile("rb").read() == b""
