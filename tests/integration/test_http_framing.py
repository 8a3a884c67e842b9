"""Rows D of the attack list (and E02) against the HTTP layer, byte by byte over raw sockets."""

import concurrent.futures
import random
import select
import socket
import struct
import time

import pytest

from harness.execd import eventually
from harness.patience import PATIENCE_S
from http_fixtures import drain, read_response, run_harness, send, split_responses
from http_fixtures import harness, harness_binary, server  # noqa: F401

END = "\r\n\r\n"
SMUGGLED = b"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n"

MALFORMED_FIELDS = [
    "Content-Length: +1", "Content-Length: 1_0", "Content-Length: +1_0", "Content-Length: 010", "Content-Length:",
    "Content-Length: -1", "Content-Length: 0x1", "Content-Length: 1Z", "Content-Length: 1 2", "Content-Length: 1,1",
    "Content-Length: 1\r\nContent-Length: 1", "Content-Length: 1\r\nContent-Length: 2", "Content-Length: 1\xa0",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: \xa0chunked", "Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: xchunked", "Transfer-Encoding: identity", "Transfer-Encoding:",
    "Transfer-Encoding: chunked, identity", "Transfer-Encoding : chunked", "Content-Length : 5",
    " Content-Length: 5", "X: y\r\n folded", "X: y\r\n\tfolded", ": no name", "no colon", "na me: x", "X: a\rb",
    "X: a\nY: b", "X: a\r\n\rX: b", "X: a\x00b", "X: a\x01b",
]


def assert_refused(server, data, statuses=(400,)):
    """Exactly one typed error and a close: nothing behind it was taken for a request."""
    found = split_responses(server.talk(data))
    assert [r.status for r in found if r.status not in statuses] == [], data
    assert len(found) == 1, data
    assert found[0].get("connection") == "close"
    assert {"code", "message"} <= found[0].json().keys()


@pytest.mark.parametrize("fields", MALFORMED_FIELDS, ids=lambda f: ascii(f)[1:-1])
def test_D01_D48_malformed_fields(server, fields):
    assert_refused(server, server.head("POST", server.post, fields) + SMUGGLED)


@pytest.mark.parametrize(
    "line",
    ["POST {p} HTTP/1.1 ", "POST  {p} HTTP/1.1", "POST {p}  HTTP/1.1", "POST {p} x HTTP/1.1", "POST\t{p} HTTP/1.1",
     "POST {p}", "POST {p} HTTP/1.2", "POST {p} HTTP/2.0", "POST {p} HTTP/0.9", "POST {p} HTTP/1.10",
     "POST {p} HTTP/1.4294967297", "POST {p} http/1.1", "POST {p}#a HTTP/1.1", "POST x HTTP/1.1", "POST * HTTP/1.1",
     "POST {p} HTTP/1.1\n", "\r\n\r\nPOST {p} HTTP/1.1", "POST {p}\x00 HTTP/1.1", "POST {p}\xff HTTP/1.1"],
    ids=ascii,
)
def test_D01_D48_malformed_request_lines(server, line):
    data = line.format(p=server.post).encode("latin-1") + b"\r\nHost: x\r\n\r\n" + SMUGGLED
    assert_refused(server, data)


@pytest.mark.parametrize(
    "body",
    ["0_2e\r\n", "+5\r\nhello\r\n", "0x5\r\nhello\r\n", "\r\n0\r\n\r\n", " 5\r\nhello\r\n", "5 \r\nhello\r\n",
     "5\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "0\r\n\n", "0\r\nX\r\n\r\n",
     "0\r\nX : y\r\n\r\n", "0\r\nX: y\n\r\n", "ffffffffffffffff\r\n", "10000000000000000\r\n", "5;a\nhello\r\n",
     "5;a\x00\r\nhello\r\n", "g\r\n"],
    ids=ascii,
)
def test_D01_D48_malformed_chunks(server, body):
    data = server.head("POST", server.post, "Transfer-Encoding: chunked") + body.encode("latin-1") + SMUGGLED
    assert_refused(server, data)


@pytest.mark.parametrize(
    "fields, statuses",
    [("Transfer-Encoding: chunked\r\nContent-Length: 5", (400,)), ("Content-Length: 9223372036854775808", (400,)),
     ("Content-Length: 18446744073709551617", (400,)), ("Content-Length: 99999999999999999999", (400,)),
     ("Content-Length: 9223372036854775807", (413,)), ("Transfer-Encoding: gzip, chunked", (415,))],
)
def test_D50_codings_and_lengths(server, fields, statuses):
    assert_refused(server, server.head("POST", server.post, fields) + SMUGGLED, statuses)


def test_D50_transfer_encoding_in_http10(server):
    data = server.head("POST", server.post, "Transfer-Encoding: chunked", version="HTTP/1.0")
    assert_refused(server, data + b"0\r\n\r\n" + SMUGGLED)


@pytest.mark.parametrize(
    "line, host",
    [("GET {g} HTTP/1.1", ""), ("GET {g} HTTP/1.1", "Host: a\r\nHost: a\r\n"), ("GET {g} HTTP/1.1", "Host: a:99999\r\n"),
     ("GET {g} HTTP/1.1", "Host: u@a\r\n"), ("GET {g} HTTP/1.1", "Host: a/b\r\n"), ("GET {g} HTTP/1.1", "Host: a b\r\n"),
     ("GET http://b{g} HTTP/1.1", "Host: a\r\n"), ("GET http://u:p@a{g} HTTP/1.1", "Host: a\r\n"),
     ("GET ftp://a{g} HTTP/1.1", "Host: a\r\n"), ("GET http://{g} HTTP/1.1", "Host: a\r\n")],
)
def test_D51_hosts(server, line, host):
    assert_refused(server, (line.format(g=server.get) + "\r\n" + host + "\r\n").encode() + SMUGGLED)


def test_D51_absolute_form_with_the_same_host_is_served(server):
    request = f"GET http://A:80{server.get} HTTP/1.1\r\nHost: a:80\r\n".encode() + server.auth + b"\r\n"
    assert server.ask(request).status == 200


@pytest.mark.parametrize(
    "data, status",
    [(b"GET /" + b"a" * 65536, 414), (b"GET / HTTP/1.1\r\nX: " + b"a" * 65536, 431),
     (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000, 431), (b"GET / HTTP/1.1\r\n" + b"a" * 65536, 431),
     (b"G" * 1024 * 20, 414)],
    ids=["long line", "long field", "many fields", "long name", "long method"],
)
def test_D52_oversized_heads(server, data, status):
    assert_refused(server, data, (status,))


def test_D52_D53_a_trickled_head_meets_its_deadline(server):
    """One byte now and then does not move the deadline; the answer is typed."""
    begin = time.monotonic()
    with server.connect() as s:
        s.sendall(b"GET / HTTP/1.1\r\nX: ")
        s.settimeout(server.head_deadline_s / 10)
        data = b""
        while not data and time.monotonic() - begin < server.head_deadline_s + PATIENCE_S:
            send(s, b"a")
            try:
                data = s.recv(65536)
            except TimeoutError:
                continue
            break
    assert b" 408 " in data
    assert server.head_deadline_s - 0.5 < time.monotonic() - begin


def test_D53_new_clients_are_served_beside_slow_ones(server):
    slow = [server.connect() for _ in range(300)]
    try:
        for s in slow:
            s.sendall(b"GET / HT")
        for _ in range(20):
            assert server.answers()
    finally:
        for s in slow:
            s.close()


def test_D53_a_slow_body_is_cut(harness):
    with harness.connect(timeout=30) as s:
        s.sendall(harness.head("POST", "/echo", "Content-Length: 1000") + b"a")
        s.settimeout(1)
        data, begin = b"", time.monotonic()
        while not data and time.monotonic() - begin < 10 + PATIENCE_S:
            send(s, b"a")
            try:
                data = s.recv(65536)
            except TimeoutError:
                continue
    assert b" 408 " in data
    assert 9 < time.monotonic() - begin


def test_D53_a_client_that_does_not_read_costs_little_and_is_cut(harness):
    before = harness.rss_kib()
    with harness.connect(timeout=10) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(harness.head("GET", "/stream?n=endless"))
        time.sleep(1)
        assert harness.rss_kib() - before < 4096  # the sanitizer's own share included
        eventually(lambda: harness.stats()["unclosed"] == 0)  # behind write_stall_ms


def test_D53_a_client_that_reads_slowly_is_not_cut(harness_binary, tmp_path):
    """The socket takes nothing new for longer than write_stall_ms, but the client reads what it holds."""
    with run_harness(harness_binary, listen=f"unix:{tmp_path}/slow") as harness:
        def connect():
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(10)
            s.connect(f"{tmp_path}/slow")
            return s
        with connect() as s:
            s.sendall(harness.head("GET", "/stream?n=endless"))
            end = time.monotonic() + 6
            while time.monotonic() < end:
                assert s.recv(1024)
                time.sleep(0.05)
            with connect() as other:
                other.sendall(harness.head("GET", "/stats"))
                assert read_response(other.makefile("rb")).json()["unclosed"] == 1


def test_D53_unread_pipelined_answers_are_bounded(harness):
    before = harness.rss_kib()
    with harness.connect(timeout=1) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = harness.head("GET", "/echo/" + "a" * 4000)
        with pytest.raises(TimeoutError):
            for _ in range(100000):
                s.sendall(request)
        assert harness.rss_kib() - before < 4096


def test_D54_connections_leave_nothing_behind(server):
    assert server.answers()
    before = server.fds()
    for i in range(300):
        s = server.connect()
        if i % 3 == 1:
            s.sendall(server.head("POST", server.post, "Content-Length: 100") + b"half")
        if i % 3 == 2:  # RST
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    eventually(lambda: server.fds() <= before)
    assert server.answers()


def test_D54_half_close_behind_an_upload_that_its_reader_held_up(harness):
    data = bytes(100_000)  # the last of it waits in the kernel, with the FIN, until the reader goes on
    found = split_responses(harness.talk(harness.head("POST", "/slow", f"Content-Length: {len(data)}") + data, half_close=True))
    assert [(r.status, r.body) for r in found] == [(200, b"waited")]


def test_D54_half_close_still_gets_the_answer(server, request):
    path = "/wait?ms=300" if server.is_harness else server.get
    found = split_responses(server.talk(server.head("GET", path), half_close=True))
    assert [r.status for r in found] == [200]


def test_D54_a_vanished_peer_is_noticed_while_waiting(harness):
    for path in ("/wait?ms=60000", "/stream?n=endless"):
        with harness.connect() as s:
            s.sendall(harness.head("GET", path))
            eventually(lambda: harness.stats()["unclosed"] == 1)
            time.sleep(0.4)  # so that it is no half-close
        eventually(lambda: harness.stats()["unclosed"] == 0, message=path)


def test_D55_a_thousand_pipelined_requests(harness):
    data = b"".join(harness.head("GET", f"/echo/{i}") for i in range(1000))
    with harness.connect() as s:
        s.sendall(data)
        f = s.makefile("rb")
        assert [read_response(f).json()["name"] for _ in range(1000)] == [str(i) for i in range(1000)]


def test_D55_answers_keep_the_order_of_requests(harness):
    """A slow answer is not overtaken by the fast one behind it."""
    with harness.connect() as s:
        s.sendall(harness.head("GET", "/wait?ms=200") + harness.head("POST", "/count", "Content-Length: 3") + b"abc"
                  + harness.head("GET", "/stream?n=3") + harness.head("HEAD", "/ping") + harness.head("GET", "/echo/z"))
        f = s.makefile("rb")
        assert read_response(f).body == b"waited"
        assert read_response(f).json() == {"bytes": 3}
        assert read_response(f).body == b"\0\0\0"
        assert read_response(f, head_request=True).status == 200
        assert read_response(f).json()["name"] == "z"


def test_D55_the_first_error_ends_the_connection(server):
    good = server.head("GET", server.get)
    found = split_responses(server.talk(good * 5 + b"GET / HTTP/9.9\r\n\r\n" + good * 5))
    assert [r.status for r in found] == [200] * 5 + [400]


def test_D55_bodies_longer_and_shorter_than_declared(harness):
    found = split_responses(harness.talk(harness.head("POST", "/echo", "Content-Length: 3") + b"abcGARBAGE\x00"))
    assert [r.status for r in found] == [200, 400]
    assert found[0].json()["body"] == "abc"
    found = split_responses(harness.talk(harness.head("POST", "/echo", "Content-Length: 9") + b"abc", half_close=True))
    assert [r.status for r in found] == [400]


def test_D55_every_split_reads_the_same(harness):
    request = harness.head("POST", "/echo?q=1", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\nT: x\r\n\r\n"
    request += harness.head("GET", "/echo/b", "Connection: close")
    rng = random.Random(7)
    for _ in range(30):
        cuts = sorted(rng.sample(range(1, len(request)), 3))
        with harness.connect() as s:
            for a, b in zip([0] + cuts, cuts + [len(request)]):
                s.sendall(request[a:b])
                time.sleep(0.002)
            found = split_responses(drain(s))
        assert [r.status for r in found] == [200, 200]
        assert found[0].json()["body"] == "abc"


def test_D56_continue_is_sent_when_the_body_is_wanted(harness):
    for path in ("/echo", "/count"):
        with harness.connect() as s:
            f = s.makefile("rb")
            s.sendall(harness.head("POST", path, "Expect: 100-continue", "Content-Length: 2"))
            assert read_response(f).status == 100
            s.sendall(b"ab")
            assert read_response(f).status == 200
            s.sendall(harness.head("GET", "/ping"))
            assert read_response(f).status == 200


@pytest.mark.parametrize(
    "path, fields, status",
    [("/small", ["Content-Length: 17"], 413), ("/nope", ["Content-Length: 2"], 404),
     ("/echo", ["Content-Length: 2", "X-Token: wrong"], 401), ("/count100k", ["Content-Length: 100001"], 413)],
)
def test_D56_no_continue_for_a_body_nobody_wants(harness, path, fields, status):
    found = split_responses(harness.talk(harness.head("POST", path, "Expect: 100-continue", *fields)))
    assert [r.status for r in found] == [status]


def test_D56_unknown_expectations(server):
    assert_refused(server, server.head("POST", server.post, "Expect: 200-ok", "Content-Length: 2") + b"{}", (417,))


@pytest.mark.parametrize("path", ["/%00", "/%", "/%4", "/%zz", "/%c0%af", "/%u002e", "/%0a", "/a%7f", "/%ff"])
def test_D57_bad_paths(server, path):
    response = server.ask(server.head("GET", path))
    assert (response.status, response.json()["code"]) == (400, "BAD_REQUEST")


def test_D57_one_decode_only(harness):
    assert harness.ask(harness.head("GET", "/echo/%252e%2e")).json()["name"] == "%2e."
    assert harness.ask(harness.head("GET", "/echo/a%2fb")).json()["name"] == "a/b"
    assert harness.ask(harness.head("GET", "/rest/a%2Fb//c/../d")).json()["name"] == "a%2Fb//c/../d"
    assert harness.ask(harness.head("GET", "/echo/x?q=%2541&q=a+b&q=%2B")).json()["q"] == ["%41", "a b", "+"]
    assert harness.ask(harness.head("GET", "/echo/x?q=%00")).status == 400


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PRI", "get", "FOO", "G" * 1024, "G\xcaT"])
def test_D58_methods(server, method):
    assert_refused(server, server.head(method, server.get) + SMUGGLED)


def test_D58_h2_preface_and_tls_are_closed_at_once(server):
    for data in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)):
        begin = time.monotonic()
        assert [r.status for r in split_responses(server.talk(data))] == [400]
        assert time.monotonic() - begin < 4  # D66: no waiting for a deadline


def test_D58_override_headers_are_ignored(harness):
    request = harness.head("POST", "/echo", "X-HTTP-Method-Override: DELETE", "Content-Length: 0")
    assert harness.ask(request).json()["method"] == "POST"


def test_known_paths_with_another_method(server):
    response = server.ask(server.head("PUT", server.get))
    assert response.status == 405
    assert response.json()["code"] == "METHOD_NOT_ALLOWED"
    assert response.get("allow") == "GET, HEAD"


def test_D59_declared_bodies_over_the_limit(harness):
    for path, n in (("/small", 17), ("/ping", 65537)):
        method = "POST" if path == "/small" else "GET"
        assert_refused(harness, harness.head(method, path, f"Content-Length: {n}"), (413,))


def test_D59_a_chunked_lie_is_cut_without_buffering(harness):
    before = harness.rss_kib()
    for path in ("/small", "/echo", "/count100k"):
        with harness.connect() as s:
            s.sendall(harness.head("POST", path, "Transfer-Encoding: chunked"))
            chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
            for _ in range(200):
                send(s, chunk)
            assert [r.status for r in split_responses(drain(s))] in ([413], []), path  # a reset may eat the answer
    assert harness.rss_kib() - before < 8192


def test_D59_bodies_of_streams_are_not_buffered(harness):
    before = harness.rss_kib()
    with harness.connect(timeout=30) as s:
        s.sendall(harness.head("POST", "/count", "Content-Length: 200000000"))
        block = bytes(1 << 20)
        for _ in range(190):
            s.sendall(block)
        s.sendall(bytes(200000000 - 190 * (1 << 20)))
        assert read_response(s.makefile("rb")).json() == {"bytes": 200000000}
    assert harness.rss_kib() - before < 8192


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "x"])
def test_D60_encoded_bodies_are_not_inflated(server, coding):
    request = server.head("POST", server.post, f"Content-Encoding: {coding}", "Content-Length: 2") + b"{}"
    assert_refused(server, request, (415,))


def test_D63_queries_are_bounded(harness):
    query = "&".join(f"k{i}" for i in range(3000)) + "&q=late"
    assert harness.ask(harness.head("GET", "/echo/x?" + query[-16000:])).status == 200
    response = harness.ask(harness.head("GET", "/echo/x?q&q=&=v&&q=1&q==2"))
    assert response.json()["q"] == ["", "", "1", "=2"]


@pytest.mark.parametrize(
    "path",
    ["//ping", "/ping/", "/ping/../command", "/ping%2f..%2fcommand", "/PING", "/ping;x", "/ping?x", "/ping?", "/./ping",
     "/%70ing", "http://x/ping", "/nope", "/proxy/..//"],
)
def test_E02_only_the_exact_ping_is_open(server, path):
    wrong = "X-Token: wrong" if server.is_harness else "X-EXECD-ACCESS-TOKEN: wrong"
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n{wrong}\r\n\r\n".encode()
    assert server.ask(request).status == 401
    assert server.ask(f"GET /ping HTTP/1.1\r\nHost: x\r\n{wrong}\r\n\r\n".encode()).status == 200


def test_unread_bodies_of_refused_requests_are_skipped(harness):
    data = harness.head("POST", "/nope", "Content-Length: 5") + b"GET /" + harness.head("GET", "/echo/a")
    data += harness.head("POST", "/nope", "Transfer-Encoding: chunked") + b"5\r\nGET /\r\n0\r\n\r\n"
    data += harness.head("GET", "/echo/b", "Connection: close")
    found = split_responses(harness.talk(data))
    assert [r.status for r in found] == [404, 200, 404, 200]


def test_head_answers_have_no_body(harness):
    with harness.connect() as s:
        f = s.makefile("rb")
        for path in ("/echo/x", "/stream?n=5", "/stream?n=5&sized=1"):
            s.sendall(harness.head("HEAD", path))
            assert read_response(f, head_request=True).status == 200
        s.sendall(harness.head("GET", "/echo/y"))
        assert read_response(f).json()["name"] == "y"


def test_http10_bodies_end_with_the_connection(harness):
    data = harness.talk(harness.head("GET", "/stream?n=50000", version="HTTP/1.0", host=False))
    head, body = data.split(b"\r\n\r\n", 1)
    assert b"chunked" not in head and b"Connection: close" in head
    assert len(body) == 50000
    data = harness.talk(harness.head("GET", "/ping", "Connection: keep-alive", version="HTTP/1.0") * 2, timeout=10)
    assert [r.get("connection") for r in split_responses(data)] == ["keep-alive"] * 2


def test_an_aborted_answer_never_looks_whole(harness):
    data = harness.talk(harness.head("GET", "/abort"))
    assert data.endswith(b"4\r\nhalf\r\n")


def test_both_sse_framings(harness):
    raw = harness.ask(harness.head("POST", "/sse"))
    assert raw.body == b'{"type":"init"}\n\n{"type":"stdout"}\n\n'
    assert raw.get("content-type") == "text/event-stream" and raw.get("connection") == "keep-alive"
    standard = b'id: 1\nevent: init\ndata: {"type":"init"}\n\nevent: stdout\ndata: {"type":"stdout"}\n\n'
    assert harness.ask(harness.head("POST", "/sse?sse=standard")).body == standard
    assert harness.ask(harness.head("POST", "/sse", "X-Execd-Sse: Standard")).body == standard


def test_streams_are_exact_for_slow_and_fast_readers(harness):
    def read(rcvbuf):
        with harness.connect(timeout=60) as s:
            if rcvbuf:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
            s.sendall(harness.head("GET", "/stream?n=5000000"))
            return len(read_response(s.makefile("rb")).body)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, [0, 65536, 0, 131072, 65536, 0, 65536, 0])) == [5000000] * 8


def test_refused_uploads_get_their_answer(harness):
    found = split_responses(harness.talk(harness.head("POST", "/count", "Content-Length: 1000000") + b"a!" + bytes(5000)))
    assert [(r.status, r.json()["code"]) for r in found] == [(400, "INVALID_FILE_CONTENT")]
    assert found[0].get("connection") == "close"


def test_drain_finishes_running_requests(harness):
    with harness.connect() as busy, harness.connect() as idle:
        busy.sendall(harness.head("GET", "/wait?ms=1500"))
        eventually(lambda: harness.stats()["unclosed"] == 1)
        harness.process.terminate()
        assert drain(idle) == b""
        assert select.select([busy], [], [], 0)[0] == [], "it has waited for the other one"
        with pytest.raises(ConnectionRefusedError):
            harness.connect()
        response = read_response(busy.makefile("rb"))
        assert (response.body, response.get("connection")) == (b"waited", "close")
    assert harness.process.wait(PATIENCE_S) == 0


def test_D65_values_cannot_split_the_answer(harness):
    response = harness.ask(harness.head("GET", "/echo/x?q=a%0d%0aX-Evil:%20y%0d%0a%0d%0abody"))
    assert response.status == 200
    assert "x-evil" not in response.fields
    assert response.fields["x-first"] == ["a  X-Evil: y    body"]
