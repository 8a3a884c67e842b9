"""/proxy/PORT/...: other ports of the sandbox, and execd's own port, which is execd itself."""

import os
import socket
from pathlib import Path

import pytest

from harness.execd import TOKEN, TOKEN_HEADER, Leaks, output_of, sse_events
from harness.patience import PATIENCE_S
from harness.raw import RawConnection
from harness.server import Server, import_image, why_not
from harness.ws import Refused, WebSocket
from http_fixtures import Backend, backend  # noqa: F401

AUTH = f"Host: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n"


def answer(text):
    def script(connection, request):
        Backend.read_body(request)
        connection.sendall(text.encode("latin-1"))

    return script


OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def ask(execd, method, target, *fields, body=b""):
    """One request with exact bytes as target; (status, body)."""
    with execd.connect() as connection:
        lines = "".join(f"{field}\r\n" for field in fields)
        connection.sendall(f"{method} {target} HTTP/1.1\r\n{AUTH}Connection: close\r\n{lines}\r\n".encode() + body)
        data = b""
        connection.settimeout(10)
        while part := connection.recv(65536):
            data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


# ---- I01: what is a port -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/proxy/80@evil/", "/proxy/0", "/proxy/0/", "/proxy/65536/x", "/proxy/-1/", "/proxy/08/",
                                    "/proxy/+80/", "/proxy/80%20/", "/proxy/0x50/", "/proxy/localhost/", "/proxy/",
                                    "/proxy", "/proxy//x", "/proxy/99999999999999999999/"])
def test_I01_only_plain_ports(execd, target):
    status, body = ask(execd, "GET", target)
    assert status == 400 and b'"BAD_REQUEST"' in body, body


def test_I01_a_bad_port_is_told_to_those_with_the_token_only(execd):
    with execd.new_client(token=None) as stranger:
        for target in ("/proxy/0/", "/proxy/", f"/proxy/{execd.port}/metrics", "/proxy/80/"):
            assert stranger.get(target).status_code == 401


def test_I01_the_path_goes_on_as_it_came(execd, backend):
    backend.script = answer(OK)
    target = "/a%2Fb/%25/../c//d/?x=%20&y=%2f"
    assert ask(execd, "GET", f"/proxy/{backend.port}{target}") == (200, b"ok")
    assert ask(execd, "GET", f"/proxy/{backend.port}") == (200, b"ok")
    assert [request["line"] for request in backend.requests] == [f"GET {target} HTTP/1.1", "GET / HTTP/1.1"]


# ---- the own port ------------------------------------------------------------------------------------


def test_own_port_gives_the_same_answers(execd):
    own = f"/proxy/{execd.port}"
    for method, path in [("GET", "/ping"), ("HEAD", "/ping"), ("GET", "/nope"), ("PUT", "/command"), ("GET", "/files/info"),
                         ("GET", "/files/info?path=/nope"), ("DELETE", "/command?id=x"), ("POST", "/code/context"),
                         ("GET", "/%70ing"), ("GET", "/ping?x")]:
        direct, proxied = execd.client.request(method, path), execd.client.request(method, own + path)
        assert (direct.status_code, direct.content) == (proxied.status_code, proxied.content), path
        assert set(direct.headers) == set(proxied.headers)


def test_own_port_asks_for_the_same_credentials(execd):
    own = f"/proxy/{execd.port}"
    with execd.new_client(token=None) as stranger, execd.new_client(token="wrong") as liar:
        assert stranger.get(own + "/ping").status_code == 200
        for client in (stranger, liar):
            for path in ("/metrics", "/files/info?path=/", "/nope", f"/proxy/{execd.port}/metrics", "/proxy/0/", "/ping/"):
                assert client.get(own + path).status_code == 401, path
                assert client.get(own + path).content == client.get(path).content


def test_own_port_opens_no_connection(execd):
    own = f"/proxy/{execd.port}"
    text = {"Accept": "text/plain"}

    def accepted():
        lines = execd.client.get(own + "/metrics", headers=text).text.splitlines()
        return next(line for line in lines if line.startswith("execd_http_connections_accepted_total "))

    assert accepted() == accepted()


def test_own_port_streams_and_uploads(execd, tmp_path):
    own = f"/proxy/{execd.port}"
    with execd.client.stream("POST", own + "/command", json={"command": "echo one; echo two >&2"}) as response:
        events = sse_events(response.read().decode())
    assert output_of(events) == "one\n" and output_of(events, "stderr") == "two\n"
    data = os.urandom(1_000_000)
    files = {"metadata": ("m", f'{{"path": "{tmp_path}/up.bin"}}', "application/json"), "file": ("f", data)}
    assert execd.client.post(own + "/files/upload", files=files).status_code == 200
    assert (tmp_path / "up.bin").read_bytes() == data
    got = execd.client.get(own + "/files/download", params={"path": f"{tmp_path}/up.bin"}, headers={"Range": "bytes=5-9"})
    assert got.status_code == 206 and got.content == data[5:10]


def test_own_port_upgrades(execd):
    session = execd.client.post("/pty", json={"command": "echo from-the-shell; read x"}).json()["session_id"]
    path = f"/proxy/{execd.port}/pty/{session}/ws"
    with pytest.raises(Refused) as refused:
        WebSocket(execd.connect(), path)
    assert refused.value.status == 401
    client = WebSocket(execd.connect(), path, [f"{TOKEN_HEADER}: {TOKEN}"])
    seen = b""
    while b"from-the-shell" not in seen:
        seen += client.read().payload
    client.socket.close()
    assert execd.client.delete(f"/pty/{session}").status_code in (200, 204)


def test_own_port_keeps_the_connection_and_the_body_limits(execd):
    own = f"/proxy/{execd.port}"
    with RawConnection(execd.connect()) as connection:
        for _ in range(3):
            connection.send(f"GET {own}/ping HTTP/1.1\r\n{AUTH}\r\n")
            assert connection.read_response().status == 200
    status, body = ask(execd, "POST", own + "/command", "Content-Length: 99999999")
    assert status == 413 and b"BODY_TOO_LARGE" in body


def test_own_port_within_own_port_has_a_bound(execd):
    own = f"/proxy/{execd.port}"
    assert ask(execd, "GET", own * 4 + "/ping")[0] == 200
    status, body = ask(execd, "GET", own * 400 + "/ping")
    assert status == 400 and b"BAD_REQUEST" in body


def test_own_port_escaped_is_the_same_port(execd):
    digits = str(execd.port)
    assert ask(execd, "GET", f"/proxy/%3{digits[0]}{digits[1:]}/ping")[0] == 200


# ---- backends ----------------------------------------------------------------------------------------


def test_I02_I03_what_is_passed_on(execd, backend):
    backend.script = answer(OK)
    fields = ["Connection: X-Drop", "X-Drop: 1", "X-Keep: 2", "Keep-Alive: 3", "OPEN-SANDBOX-API-KEY: k", "Cookie: c",
              "Content-Length: 3"]
    with socket.create_connection(("127.0.0.1", execd.port)) as connection:  # not from the server: rebuilt
        lines = "".join(f"{f}\r\n" for f in [*fields, "X-Forwarded-For: 6.6.6.6", "X-Real-IP: 6.6.6.6"])
        connection.sendall(f"PUT /proxy/{backend.port}/x HTTP/1.1\r\n{AUTH}{lines}\r\nabc".encode())
        assert b"200 OK" in connection.recv(65536)
    request = backend.requests[0]
    got = {field.split(":")[0].lower(): field.split(": ", 1)[1] for field in request["fields"]}
    assert request["body"] == b"abc" and got["x-keep"] == "2" and got["cookie"] == "c" and got["content-length"] == "3"
    assert got["x-forwarded-for"] == "127.0.0.1"
    assert not {TOKEN_HEADER.lower(), "open-sandbox-api-key", "x-drop", "keep-alive", "x-real-ip"} & set(got)
    assert TOKEN not in str(request["fields"])


def test_I02_smuggling(execd, backend):
    backend.script = answer(OK)
    evil = b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"
    for fields in (["Transfer-Encoding: chunked", "Content-Length: 4"], ["Content-Length: 4", "Content-Length: 40"],
                   ["Transfer-Encoding: xchunked"], ["Transfer-Encoding : chunked"]):
        assert ask(execd, "POST", f"/proxy/{backend.port}/x", *fields, body=evil)[0] == 400
    assert backend.requests == []


@pytest.mark.parametrize("text", ["", "HTTP/1.1 200 OK\r\nContent-Length: 2", "SSH-2.0-x\r\n",
                                  "HTTP/1.1 200 OK\r\nA: " + "a" * 70000 + "\r\n\r\n",
                                  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                                  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
                         ids=lambda text: ascii(text[:24]))
def test_I04_broken_backends(execd, backend, text):
    backend.script = answer(text)
    status, body = ask(execd, "GET", f"/proxy/{backend.port}/")
    assert status == 502 and b"BACKEND_RESPONSE_FAILED" in body


def test_I04_a_cut_body_is_never_whole(execd, backend):
    backend.script = answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
    status, body = ask(execd, "GET", f"/proxy/{backend.port}/")
    assert status == 200 and not body.endswith(b"0\r\n\r\n")


def test_I04_nobody_listens(execd):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        status, body = ask(execd, "GET", f"/proxy/{probe.getsockname()[1]}/")
    assert status == 502 and b"BACKEND_CONNECTION_FAILED" in body


def test_location_stays_below_the_port(execd, backend):
    backend.script = answer("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n")
    response = execd.client.get(f"/proxy/{backend.port}/")
    assert response.headers["location"] == f"/proxy/{backend.port}/login"


def test_proxied_requests_leave_nothing(execd, backend):
    backend.script = answer(OK)
    execd.client.get(f"/proxy/{backend.port}/")
    leaks = Leaks(execd)
    for _ in range(100):
        assert execd.client.get(f"/proxy/{backend.port}/").status_code == 200
    backend.close()
    leaks.check()


# ---- the server's proxy ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(reason)
    state = tmp_path_factory.mktemp("server")
    import_image(state)
    with Server(state, group=f"execd-test-proxy-{os.getpid()}") as running:
        yield running
        running.delete_all()
    for group in Path("/sys/fs/cgroup").glob(f"**/{running.group}"):
        group.rmdir()


def server_status(server, target):
    """The path as it is: a client library would tidy it up."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nOPEN-SANDBOX-API-KEY: {server.key}\r\n"
                           "Connection: close\r\n\r\n".encode())
        return int(connection.recv(65536).split()[1])


@pytest.mark.root
@pytest.mark.parametrize("ident", ["..", "%2e%2e", ".%2F..", "..%2f..%2fetc", "127.0.0.1", "execd.sock", "*", "%00",
                                   "00000000-0000-4000-8000-000000000000", "a" * 300, "x%0d%0aHost:%20evil"])
def test_I06_an_id_is_only_looked_up(server, ident):
    for rest in ("80/", "44772/ping", "80"):
        assert server_status(server, f"/v1/sandboxes/{ident}/proxy/{rest}") in (400, 404)


@pytest.mark.root
def test_I06_a_removed_sandbox_answers_no_more(server):
    first, second = server.create()["id"], server.create()["id"]
    for ident in (first, second):
        assert server_status(server, f"/v1/sandboxes/{ident}/proxy/44772/ping") == 200  # and the connection is kept
    assert server.client.delete(f"/v1/sandboxes/{first}").status_code == 204
    assert server_status(server, f"/v1/sandboxes/{first}/proxy/44772/ping") == 404
    assert server_status(server, f"/v1/sandboxes/{second}/proxy/44772/ping") == 200


@pytest.mark.root
@pytest.mark.parametrize("port", ["80@evil", "0", "65536", "-1", "08", "+80", "80%20"])
def test_I01_only_plain_ports_in_the_server_too(server, port):
    ident = server.create()["id"]
    assert server_status(server, f"/v1/sandboxes/{ident}/proxy/{port}/") == 400
    server.client.delete(f"/v1/sandboxes/{ident}")
