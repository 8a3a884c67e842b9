"""A server that was stopped, as a paused sandbox's is: what arrived meanwhile is read before anything is late."""

import os
import socket
import threading
import time

from harness.execd import eventually
from harness.patience import PATIENCE_S
from harness.stopped import stopped
from harness.ws import TEXT, WebSocket, frame
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
    for _ in range(20):
        begun = time.monotonic()
        with harness.connect() as s:
            send(s, harness.head("GET", "/wait?ms=1500"))
            eventually(lambda: stats(harness)["unclosed"] == 1)
            with stopped(harness.process.pid, 0.5):
                is_soon = time.monotonic() - begun < 0.2  # later it is no half-close, stop or not
                s.shutdown(socket.SHUT_WR)
            answer = drain(s)
        if is_soon:
            break
        eventually(lambda: stats(harness)["unclosed"] == 0)
    assert is_soon, "the machine is too slow for this test"
    assert b" 200 OK" in answer


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


# ---- last words: a peer says something and resets the connection, and both are seen together

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def open_tunnel(relay, s):
    send(s, relay.head("GET", "/relay/ws", "Upgrade: websocket", "Connection: Upgrade"))
    assert read_response(s.makefile("rb", buffering=0)).status == 101


def test_the_last_words_of_a_tunnels_backend(relay, backend):
    ready, go, over = threading.Event(), threading.Event(), threading.Event()

    def script(connection, request):
        connection.sendall(SWITCH)
        connection.recv(1, socket.MSG_PEEK)
        ready.set()
        assert go.wait(20)
        connection.sendall(b"last words")
        os.close(connection.detach())  # with something unread: a reset
        over.set()

    backend.script = script
    with relay.connect() as s:
        open_tunnel(relay, s)
        send(s, b"nobody reads this")
        assert ready.wait(20)
        with stopped(relay.process.pid, 0):
            go.set()
            assert over.wait(20)
        assert drain(s) == b"last words"


def test_the_last_words_of_a_tunnels_client(relay, backend):
    heard = []

    def script(connection, request):
        connection.sendall(SWITCH + b"nobody reads this")
        heard.append(connection.recv(100))

    backend.script = script
    with relay.connect() as s:
        open_tunnel(relay, s)
        s.recv(1, socket.MSG_PEEK)
        with stopped(relay.process.pid, 0):
            send(s, b"last words")
            s.close()
        eventually(lambda: heard)
    assert heard == [b"last words"]


def test_the_last_words_of_a_websocket(harness):
    """While it takes nothing of what is sent to it, which shows first."""
    with WebSocket(harness.connect(), "/ws?flood=1") as ws:
        ws.socket.recv(1, socket.MSG_PEEK)
        with stopped(harness.process.pid, 0):
            ws.send_raw(frame(TEXT, b"close me"))
            ws.drop()
        eventually(lambda: stats(harness)["unclosed"] == 0)
        assert stats(harness)["ws_code"] == 4321


# ---- a request and the order to end, seen together


def test_a_request_that_came_before_the_order_to_end(harness):
    with harness.connect() as kept, socket.socket() as fresh:
        with stopped(harness.process.pid, 0):
            fresh.connect(("127.0.0.1", harness.port))
            for s in (kept, fresh):
                send(s, harness.head("GET", "/wait"))
            harness.process.terminate()
        for s in (kept, fresh):
            response = read_response(s.makefile("rb"))
            assert (response.status, response.body, response.get("connection")) == (200, b"waited", "close")
    assert harness.process.wait(PATIENCE_S) == 0
