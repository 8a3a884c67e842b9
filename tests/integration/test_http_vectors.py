"""Row D49: the classes of llhttp's request fixtures, made anew, as an oracle of what a strict server takes.

TAKEN must be parsed whole (and answered by routing, with or without a credential), and the connection goes on with the
next request unless it asked for its end. REFUSED must end with an error of the parser and a closed connection, with no
second answer: what stands behind must never be read as a request (smuggling).
"""

import json

import pytest

from harness.execd import Execd
from harness.raw import RawConnection


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with Execd(tmp_path_factory.mktemp("vectors")) as running:
        yield running


GET = b"GET /ping HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /ping HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
NEXT = b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n"

TAKEN = {
    # methods and targets
    "simple": GET + b"\r\n", "head": b"HEAD /ping HTTP/1.1\r\nHost: x\r\n\r\n", "curl": GET + b"User-Agent: curl/8\r\nAccept: */*\r\n\r\n",
    "firefox": GET + b"Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\nAccept-Language: en-us,en;q=0.5\r\nKeep-Alive: 300\r\n\r\n",
    "fragment-like": b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", "query with question marks": b"GET /a?b=?c?? HTTP/1.1\r\nHost: x\r\n\r\n",
    "query with quotes": b"GET /with_\"stupid\"_quotes?foo=\"bar\" HTTP/1.1\r\nHost: x\r\n\r\n",
    "absolute form": b"GET http://x/ping HTTP/1.1\r\nHost: x\r\n\r\n", "options star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "patch": b"PATCH /f HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "put": b"PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    # heads
    "empty value": GET + b"X-Empty:\r\n\r\n", "blanks around a value": GET + b"X:  \t v \t \r\n\r\n", "tab in a value": GET + b"X: a\tb\r\n\r\n",
    "obs-text": GET + b"X: \xe9\xff\r\n\r\n", "every token byte in a name": GET + b"!#$%&'*+-.^_`|~09azAZ: v\r\n\r\n",
    "connection tokens": GET + b"Connection: keep-alive, x-foo\r\n\r\n",
    "long value": GET + b"X: " + b"v" * 4000 + b"\r\n\r\n", "many fields": GET + b"".join(b"X-%d: v\r\n" % i for i in range(60)) + b"\r\n",
    # bodies
    "content-length": POST + b"Content-Length: 5\r\n\r\nworld", "content-length zero": POST + b"Content-Length: 0\r\n\r\n",
    "get with a body": GET + b"Content-Length: 5\r\n\r\nworld",
    "chunked": CHUNKED + b"\r\n1e\r\nall your base are belong to us\r\n0\r\n\r\n", "chunks": CHUNKED + b"\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "upper and lower hex": CHUNKED + b"\r\nA\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n", "chunk extension": CHUNKED + b"\r\n5;x=y\r\nhello\r\n0\r\n\r\n",
    "zeros before a size": CHUNKED + b"\r\n005\r\nhello\r\n000\r\n\r\n", "trailer": CHUNKED + b"\r\n5\r\nhello\r\n0\r\nVary: *\r\n\r\n",
    "any case of chunked": POST + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n",
}

REFUSED = {
    # request lines
    "lower-case method": b"get /ping HTTP/1.1\r\nHost: x\r\n\r\n", "no target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n", "no version": b"GET /ping\r\nHost: x\r\n\r\n",
    "http/0.9": b"GET /ping\r\n\r\n", "version 2.0": b"GET /ping HTTP/2.0\r\nHost: x\r\n\r\n", "version 5.6": b"GET /ping HTTP/5.6\r\nHost: x\r\n\r\n",
    "version without a dot": b"GET /ping HTTP/11\r\nHost: x\r\n\r\n", "version of three digits": b"GET /ping HTTP/1.10\r\nHost: x\r\n\r\n",
    "lower-case version": b"GET /ping http/1.1\r\nHost: x\r\n\r\n", "another protocol": b"GET /ping HTTPER/1.1\r\nHost: x\r\n\r\n",
    "ICE": b"SOURCE /x ICE/1.0\r\nHost: x\r\n\r\n", "two blanks": b"GET  /ping HTTP/1.1\r\nHost: x\r\n\r\n", "tab": b"GET\t/ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "blank in the target": b"GET /pi ng HTTP/1.1\r\nHost: x\r\n\r\n", "control byte in the target": b"GET /pi\x01ng HTTP/1.1\r\nHost: x\r\n\r\n",
    "delete byte in the target": b"GET /pi\x7fng HTTP/1.1\r\nHost: x\r\n\r\n", "blank before the method": b" GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "no slash": b"GET ping HTTP/1.1\r\nHost: x\r\n\r\n", "bare LF": b"GET /ping HTTP/1.1\nHost: x\n\n", "connect": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "method with a bracket": b"GE(T /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    # heads
    "no host": b"GET /ping HTTP/1.1\r\n\r\n", "two hosts": GET + b"Host: y\r\n\r\n", "name with a blank": GET + b"X Y: v\r\n\r\n", "blank before the colon": GET + b"X : v\r\n\r\n",
    "no colon": GET + b"X\r\n\r\n", "empty name": GET + b": v\r\n\r\n", "folded": GET + b"X: a\r\n b\r\n\r\n", "folded by a tab": GET + b"X: a\r\n\tb\r\n\r\n",
    "folded first": b"GET /ping HTTP/1.1\r\n Host: x\r\n\r\n", "NUL in a value": GET + b"X: a\0b\r\n\r\n", "NUL in a name": GET + b"X\0: v\r\n\r\n", "bare CR": GET + b"X: a\rb\r\n\r\n",
    "bare LF between fields": GET + b"X: a\nY: b\r\n\r\n", "control byte in a value": GET + b"X: a\x01b\r\n\r\n", "delete byte in a value": GET + b"X: a\x7f\r\n\r\n",
    "CR CR LF": GET + b"X: a\r\r\n\r\n", "LF CR": GET + b"X: a\n\r\n\r\n", "obs-text in a name": GET + b"X\xe9: v\r\n\r\n", "bracket in a name": GET + b"X(: v\r\n\r\n",
    "head ends with bare LF": GET + b"X: a\r\n\n", "comma in the host": b"GET /ping HTTP/1.1\r\nHost: x, y\r\n\r\n",
    # stricter than llhttp
    "empty lines before": b"\r\n\r\n" + GET + b"\r\n", "length with zeros": POST + b"Content-Length: 0005\r\n\r\nworld",
    # lengths
    "negative length": POST + b"Content-Length: -1\r\n\r\n", "signed length": POST + b"Content-Length: +5\r\n\r\nworld", "hex length": POST + b"Content-Length: 0x5\r\n\r\nworld",
    "length with letters": POST + b"Content-Length: 5a\r\n\r\nworld", "length with a blank inside": POST + b"Content-Length: 4 2\r\n\r\nworld",
    "empty length": POST + b"Content-Length:\r\n\r\n", "length past 64 bits": POST + b"Content-Length: 18446744073709551616\r\n\r\n",
    "length past 63 bits": POST + b"Content-Length: 9223372036854775808\r\n\r\n", "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nworld",
    "the same length twice": POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nworld", "lengths in a list": POST + b"Content-Length: 5, 5\r\n\r\nworld",
    "length and chunked": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", "chunked and length": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # transfer codings
    "unknown coding": POST + b"Transfer-Encoding: pigeons\r\n\r\n", "identity": POST + b"Transfer-Encoding: identity\r\n\r\n", "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "deflate, chunked": POST + b"Transfer-Encoding: deflate, chunked\r\n\r\n0\r\n\r\n", "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunkedchunked": POST + b"Transfer-Encoding: chunkedchunked\r\n\r\n0\r\n\r\n",
    "quoted chunked": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', "vertical tab chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST /ping HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "empty coding": POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    # chunks
    "no size": CHUNKED + b"\r\n\r\nhello\r\n0\r\n\r\n", "size with a sign": CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n", "size in 0x": CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "size past 64 bits": CHUNKED + b"\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n", "size not hex": CHUNKED + b"\r\n5g\r\nhello\r\n0\r\n\r\n", "blank before the size": CHUNKED + b"\r\n 5\r\nhello\r\n0\r\n\r\n",
    "blank behind the size": CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n", "size ends with LF": CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n", "chunk ends with LF": CHUNKED + b"\r\n5\r\nhello\n0\r\n\r\n",
    "chunk too long": CHUNKED + b"\r\n5\r\nhello!\r\n0\r\n\r\n", "chunk without its end": CHUNKED + b"\r\n5\r\nhello0\r\n\r\n", "NUL in an extension": CHUNKED + b"\r\n5;a=\0\r\nhello\r\n0\r\n\r\n",
    "bare CR in an extension": CHUNKED + b"\r\n5;a\rb\r\nhello\r\n0\r\n\r\n", "bare LF in an extension": CHUNKED + b"\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
    "trailer with a blank name": CHUNKED + b"\r\n0\r\nX Y: v\r\n\r\n", "folded trailer": CHUNKED + b"\r\n0\r\nX: a\r\n b\r\n\r\n",
}


def answers(agent, data):
    """Everything the server says to these bytes and an end of input."""
    found = []
    with RawConnection(agent.connect(), 5) as connection:
        connection.send(data)
        try:
            while True:
                found.append(connection.read_response(head_request=data.startswith(b"HEAD") and not found))
                if len(found) == 2:
                    break
        except EOFError:
            assert connection.buffer == b"", f"half an answer: {connection.buffer!r}"
    return found


@pytest.mark.parametrize("data", TAKEN.values(), ids=TAKEN)
def test_D49_taken(agent, data):
    first, *rest = answers(agent, data + NEXT)
    assert first.status in (200, 401), first
    assert [answer.status for answer in rest] == [200], "the next request on the connection"


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_D49_refused(agent, data):
    found = answers(agent, data + NEXT)
    assert len(found) <= 1, f"{len(found)} answers: what stands behind was taken as a request"
    if found:
        assert found[0].status in (400, 401, 411, 413, 415, 501, 505), found[0]
        assert found[0].status != 401 or data.startswith(b"POST"), "refused only by what follows the head"
        assert set(json.loads(found[0].body)) >= {"code", "message"}
    assert agent.client.get("/ping").status_code == 200
