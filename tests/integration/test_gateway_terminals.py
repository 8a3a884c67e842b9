"""Jupyter terminals over terminal sessions (contracts/jupyter.md 2.10)."""

import hashlib
import json
import re
import socket

import pytest

from harness import ws
from harness.execd import TOKEN, TOKEN_HEADER, eventually


def start(client, **body):
    response = client.post("/api/terminals", json=body)
    assert response.status_code == 200, response.text
    return response.json()["name"]


class Terminal(ws.WebSocket):
    def __init__(self, execd, name, headers=(f"{TOKEN_HEADER}: {TOKEN}",), query="", connection=None):
        super().__init__(connection or execd.connect(), f"/terminals/websocket/{name}{query}", headers)
        self.seen = ""

    def frame(self):
        got = self.read()
        assert got.opcode == ws.TEXT, got
        return json.loads(got.payload)

    def type(self, text):
        self.send(ws.TEXT, json.dumps(["stdin", text]))

    def until(self, pattern):
        while not re.search(pattern, self.seen):
            kind, text = self.frame()
            assert kind == "stdout", (kind, text)
            self.seen += text
        return self.seen


@pytest.fixture
def connect(execd):
    opened = []

    def open_one(name, **options):
        opened.append(Terminal(execd, name, **options))
        assert opened[-1].frame() == ["setup", {}]
        return opened[-1]

    yield open_one
    for one in opened:
        one.socket.close()
    for model in execd.client.get("/api/terminals").json():
        execd.client.delete(f"/api/terminals/{model['name']}")


def is_error(response, status):
    assert response.status_code == status, response.text
    assert {"code", "reason", "message"} <= set(response.json())


def test_names_and_models(execd):
    client = execd.client
    assert client.get("/api/terminals").json() == []
    assert client.post("/api/terminals").json()["name"] == "1"  # no body at all
    assert [start(client), start(client, name="mine"), start(client, name="mine")] == ["2", "mine", "mine"]
    models = client.get("/api/terminals?1795221464435").json()
    assert [m["name"] for m in models] == ["1", "2", "mine"]
    assert all(re.fullmatch(r"[-0-9T:]+\.\d{6}Z", m["last_activity"]) for m in models)
    assert client.get("/api/terminals/mine").json() == models[2]
    assert client.delete("/api/terminals/1").status_code == 204
    is_error(client.get("/api/terminals/1"), 404)
    is_error(client.delete("/api/terminals/1"), 404)
    assert start(client) == "1"
    for name in ("1", "2", "mine"):
        client.delete(f"/api/terminals/{name}")


@pytest.mark.parametrize("body", [{"name": "a/b"}, {"name": ".."}, {"name": "x" * 65}, {"name": 1}, {"cwd": []}, []])
def test_bad_bodies(execd, body):
    is_error(execd.client.post("/api/terminals", json=body), 400)
    assert execd.client.get("/api/terminals").json() == []


@pytest.mark.parametrize("cwd, below", [("", ""), ("sub", "sub"), ("sub/none", "sub"), ("/no/such", "")])
def test_where_it_starts(execd, connect, cwd, below):
    (execd.folder / "sub").mkdir(exist_ok=True)
    terminal = connect(start(execd.client, cwd=cwd))
    terminal.type("pwd -P; echo done$((1+1))\n")
    assert f"{execd.folder.resolve() / below}".rstrip("/") in terminal.until("done2")


def test_input_output_and_size(execd, connect):
    terminal = connect(start(execd.client))
    terminal.send(ws.TEXT, json.dumps(["set_size", 33, 77, 500, 600]))
    terminal.type("sleep 0.3; stty size; printf 'gr\\303\\274n \\377 %s' end; echo\n")
    seen = terminal.until("33 77(.|\n)*n . end")
    assert "grün \ufffd end" in seen


def test_characters_stay_whole(execd, connect):
    """A character that arrives in two pieces is shown once it is there; a broken one at the end is not held for ever."""
    terminal = connect(start(execd.client))
    terminal.type("stty -echo; printf 'A\\303'; sleep 0.2; printf '\\274B'; printf '\\342\\202'; exec sleep 0.2\n")
    seen = ""
    while True:
        kind, text = terminal.frame()
        if kind != "stdout":
            break
        seen += text
    assert "AüB" in seen.replace("\\303", "") and seen.endswith("\ufffd"), seen


def test_a_second_client_sees_what_was_and_may_write(execd, connect):
    name = start(execd.client)
    first = connect(name)
    first.type("echo first$((40+2))\n")
    first.until("first42")
    second = connect(name)
    assert "first42" in second.until("first42")
    second.type("echo second$((40+2))\n")
    first.until("second42")
    second.until("second42")


def test_the_end_of_the_shell(execd, connect):
    name = start(execd.client)
    terminal = connect(name)
    terminal.type("echo last; exit\n")
    frames = []
    while not frames or frames[-1][0] == "stdout":
        frames.append(terminal.frame())
    assert frames[-1] == ["disconnect", 1] and "last" in "".join(f[1] for f in frames[:-1])
    assert terminal.read_close()[0] == 1000
    is_error(execd.client.get(f"/api/terminals/{name}"), 404)
    assert execd.client.get("/api/terminals").json() == []
    eventually(lambda: execd.client.get("/pty").json() == [], message="the session is left behind")


def test_who_lags_behind_the_end_of_a_shell_sees_nothing_of_the_next_one(execd):
    ident = execd.client.post("/pty", json={}).json()["session_id"]
    auth = f"{TOKEN_HEADER}: {TOKEN}"

    def run(command):
        """In a shell of its own, to its end; it may wait for a line."""
        shell = ws.WebSocket(execd.connect(), f"/pty/{ident}/ws", [auth])
        shell.send(ws.BINARY, b"\0" + command.encode() + b"; exit\n")
        yield
        shell.send(ws.BINARY, b"\0\n")
        while shell.read().opcode != ws.CLOSE:
            pass
        shell.socket.close()
        yield

    first = run("read go; head -c 1500000 /dev/zero | tr '\\0' o")
    next(first)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", execd.port))
    late = Terminal(execd, ident, connection=connection)
    next(first)
    second = run("read go; head -c 3000000 /dev/zero | tr '\\0' N")
    next(second), next(second)
    frames = [late.frame()]
    while frames[-1][0] != "disconnect":
        frames.append(late.frame())
    code, _ = late.read_close()
    late.socket.close()
    text = "".join(frame[1] for frame in frames if frame[0] == "stdout")
    assert "oooooooo" in text and "NNNNNNNN" not in text and code == 1000
    execd.client.delete(f"/pty/{ident}")


def test_deleting_a_terminal_ends_its_clients(execd, connect):
    name = start(execd.client)
    terminal = connect(name)
    assert execd.client.delete(f"/api/terminals/{name}").status_code == 204
    while terminal.frame() != ["disconnect", 1]:
        pass
    assert terminal.read_close()[0] == 1000


def test_much_input_arrives_whole(execd, connect):
    """More than the shell takes at once, from a client that is not the first."""
    name = start(execd.client)
    connect(name)
    second = connect(name)
    second.type("stty raw -echo; echo raw$((1+1)); head -c 600000 | sha256sum; stty sane\n")
    second.until("raw2")
    line = "x" * 60000
    for _ in range(10):
        second.type(line)
    assert hashlib.sha256(line.encode() * 10).hexdigest() in second.until("[0-9a-f]{64}")


def test_sessions_made_elsewhere_are_shown(execd, connect):
    ident = execd.client.post("/pty", json={"command": "echo here; exec cat"}).json()["session_id"]
    assert execd.client.get("/api/terminals").json() == [], "nothing runs in it yet"
    holder = ws.WebSocket(execd.connect(), f"/pty/{ident}/ws", [f"{TOKEN_HEADER}: {TOKEN}"])
    try:
        eventually(lambda: [m["name"] for m in execd.client.get("/api/terminals").json()] == [ident])
        terminal = connect(ident)
        terminal.until("here")
        terminal.type("typed\n")
        terminal.until("typed")
    finally:
        holder.socket.close()


@pytest.mark.parametrize("opcode, payload, code", [
    (ws.TEXT, "no json", 1007), (ws.TEXT, "{}", 1007), (ws.TEXT, "[]", 1007), (ws.TEXT, "[1]", 1007),
    (ws.BINARY, b"x", 1007), (ws.TEXT, '["stdin"]', 1008), (ws.TEXT, '["stdin", 1]', 1008),
    (ws.TEXT, '["set_size", "a", 1]', 1008), (ws.TEXT, "x" * ((1 << 20) + 1), 1009),
])
def test_bad_frames_close_with_a_reason(execd, connect, opcode, payload, code):
    terminal = connect(start(execd.client))
    terminal.send(opcode, payload)
    assert terminal.read_close()[0] == code


def test_harmless_frames(execd, connect):
    terminal = connect(start(execd.client))
    for value in (["set_size", 0, 0], ["set_size", -1, 5], ["other", {}], ["set_size", 10 ** 12, 5]):
        terminal.send(ws.TEXT, json.dumps(value))
    terminal.type("echo alive$((1+1))\n")
    terminal.until("alive2")


def test_who_may_connect(execd, connect):
    name = start(execd.client)
    connect(name, headers=[], query=f"?token={TOKEN}")
    connect(name, headers=[f"Authorization: token {TOKEN}"])
    for headers, query, status in (([], "", 401), ([f"{TOKEN_HEADER}: x"], "", 401),
                                   ([f"{TOKEN_HEADER}: {TOKEN}", "Origin: https://evil.example"], "", 403)):
        with pytest.raises(ws.Refused) as refused:
            Terminal(execd, name, headers=headers, query=query)
        assert refused.value.status == status
    with pytest.raises(ws.Refused) as refused:
        Terminal(execd, "none")
    assert refused.value.status == 404 and refused.value.json()["reason"] == "Not Found"
