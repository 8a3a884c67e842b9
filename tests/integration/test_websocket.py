"""The WebSocket layer by raw bytes, over a sanitized server with an echo: hardening G01 to G04."""

import contextlib
import socket
import struct
import time

import pytest

from harness.execd import eventually
from harness.ws import BINARY, CLOSE, CONT, PING, PONG, TEXT, Refused, WebSocket, frame, handshake
from http_fixtures import *  # noqa: F401,F403  fixtures


@pytest.fixture
def connect(harness):
    opened = []

    def open_socket(path="/ws", *headers, **more):
        opened.append(WebSocket(harness.connect(), path, headers, **more))
        return opened[-1]

    yield open_socket
    for one in opened:
        one.drop()
    eventually(lambda: stats(harness)["unclosed"] == 0, message="a WebSocket has no end")


def stats(harness):
    return harness.ask(harness.head("GET", "/stats")).json()


# ---- G01: the classes of Autobahn, through sockets (every row of them: tests/unit/proto/http/test_ws_frame.c)


@pytest.mark.parametrize("size", [0, 125, 126, 127, 128, 65535, 65536, 1 << 20])
def test_g01_echo_of_every_size(connect, size):
    ws = connect()
    for opcode, byte in ((TEXT, b"*"), (BINARY, b"\xfe")):
        ws.send(opcode, byte * size)
        got = ws.read()
        assert (got.opcode, got.payload) == (opcode, byte * size)
    assert ws.close() == (1000, "")


def test_g01_chops(connect):
    ws = connect()
    data = frame(TEXT, "Hello-µ@ßöäüàá-UTF-8!!".encode()) + frame(PING, b"p") + frame(BINARY, bytes(200))
    for byte in data:
        ws.send_raw(bytes([byte]))
    assert ws.read_frame().payload.decode() == "Hello-µ@ßöäüàá-UTF-8!!"
    assert ws.read_frame()[:2] == (PONG, b"p")
    assert ws.read_frame().payload == bytes(200)


def test_g01_pings_between_fragments(connect):
    ws = connect()
    ws.send(TEXT, "frag", fin=False)
    for i in range(10):
        ws.send(PING, str(i))
    ws.send(PONG, b"unasked")
    ws.send(CONT, "ment")
    assert [ws.read_frame()[:2] for _ in range(10)] == [(PONG, str(i).encode()) for i in range(10)]
    assert ws.read().payload == b"fragment"


def test_g01_no_compression_is_negotiated(connect):
    ws = connect("/ws", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    assert "sec-websocket-extensions" not in ws.headers


def test_g01_frames_right_behind_the_handshake(connect):
    ws = connect("/ws", more=frame(TEXT, b"early"))
    assert ws.read().payload == b"early"


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 3000, 4999])
def test_g01_close_is_echoed(connect, harness, code):
    ws = connect()
    ws.send(CLOSE, struct.pack("!H", code) + b"bye")
    assert ws.read_close()[0] == code
    assert ws.is_at_end()
    eventually(lambda: stats(harness)["ws_code"] == code)


def test_g01_nothing_is_answered_after_a_close(connect):
    ws = connect()
    ws.send_raw(frame(CLOSE, struct.pack("!H", 1000)) + frame(TEXT, b"late") + frame(PING, b"late"))
    assert ws.read_frame().opcode == CLOSE
    assert ws.is_at_end() and not ws.buffer


# ---- G02: broken frames


BROKEN = {
    "unmasked": (frame(TEXT, b"x", mask=None), 1002),
    "reserved bit": (frame(TEXT, b"x", rsv=4), 1002),
    "reserved opcode 3": (frame(3, b"x"), 1002),
    "reserved control 11": (frame(11, b"x"), 1002),
    "fragmented ping": (frame(PING, b"x", fin=False), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "long close": (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    "continuation of nothing": (frame(CONT, b"x"), 1002),
    "message in a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 1002),
    "top bit": (frame(BINARY, b"", length=1 << 63), 1002),
    "too large": (frame(BINARY, b"", length=(1 << 20) + 1), 1009),
    "too large in parts": (frame(BINARY, bytes(1 << 19), fin=False) + frame(CONT, bytes((1 << 19) + 1)), 1009),
    "4 GiB": (frame(BINARY, b"", length=1 << 32), 1009),
    "text of bytes": (frame(TEXT, b"\xff\xfe"), 1007),
    "text cut": (frame(TEXT, b"\xe2\x82"), 1007),
    "text broken early": (frame(TEXT, b"\xed\xa0", fin=False), 1007),
    "close code 1005": (frame(CLOSE, struct.pack("!H", 1005)), 1002),
    "close code 65535": (frame(CLOSE, struct.pack("!H", 65535)), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "close reason of bytes": (frame(CLOSE, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize("name", BROKEN)
def test_g02_broken_frames(connect, harness, name):
    data, code = BROKEN[name]
    ws = connect()
    ws.send(TEXT, b"before")
    ws.send_raw(data)
    assert ws.read().payload == b"before"
    got, reason = ws.read_close()
    assert got == code and reason
    assert ws.is_at_end()
    ws.drop()
    eventually(lambda: stats(harness)["ws_code"] == code)
    assert harness.answers()


def test_g02_the_close_code_survives_what_is_still_sent(connect):
    ws = connect()
    with contextlib.suppress(OSError):
        ws.send_raw(frame(3, b"") + frame(BINARY, bytes(1 << 20)) * 4)
    assert ws.read_close()[0] == 1002


def test_g02_many_empty_fragments(connect, harness):
    ws = connect()
    ws.send(TEXT, b"a", fin=False)
    ws.send_raw(frame(CONT, b"", fin=False) * 10000)
    ws.send(PING)
    assert ws.read_frame().opcode == PONG
    before = harness.rss_kib()
    for _ in range(100):
        ws.send_raw(frame(CONT, b"", fin=False) * 1000)
    ws.send(CONT, b"z")
    assert ws.read().payload == b"az"
    assert harness.rss_kib() - before < 2048  # less than 21 bytes for each


def test_g02_a_length_that_lies_holds_no_memory(connect, harness):
    before = harness.rss_kib()
    for _ in range(20):
        connect().send_raw(frame(BINARY, b"x", length=1 << 20))
    assert harness.answers()
    assert harness.rss_kib() - before < 4096


# ---- G03: floods, silence, stalls


def test_g03_ping_flood_of_a_client_that_does_not_read(connect, harness):
    ws = connect()
    before = harness.rss_kib()
    flood = frame(PING, b"x" * 125) * 500
    ws.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        for _ in range(2000):  # 65 MB; the server stops reading long before
            ws.send_raw(flood)
        raise AssertionError("the server goes on reading without being read")
    assert harness.rss_kib() - before < 4096
    assert harness.answers()


def test_g03_pings_are_answered_at_speed(connect):
    ws = connect()
    for _ in range(20):
        ws.send_raw(b"".join(frame(PING, b"%d" % i) for i in range(100)))
        assert [ws.read_frame().payload for _ in range(100)] == [b"%d" % i for i in range(100)]


def test_g03_silence_is_death(connect, harness):
    ws = connect("/ws?fast=1")
    assert ws.read_frame().opcode == PING  # and is not answered
    assert ws.is_at_end()
    eventually(lambda: stats(harness)["ws_code"] == 1006)


def test_g03_pongs_keep_it_alive(connect):
    ws = connect("/ws?fast=1")
    deadline = time.monotonic() + 2.2  # twice what silence may last
    while time.monotonic() < deadline:
        assert ws.read_frame().opcode == PING
        ws.send(PONG)
    ws.send(TEXT, b"still here")
    assert ws.read().payload == b"still here"


def test_g03_a_stalled_reader_is_cut(connect, harness):
    before = harness.rss_kib()
    connect("/ws?fast=1&flood=1")
    eventually(lambda: stats(harness)["unclosed"] == 0, message="the stalled reader stays")
    assert harness.rss_kib() - before < 4096


def test_g03_a_reader_gets_all_that_is_produced(connect):
    ws = connect("/ws?flood=1")
    assert sum(len(ws.read().payload) for _ in range(500)) == 500 * 16384


def test_g03_a_paused_peer_is_held_back(connect, harness):
    ws = connect("/ws?fast=1")  # its pings find out that we have gone
    ws.send(TEXT, b"pause")
    ws.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            ws.send(BINARY, bytes(65536))
    assert harness.answers()


# ---- closing by the server


def test_server_closes(connect, harness):
    ws = connect()
    ws.send_raw(frame(TEXT, b"close me") + frame(TEXT, b"unheard"))
    assert ws.read_close() == (4321, "as you wish")
    ws.send(CLOSE, struct.pack("!H", 4321))
    assert ws.is_at_end()
    eventually(lambda: stats(harness)["ws_code"] == 4321)


def test_a_slow_reader_gets_all_up_to_the_close_frame(harness):
    """It takes longer for what is queued than close_ms, but it does take it."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", harness.port))
        ws = WebSocket(client, "/ws?flood=1&close_ms=1000")
        ws.send(TEXT, "close me")
        tail, data = b"", b"."
        while data:
            time.sleep(0.05)
            data = client.recv(2048)
            tail = (tail + data)[-100:]
        assert tail.endswith(struct.pack("!H", 4321) + b"as you wish")


def test_server_closes_and_the_client_never_answers(connect, harness):
    ws = connect("/ws?fast=1")
    ws.send(TEXT, b"close me")
    assert ws.read_close() == (4321, "as you wish")
    assert ws.is_at_end()


def test_server_aborts(connect, harness):
    ws = connect()
    ws.send(TEXT, b"abort me")
    assert ws.is_at_end()
    eventually(lambda: stats(harness)["ws_code"] == 1006)


def test_client_vanishes(connect, harness):
    connect().drop()
    eventually(lambda: stats(harness)["unclosed"] == 0)
    assert stats(harness)["ws_code"] == 1006


# ---- G04: handshakes


def refused(harness, data):
    response = harness.ask(data)
    error = response.json()
    assert error["code"] and error["message"]
    return response


@pytest.mark.parametrize("key", ["", "short", "A" * 24, "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZR!=", "=" * 24,
                                 "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="])
def test_g04_bad_keys(harness, key):
    data = handshake("/ws", key="KEY").replace(b"KEY", key.encode())
    assert refused(harness, data).status == 400


def test_g04_two_keys(harness):
    assert refused(harness, handshake("/ws", ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="])).status == 400


@pytest.mark.parametrize("version", ["8", "0", "14", "13, 8", "", "thirteen"])
def test_g04_other_versions(harness, version):
    response = refused(harness, handshake("/ws", version=version))
    assert response.status == 426 and response.get("sec-websocket-version") == "13"


@pytest.mark.parametrize("change", [
    (b"Upgrade: websocket", b"X-Upgrade: websocket"),
    (b"Upgrade: websocket", b"Upgrade: h2c"),
    (b"Connection: Upgrade", b"Connection: keep-alive"),
    (b"HTTP/1.1", b"HTTP/1.0"),
    (b"websocket", b"websocketz"),
])
def test_g04_no_upgrade(harness, change):
    assert refused(harness, handshake("/ws").replace(*change)).status == 400


def test_g04_head_opens_no_websocket(harness):
    data = harness.talk(handshake("/ws", ["Connection: close"]).replace(b"GET", b"HEAD"))
    assert data.startswith(b"HTTP/1.1 400 ") and data.endswith(b"\r\n\r\n")


def test_g04_a_body_is_not_taken_for_frames(harness):
    data = handshake("/ws", ["Content-Length: 7"]) + frame(TEXT, b"x")
    assert refused(harness, data).status == 400


@pytest.mark.parametrize("offer, chosen", [
    ("chat.v1", "chat.v1"),
    ("chat.v1, chat.v2", "chat.v2"),
    ("other, , chat.v1", "chat.v1"),
    ("CHAT.V1", None),
    ("chat.v1\x0b", None),
    ("," * 100, None),
])
def test_g04_subprotocols(connect, offer, chosen):
    try:
        assert connect("/ws", f"Sec-WebSocket-Protocol: {offer}").headers.get("sec-websocket-protocol") == chosen
    except Refused as refusal:
        assert refusal.status == 400 and "\x0b" in offer


@pytest.mark.parametrize("origin, ok", [
    ("http://execd", True), ("https://EXECD", True), ("http://evil.example", False), ("null", False),
    ("http://execd.evil.example", False), ("http://execd:1", False), ("file://", False), ("", False),
])
def test_e06_origin(connect, origin, ok):
    if ok:
        connect("/ws", f"Origin: {origin}")
        return
    with pytest.raises(Refused) as refusal:
        connect("/ws", f"Origin: {origin}")
    assert refusal.value.status == 403 and refusal.value.json()["code"] == "FORBIDDEN"
