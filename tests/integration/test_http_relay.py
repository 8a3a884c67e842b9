"""The relay against hostile and plain backends (rows I02, I03, I04 and the contract of the server's proxy)."""

import contextlib
import hashlib
import os
import socket
import struct
import threading
import time

import pytest

from harness.execd import eventually
from harness.patience import PATIENCE_S
from http_fixtures import Backend, drain, read_response, run_harness, send, split_responses
from http_fixtures import backend, harness_binary, relay  # noqa: F401


def answer(text):
    def script(connection, request):
        Backend.read_body(request)
        connection.sendall(text.encode("latin-1"))

    return script


OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_I02_the_request_is_written_anew(relay, backend):
    backend.script = answer(OK)
    fields = ["X-A: 1", "x-a: 2", "Connection: keep-alive, X-Drop", "X-Drop: y", "Keep-Alive: 5", "TE: trailers",
              "Proxy-Authorization: z", "Trailer: q", "Content-Length: 3"]
    assert relay.ask(relay.head("PUT", "/relay/a%2Fb/../c?x=%20&y", *fields) + b"abc").body == b"ok"
    request = backend.requests[0]
    assert request["line"] == "PUT /a%2Fb/../c?x=%20&y HTTP/1.1"
    names = [f.split(":")[0].lower() for f in request["fields"]]
    assert [f for f in request["fields"] if f.lower().startswith("x-a:")] == ["X-A: 1", "x-a: 2"]
    assert not {"x-drop", "keep-alive", "te", "proxy-authorization", "trailer", "transfer-encoding"} & set(names)
    assert "connection" not in names and names.count("content-length") == 1
    assert request["body"] == b"abc"


def test_I02_announced_trailers_pass(relay, backend):
    backend.script = answer("HTTP/1.1 200 OK\r\nTrailer: X-Sum,x-empty\r\nTrailer: Connection, Server\r\nTransfer-Encoding: "
                            "chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum:  abc \t\r\nX-Empty:\r\nX-Unasked: 1\r\nConnection: x\r\n"
                            "Server: evil\r\n\r\n")
    got = relay.talk(relay.head("GET", "/relay/", "Connection: close"))
    assert b"\r\nTrailer: X-Sum,x-empty\r\n" in got
    assert got.endswith(b"2\r\nok\r\n0\r\nX-Sum: abc\r\nX-Empty: \r\n\r\n")
    got = relay.talk(b"GET /relay/ HTTP/1.0\r\nHost: x\r\n\r\n")  # no chunks, so no trailers
    assert got.endswith(b"\r\n\r\nok")


def test_I02_smuggled_requests_do_not_reach_the_backend(relay, backend):
    backend.script = answer(OK)
    for fields, body in [
        (["Transfer-Encoding: chunked", "Content-Length: 4"], b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"),
        (["Content-Length: 4", "Content-Length: 40"], b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"),
        (["Transfer-Encoding: xchunked"], b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"),
    ]:
        assert [r.status for r in split_responses(relay.talk(relay.head("POST", "/relay/x", *fields) + body))] == [400]
    relay.talk(relay.head("POST", "/relay/x", "Transfer-Encoding: chunked") + b"5\r\nhello\r\nZZ\r\nGET /evil")
    time.sleep(0.1)
    assert [r["line"].split()[1] for r in backend.requests] in (["/x"], [])


def test_I03_forwarding_fields_are_rebuilt_and_secrets_dropped(relay, backend):
    backend.script = answer(OK)
    fields = ["X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Forwarded-Host: evil",
              "X-Secret: s", "X-Added: mine", "Cookie: c"]
    assert relay.ask(relay.head("GET", "/relay/", *fields)).status == 200
    got = backend.requests[0]["fields"]
    assert "X-Forwarded-For: 127.0.0.1" in got and "X-Forwarded-Host: x" in got and "X-Forwarded-Proto: http" in got
    assert "X-Added: yes" in got and "Cookie: c" in got and "Host: x" in got
    assert not any("6.6.6.6" in f or "evil" in f or "mine" in f or "X-Secret" in f for f in got)


def test_bodies_stream_both_ways_unchanged(relay, backend):
    def echo(connection, request):
        body = Backend.read_body(request)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(body), 50000):
            part = body[i : i + 50000]
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")

    backend.script = echo
    data = os.urandom(3_000_000)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (data[:1], data[1:1000], data[1000:])) + b"0\r\n\r\n"
    for request in (
        relay.head("POST", "/relay/", f"Content-Length: {len(data)}") + data,
        relay.head("POST", "/relay/", "Transfer-Encoding: chunked") + chunks,
    ):
        with relay.connect(timeout=20) as s:
            s.sendall(request)
            response = read_response(s.makefile("rb"))
        assert hashlib.sha256(response.body).digest() == hashlib.sha256(data).digest()


def test_every_byte_is_passed_on_at_once(relay, backend):
    """The next event is sent when the one before it has been seen."""
    seen = [threading.Event() for _ in range(3)]

    def slow(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for i in range(3):
            connection.sendall(b"event %d\n\n" % i)
            assert seen[i].wait(PATIENCE_S)

    backend.script = slow
    with relay.connect() as s:
        s.sendall(relay.head("GET", "/relay/"))
        data = b""
        for i in range(3):
            while b"event %d" % i not in data:
                data += s.recv(65536)
            seen[i].set()


@pytest.mark.parametrize(
    "text",
    ["", "HTTP/1.1 200 OK\r\nContent-Length: 2", "SSH-2.0-x\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 99 X\r\n\r\n",
     "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
     "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "HTTP/1.1 200 OK\r\nA: " + "a" * 70000 + "\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n" * 20 + OK,
     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"],
    ids=lambda t: ascii(t[:40]),
)
def test_I04_broken_answers_become_502(relay, backend, text):
    backend.script = answer(text)
    response = relay.ask(relay.head("GET", "/relay/"))
    assert (response.status, response.json()["code"]) == (502, "BACKEND_RESPONSE_FAILED")
    assert "127.0.0.1" not in response.json()["message"]


@pytest.mark.parametrize(
    "text",
    ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nZ\r\n"],
)
def test_I04_a_backend_that_dies_midway_is_never_a_whole_answer(relay, backend, text):
    backend.script = answer(text)
    data = relay.talk(relay.head("GET", "/relay/"))
    assert not data.endswith(b"0\r\n\r\n")
    with pytest.raises((AssertionError, ValueError)):
        split_responses(data)


def test_I04_a_reset_midway_of_an_until_close_body(relay, backend):
    seen = threading.Event()

    def reset(connection, request):
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhalf")
        assert seen.wait(PATIENCE_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    backend.script = reset
    with relay.connect() as s:
        s.sendall(relay.head("GET", "/relay/"))
        data = b""
        while b"half" not in data:
            data += s.recv(65536)
        seen.set()
        assert not (data + drain(s)).endswith(b"0\r\n\r\n")


def test_I04_silence_is_a_timeout(relay, backend):
    backend.script = lambda connection, request: request["file"].read()  # until the relay leaves
    response = relay.ask(relay.head("GET", "/relay/"))
    assert (response.status, response.json()["code"]) == (504, "BACKEND_TIMEOUT")


def test_a_refused_connection(relay, backend):
    backend.close()
    response = relay.ask(relay.head("POST", "/relay/", "Expect: 100-continue", "Content-Length: 5"))
    assert (response.status, response.json()["code"]) == (502, "BACKEND_CONNECTION_FAILED")


def test_response_fields(relay, backend):
    backend.script = answer(
        "HTTP/1.1 302 Found\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nLocation: /login?x\r\nConnection: X-Hop\r\n"
        "X-Hop: y\r\nKeep-Alive: 9\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok"
    )
    response = relay.ask(relay.head("GET", "/relay/"))
    assert (response.status, response.body) == (302, b"ok")
    assert response.fields["set-cookie"] == ["a", "b"]
    assert response.fields["location"] == ["/relay/login?x"]
    assert response.fields["content-type"] == ["text/html"]
    assert not {"server", "x-hop", "keep-alive"} & response.fields.keys()
    backend.script = answer("HTTP/1.1 302 Found\r\nLocation: //other/x\r\nContent-Length: 0\r\n\r\n")
    assert relay.ask(relay.head("GET", "/relay/")).get("location") == "//other/x"


def test_bodiless_answers_keep_the_connection(relay, backend):
    scripts = ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
               "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    with relay.connect() as s:
        f = s.makefile("rb")
        for text, status in zip(scripts, (204, 304, 200)):
            backend.script = answer(text)
            s.sendall(relay.head("GET", "/relay/"))
            assert read_response(f).status == status
        backend.script = answer("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
        s.sendall(relay.head("HEAD", "/relay/"))
        assert read_response(f, head_request=True).get("content-length") == "7"
        backend.script = answer(OK)
        s.sendall(relay.head("GET", "/relay/"))
        assert read_response(f).body == b"ok"


def test_an_early_answer_ends_the_upload(relay, backend):
    def early(connection, request):
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.5)

    backend.script = early
    with relay.connect(timeout=10) as s:
        s.sendall(relay.head("POST", "/relay/", "Content-Length: 100000000"))
        send(s, bytes(2_000_000))
        assert read_response(s.makefile("rb")).status == 403


def test_continue_comes_once_the_backend_is_there(relay, backend):
    backend.script = answer(OK)
    with relay.connect() as s:
        f = s.makefile("rb")
        s.sendall(relay.head("POST", "/relay/", "Expect: 100-continue", "Content-Length: 3"))
        assert read_response(f).status == 100
        s.sendall(b"abc")
        assert read_response(f).body == b"ok"
    assert backend.requests[0]["body"] == b"abc"
    assert not any(x.lower().startswith("expect") for x in backend.requests[0]["fields"])


def test_a_client_that_leaves_closes_the_backend(relay, backend):
    ended = []

    def watch(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nx")
        ended.append(connection.recv(10))

    backend.script = watch
    with relay.connect() as s:
        s.sendall(relay.head("GET", "/relay/"))
        s.recv(1000)
        time.sleep(0.4)
    eventually(lambda: ended)
    assert ended == [b""]


def test_a_broken_upload_is_not_taken_for_a_whole_one(relay, backend):
    bodies = []

    def script(connection, request):
        try:
            bodies.append(Backend.read_body(request))
        except (AssertionError, ValueError, OSError):
            bodies.append(None)

    backend.script = script
    with relay.connect() as s:
        s.sendall(relay.head("POST", "/relay/", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
        time.sleep(0.2)
    eventually(lambda: bodies)
    assert bodies == [None]


def test_memory_is_flat_when_one_side_stalls(relay, backend):
    def flood(connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\n")
        block = bytes(1 << 20)
        for _ in range(300):
            connection.sendall(block)

    backend.script = flood
    relay.ask(relay.head("GET", "/ping"))
    before = relay.rss_kib()
    with relay.connect() as s:
        s.sendall(relay.head("GET", "/relay/"))
        time.sleep(1)
        assert relay.rss_kib() - before < 8192
    over = threading.Event()
    backend.script = lambda connection, request: over.wait(PATIENCE_S)
    with relay.connect(timeout=1) as s:
        s.sendall(relay.head("POST", "/relay/", "Content-Length: 300000000"))
        with pytest.raises(TimeoutError):
            for _ in range(300):
                s.sendall(bytes(1 << 20))
        assert relay.rss_kib() - before < 8192
    over.set()


def test_websockets_become_tunnels(relay, backend):
    def tunnel(connection, request):
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Accept: k\r\n\r\nfirst")
        while data := request["file"].read1(65536):
            connection.sendall(data)

    backend.script = tunnel
    fields = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: k"]
    payload = os.urandom(1_000_000)
    with relay.connect(timeout=10) as s:
        f = s.makefile("rb")
        s.sendall(relay.head("GET", "/relay/ws", *fields) + b"early")
        response = read_response(f)
        assert response.status == 101 and response.get("sec-websocket-accept") == "k"
        assert f.read(10) == b"firstearly"
        for i in range(0, len(payload), 100000):
            s.sendall(payload[i : i + 100000])
            assert f.read(100000) == payload[i : i + 100000]
        s.shutdown(socket.SHUT_WR)
        assert drain(s) == b""
    assert "Upgrade: websocket" in backend.requests[0]["fields"]
    assert "Connection: Upgrade" in backend.requests[0]["fields"]


def test_D53_tunnels_are_counted(harness_binary, backend):
    """A tunnel is no connection of the server's any more, yet it holds two descriptors."""

    def tunnel(connection, request):
        if request["line"].startswith("GET /ws "):
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            request["file"].read(1)
        else:
            connection.sendall(OK.encode())

    def ask(s):
        s.sendall(server.head("GET", "/relay/ws", "Upgrade: websocket", "Connection: Upgrade"))
        return read_response(s.makefile("rb"))

    def ask_another():
        with server.connect() as s:
            return ask(s)

    backend.script = tunnel
    with run_harness(harness_binary, backend.port, CONNS_MAX="20") as server, contextlib.ExitStack() as stack:
        tunnels = [stack.enter_context(server.connect())]
        while ask(tunnels[-1]).status == 101 and len(tunnels) < 30:
            tunnels.append(stack.enter_context(server.connect()))
        assert len(tunnels) == 20 + 1
        response = ask_another()
        assert (response.status, response.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
        response = server.ask(server.head("GET", "/ws", "Upgrade: websocket", "Connection: Upgrade",
                                          "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
        assert response.status == 503, "and so are all WebSockets"
        assert server.ask(server.head("GET", "/relay/")).body == b"ok"
        tunnels[0].close()  # its place is free again
        eventually(lambda: ask_another().status == 101)


def test_other_upgrades_are_not_passed_on(relay, backend):
    backend.script = answer(OK)
    assert relay.ask(relay.head("GET", "/relay/", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings",
                                "HTTP2-Settings: x")).status == 200
    got = backend.requests[0]["fields"]
    assert not any(f.lower().startswith(("connection:", "upgrade:")) or "h2c" in f or "HTTP2" in f for f in got)


def test_tunnels_end_when_the_backend_dies(relay, backend):
    def tunnel(connection, request):
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        time.sleep(0.2)

    backend.script = tunnel
    with relay.connect() as s:
        s.sendall(relay.head("GET", "/relay/ws", "Upgrade: websocket", "Connection: Upgrade"))
        assert drain(s).startswith(b"HTTP/1.1 101 ")


# ---- connections that are kept -----------------------------------------------------------------------


def serve_many(answers, ended=None):
    """A script that answers request after request on its connection, and then closes it."""

    def script(connection, request):
        f, backend_requests = request["file"], []
        for text in answers:
            Backend.read_body(request)
            connection.sendall(text.encode("latin-1"))
            if text is answers[-1] and ended is not None:
                ended.append(f.read(1))
                return
            line = f.readline().decode("latin-1").rstrip("\r\n")
            if not line:
                return
            fields = []
            while (field := f.readline()) not in (b"\r\n", b""):
                fields.append(field.decode("latin-1").rstrip("\r\n"))
            request = {"line": line, "fields": fields, "file": f, "body": None}
            request["again"] = True
            backend_requests.append(request)
            script.again.append(request)

    script.again = []
    return script


def test_a_backend_connection_serves_many_requests(relay, backend):
    backend.script = serve_many([OK] * 10)
    for i in range(5):
        assert relay.ask(relay.head("GET", f"/relay/{i}")).body == b"ok"
    assert len(backend.requests) == 1 and len(backend.script.again) == 4


def test_different_clients_never_see_each_others_answers(relay, backend):
    def echo(connection, request):
        while True:
            path = request["line"].split()[1]
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(path)}\r\n\r\n{path}".encode())
            line = request["file"].readline().decode("latin-1").rstrip("\r\n")
            if not line:
                return
            while request["file"].readline() not in (b"\r\n", b""):
                pass
            request = {"line": line, "file": request["file"]}

    backend.script = echo
    with relay.connect() as a, relay.connect() as b:
        fa, fb = a.makefile("rb"), b.makefile("rb")
        for i in range(20):
            a.sendall(relay.head("GET", f"/relay/a{i}"))
            b.sendall(relay.head("GET", f"/relay/b{i}"))
            assert (read_response(fa).body, read_response(fb).body) == (f"/a{i}".encode(), f"/b{i}".encode())
    assert len(backend.requests) <= 2


def test_a_kept_connection_that_has_closed_costs_nothing(relay, backend):
    backend.script = answer(OK)  # closes behind its answer without saying so
    for _ in range(50):
        assert relay.ask(relay.head("GET", "/relay/")).body == b"ok"
        assert relay.ask(relay.head("POST", "/relay/", "Content-Length: 2") + b"ab").body == b"ok"


def test_a_question_is_asked_again_where_a_kept_connection_dies_with_it(relay, backend):
    def once(connection, request):
        connection.sendall(OK.encode())
        request["file"].readline()  # reads the next question and goes

    backend.script = once
    assert relay.ask(relay.head("GET", "/relay/1")).body == b"ok"
    assert relay.ask(relay.head("GET", "/relay/2")).body == b"ok"
    assert [r["line"].split()[1] for r in backend.requests] == ["/1", "/2"]


def test_a_change_is_never_asked_twice(relay, backend):
    def once(connection, request):
        Backend.read_body(request)
        connection.sendall(OK.encode())
        request["file"].readline()

    backend.script = once
    assert relay.ask(relay.head("GET", "/relay/1")).body == b"ok"
    response = relay.ask(relay.head("POST", "/relay/2", "Content-Length: 2") + b"ab")
    assert response.body == b"ok" and [r["line"].split()[1] for r in backend.requests] == ["/1", "/2"]


@pytest.mark.parametrize("text", ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
                                  "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", OK + "HTTP/1.1 200 OK\r\n"],
                         ids=["close", "http10", "more than asked"])
def test_I02_what_may_not_be_kept(relay, backend, text):
    ended = []
    backend.script = serve_many([text], ended)
    assert relay.ask(relay.head("GET", "/relay/1")).body == b"ok"
    eventually(lambda: ended)
    assert ended == [b""], "closed by the relay, without another request"


def test_I02_words_without_a_question_are_no_answer(relay, backend):
    answered, ended = threading.Event(), []

    def chatter(connection, request):
        connection.sendall(OK.encode())
        assert answered.wait(PATIENCE_S)
        with_evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        connection.sendall(with_evil.encode())
        ended.append(request["file"].read(1))

    backend.script = chatter
    assert relay.ask(relay.head("GET", "/relay/1")).body == b"ok"
    answered.set()
    eventually(lambda: ended == [b""])
    backend.script = answer(OK)
    assert relay.ask(relay.head("GET", "/relay/2")).body == b"ok"
    assert len(backend.requests) == 2


def test_kept_connections_are_few(relay, backend):
    before = relay.fds()

    def slow(connection, request):
        time.sleep(0.5)
        connection.sendall(OK.encode())
        request["file"].read(1)

    backend.script = slow
    clients = [relay.connect() for _ in range(100)]
    for client in clients:
        client.sendall(relay.head("GET", "/relay/"))
    for client in clients:
        assert read_response(client.makefile("rb")).body == b"ok"
        client.close()
    eventually(lambda: relay.fds() - before <= 64 + 2)
