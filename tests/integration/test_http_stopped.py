"""A server that was stopped, as a paused sandbox's is: what arrived meanwhile is read before anything is late."""

import socket
import threading

from harness.execd import eventually
from harness.stopped import stopped
from harness.ws import TEXT, WebSocket
from http_fixtures import *  # noqa: F401,F403  fixtures
from http_fixtures import drain, read_response, send

FILLER = "X-Filler: " + "x" * 6000  # more than is read at once


def stats(server):
    return server.ask(server.head("GET", "/stats")).json()


def test_a_head_that_came_in_time(harness):
    head = harness.head("GET", "/ping", FILLER)
    with harness.connect() as s:
        send(s, head[:20])
        eventually(lambda: stats(harness)["open"] == 2)
        with stopped(harness.process.pid, harness.head_deadline_s + 0.3):
            send(s, head[20:])
        assert read_response(s.makefile("rb")).status == 200


def test_a_request_and_its_half_close_with_a_stop_between(harness):
    with harness.connect() as s:
        send(s, harness.head("GET", "/wait?ms=1500"))
        eventually(lambda: stats(harness)["unclosed"] == 1)
        with stopped(harness.process.pid, 0.5):
            s.shutdown(socket.SHUT_WR)
        assert b" 200 OK" in drain(s)


def test_a_websocket_that_could_not_be_asked(harness):
    """The silence was the server's: it has sent no ping that could have been answered."""
    with WebSocket(harness.connect(), "/ws?fast=1") as ws:
        ws.send(TEXT, "before")
        assert ws.read().payload == b"before"
        with stopped(harness.process.pid, 1.5):
            pass
        ws.send(TEXT, "behind")
        assert ws.read().payload == b"behind"
        ws.drop()


def test_an_answer_that_a_backend_gave_in_time(relay, backend):
    asked, go = threading.Event(), threading.Event()

    def script(connection, request):
        asked.set()
        assert go.wait(20)
        connection.sendall(f"HTTP/1.1 200 OK\r\n{FILLER}\r\nContent-Length: 2\r\n\r\nok".encode())

    backend.script = script
    with relay.connect() as s:
        send(s, relay.head("GET", "/relay/x"))
        assert asked.wait(20)
        with stopped(relay.process.pid, 2.3):
            go.set()
        response = read_response(s.makefile("rb"))
        assert (response.status, response.body) == (200, b"ok")
