"""Rows E01 and E04: without exactly the right credential, nothing works on any route, and nothing happens.

UNAUTHENTICATED_REQUESTS says how many random requests are made (20,000; `make soak`: 1,000,000).
"""

import collections
import os
import random
import re

import pytest

from harness.contract import Contract, filled
from harness.execd import TOKEN, TOKEN_HEADER, Execd, Leaks
from harness.raw import RawConnection

CONTRACT = Contract("execd")
COUNT = int(os.environ.get("UNAUTHENTICATED_REQUESTS", "20000"))
OPERATIONS = [*CONTRACT.operations(), *CONTRACT.operations(any_method=True)]
OPEN = ("/ping", "/ready")
REFUSALS = {401: b'"UNAUTHORIZED"', 429: b'"TOO_MANY_REQUESTS"'}  # the second after many wrong tokens (E08)


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with Execd(tmp_path_factory.mktemp("nobody")) as running:
        leaks = Leaks(running)
        yield running
        leaks.check()


def header(value):
    return f"{TOKEN_HEADER}: {value}\r\n".encode("latin-1")


RIGHT = header(TOKEN)
REFUSED = {
    "none": b"",
    "empty": header(""),
    "wrong": header("wrong"),
    "a prefix": header(TOKEN[:-1]),
    "a suffix": header(TOKEN[1:]),
    "one more": header(TOKEN + "x"),
    "upper case": header(TOKEN.upper()),
    "quoted": header(f'"{TOKEN}"'),
    "right, wrong": RIGHT + header("wrong"),
    "wrong, right": header("wrong") + RIGHT,
    "right, right": RIGHT + RIGHT,
    "right, empty": RIGHT + header(""),
    "joined by a comma": header(f"{TOKEN}, {TOKEN}"),
    "joined with a wrong one": header(f"wrong, {TOKEN}"),
    "as Bearer": f"Authorization: Bearer {TOKEN}\r\n".encode(),
    "as Basic": b"Authorization: Basic aW50ZWdyYXRpb24tdG9rZW4tNWIxZQ==\r\n",
    "in a cookie": f"Cookie: {TOKEN_HEADER}={TOKEN}\r\n".encode(),
    "under another name": f"X-ACCESS-TOKEN: {TOKEN}\r\nX-EXECD-TOKEN: {TOKEN}\r\n".encode(),
    "with underscores": f"X_EXECD_ACCESS_TOKEN: {TOKEN}\r\n".encode(),
    "its hash": header("0" * 64),
    "in the trailer of nothing": b"Trailer: " + TOKEN_HEADER.encode() + b"\r\n",
}
# Where else the token may stand: Jupyter's clients give it by query or Authorization, those of /run_code by the latter.
GATEWAY = re.compile(r"(http://x|//)?/(api|kernelspecs|terminals)\b")
BY_AUTHORIZATION = re.compile(GATEWAY.pattern + "|/run_code")
# Bytes that no header may hold: the whole request is malformed.
MALFORMED = {"with a NUL": header(TOKEN + "\0"), "a NUL and more": header(TOKEN + "\0x"), "a bare CR": header(TOKEN + "\rx")}
ACCEPTED = {"the right one": RIGHT, "any case of the name": RIGHT.lower().replace(TOKEN.lower().encode(), TOKEN.encode()),
            "blanks around": f"{TOKEN_HEADER}:  {TOKEN} \t\r\n".encode()}


def ask(agent, method, target, fields, body=b""):
    with RawConnection(agent.connect()) as connection:
        length = f"Content-Length: {len(body)}\r\n".encode() if body or method in ("POST", "PUT", "PATCH") else b""
        connection.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n".encode() + fields + length + b"\r\n" + body)
        return connection.read_response(head_request=method == "HEAD")


@pytest.mark.parametrize("fields", REFUSED.values(), ids=REFUSED)
def test_E01_every_route_refuses(agent, fields):
    for method, path, operation in OPERATIONS:
        if CONTRACT.is_open(operation) or (fields == REFUSED["as Bearer"] and BY_AUTHORIZATION.match(path)):
            continue
        query = f"?{TOKEN_HEADER}={TOKEN}" + ("" if GATEWAY.match(path) else f"&token={TOKEN}")
        for target in (filled(path), filled(path) + query):
            answer = ask(agent, method, target, fields, b"{}" if method == "POST" else b"")
            assert answer.status in REFUSALS, f"{method} {target}"
            assert method == "HEAD" or REFUSALS[answer.status] in answer.body
    assert agent.client.get("/ping").status_code == 200


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_E01_malformed_tokens_are_malformed_requests(agent, fields):
    for method, path, operation in OPERATIONS:
        if not CONTRACT.is_open(operation):
            assert ask(agent, method, filled(path), fields).status == 400


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED)
def test_E01_the_right_token_is_taken(agent, fields):
    assert ask(agent, "GET", "/metrics", fields).status == 200
    assert ask(agent, "GET", "/command/status/nothing", fields).status == 404


# ---- E04


class Requests:
    """Random requests: well formed mostly, so that they get past the parser; with effects, if they were taken."""

    METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "BREW", "get", "CONNECT", "TRACE")
    SEGMENTS = ("ping", "ready", "command", "code", "files", "upload", "download", "..", ".", "", "%2e%2e", "%00", "proxy", "44772",
                "session", "pty", "ws", "metrics", "*", "%", "a" * 300, "v1", "isolated", "directories", "%c0%af")

    def __init__(self, seed, target):
        self.random = random.Random(seed)
        self.paths = [path for _, path, _ in OPERATIONS]
        self.body = b'{"command":"touch %s","code":"touch %s","path":"%s","background":true}' % ((str(target).encode(),) * 3)

    def path(self):
        if self.random.random() < 0.6:
            path = filled(self.random.choice(self.paths))
        else:
            path = "/" + "/".join(self.random.choices(self.SEGMENTS, k=self.random.randint(1, 5)))
        if self.random.random() < 0.3:
            token = "token=wrong" if GATEWAY.match(path) else f"token={TOKEN}"
            path += "?" + self.random.choice(("path=/etc/passwd", "id=1", "%zz", "x", "path=/tmp&" * 50, token))
        if self.random.random() < 0.05:
            path = self.random.choice(("http://x", "//", "*", "x:1")) + path
        return path

    def fields(self):
        pool = (header("wrong"), header(TOKEN[:-1]), RIGHT + RIGHT, b"Expect: 100-continue\r\n", b"Range: bytes=0-9\r\n",
                b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
                b"X-" + bytes(self.random.choices(b"abcXYZ-_", k=20)) + b": " + bytes(self.random.choices(range(32, 255), k=20)) + b"\r\n",
                b"Content-Encoding: gzip\r\n", b"X-Forwarded-For: 127.0.0.1\r\n", b"Cookie: a=b\r\n", b"\x01: x\r\n", b"Host: y\r\n")
        return b"".join(self.random.choices(pool, k=self.random.randint(0, 3)))

    def next(self):
        method, path = self.random.choice(self.METHODS), self.path()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n".encode() + self.fields()
        body = self.body if self.random.random() < 0.5 else bytes(self.random.choices(range(256), k=self.random.randint(0, 200)))
        kind = self.random.random()
        if kind < 0.1:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
            framing = b"Transfer-Encoding: chunked\r\n"
        elif kind < 0.13:
            framing = self.random.choice((b"Content-Length: -1\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n", b"Content-Length: x\r\n"))
        else:
            framing = b"Content-Length: %d\r\n" % len(body)
        return method, path, head + framing + b"\r\n" + body


def check(method, path, answer):
    if method == "OPTIONS" and GATEWAY.match(path):  # a preflight asks nobody, and tells of nothing
        assert answer.status < 500 and len(answer.body) == 0 or answer.status >= 400, f"{method} {path}: {answer.status}"
    elif answer.status == 200:
        assert method in ("GET", "HEAD") and path in OPEN, f"{method} {path}: 200"
    elif answer.status == 100:
        raise AssertionError(f"{method} {path}: a body was asked for")
    else:
        assert 400 <= answer.status < 500 or answer.status in (501, 505), f"{method} {path}: {answer.status}"
        assert answer.status not in (404, 405, 422) or path in OPEN, f"{method} {path}: {answer.status} tells of routes"


def send_some(agent, requests, n, statuses):
    """One connection, until it is closed or n requests are answered; how many were. Their statuses are counted."""
    done = 0
    with RawConnection(agent.connect()) as connection:
        while done < n:
            method, path, data = requests.next()
            try:
                connection.send(data)
                answer = connection.read_response(head_request=method == "HEAD")
                check(method, path, answer)
                statuses[answer.status] += 1
            except (EOFError, BrokenPipeError, ConnectionResetError):
                if done == 0:
                    return 1  # refused without a word: still one request
                return done
            done += 1
    return done


def test_E04_random_requests_do_nothing(agent):
    target = agent.folder / "effect"
    requests = Requests(2026, target)
    before = sorted(os.listdir(agent.folder))
    done, statuses = 0, collections.Counter()
    while done < COUNT:
        done += send_some(agent, requests, min(100, COUNT - done), statuses)
    assert statuses[401] > COUNT / 4 and statuses[400] > COUNT / 100, statuses
    assert sorted(os.listdir(agent.folder)) == before
    assert agent.client.get("/code/contexts").json() == []
    assert agent.client.get("/ready").status_code == 200
