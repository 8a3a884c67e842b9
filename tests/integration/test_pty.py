"""Terminal sessions: POST /pty and its WebSocket, as clients of upstream use it and as hostile ones do (hardening G)."""

import contextlib
import hashlib
import json
import os
import re
import select
import struct
import threading
import time
from pathlib import Path

import pytest

from harness.execd import TOKEN, TOKEN_HEADER, Execd, eventually, fds, rss_kib
from harness.patience import PATIENCE_S
from harness.ws import BINARY, CLOSE, PING, PONG, TEXT, Refused, WebSocket

AUTH = f"{TOKEN_HEADER}: {TOKEN}"


class Terminal(WebSocket):
    """A client of one session: sorts frames into texts, live output and replay."""

    def __init__(self, execd, session, query="", headers=(AUTH,), limit_s=PATIENCE_S):
        self.texts, self.out, self.err, self.replays, self.closed = [], b"", b"", [], None
        super().__init__(execd.connect(), f"/pty/{session}/ws{query}", headers, limit_s)

    def take(self):
        got = self.read()
        if got.opcode == TEXT:
            self.texts.append(json.loads(got.payload))
        elif got.opcode == CLOSE:
            self.closed = (struct.unpack("!H", got.payload[:2])[0], got.payload[2:].decode())
            with contextlib.suppress(OSError):  # it may have ended meanwhile
                self.send(CLOSE, got.payload[:2])
        elif got.payload[0] == 1:
            self.out += got.payload[1:]
        elif got.payload[0] == 2:
            self.err += got.payload[1:]
        else:
            assert got.payload[0] == 3
            self.replays.append((struct.unpack("!q", got.payload[1:9])[0], got.payload[9:]))
        return got

    def text(self, kind):
        """The first text frame of this type that has not been asked for."""
        while True:
            for i, value in enumerate(self.texts):
                if value["type"] == kind:
                    return self.texts.pop(i)
            assert self.closed is None, f"closed {self.closed} without {kind}: {self.texts}"
            self.take()

    def until(self, mark):
        mark = mark.encode() if isinstance(mark, str) else mark
        while mark not in self.out:
            assert self.closed is None, f"closed {self.closed} without {mark}: {self.out!r}"
            self.take()
        return self.out

    def rest(self):
        """Everything up to the close frame."""
        while self.closed is None:
            self.take()
        return self.out

    def type(self, text):
        self.send(BINARY, b"\0" + (text.encode() if isinstance(text, str) else text))


@pytest.fixture
def pty(execd):
    """Makes sessions and clients on them; all are removed at the end."""

    class Room:
        def __init__(self):
            self.sessions, self.clients = [], []

        def create(self, **body):
            response = execd.client.post("/pty", json=body)
            assert response.status_code == 201, response.text
            assert list(response.json()) == ["session_id"]
            self.sessions.append(response.json()["session_id"])
            return self.sessions[-1]

        def connect(self, session, query="", **more):
            self.clients.append(Terminal(execd, session, query, **more))
            return self.clients[-1]

        def open(self, query="", **body):
            client = self.connect(self.create(**body), query)
            client.text("connected")
            return client

        def info(self, session):
            response = execd.client.get(f"/pty/{session}")
            assert response.status_code == 200, response.text
            return response.json()

        def delete(self, session):
            return execd.client.delete(f"/pty/{session}")

    room = Room()
    yield room
    for client in room.clients:
        client.drop()
    for session in room.sessions:
        room.delete(session)


def processes(command):
    """Process numbers whose command line matches."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if re.match(command, (folder / "cmdline").read_bytes()):
                found.append(int(folder.name))
    return found


# ---- the contract


def test_a_command_from_begin_to_end(pty):
    session = pty.create(command="printf 'hello\\n'; exit 3")
    before = pty.info(session)
    assert before["running"] is False and before["output_offset"] == 0 and "exit_code" not in before
    client = pty.connect(session)
    assert client.text("connected") == {"type": "connected", "session_id": session, "mode": "pty"}
    assert client.rest() == b"hello\r\n"
    assert client.texts == [{"type": "exit", "exit_code": 3}]
    assert client.closed == (1000, "process exited")
    after = pty.info(session)
    assert after["running"] is False and after["output_offset"] == 7 and after["exit_code"] == 3


def test_c18_no_output_is_lost_and_the_exit_comes_last(pty):
    for _ in range(10):
        client = pty.open(command="i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; printf the-end")
        assert client.rest().endswith(b"line 1999\r\nthe-end")
        assert client.out.count(b"\r\n") == 2000
        assert client.texts == [{"type": "exit", "exit_code": 0}]


def test_an_interactive_shell(pty):
    client = pty.open()
    client.type("echo $((6*7))-$TERM; stty size\n")
    client.until("42-xterm-256color\r\n24 80\r\n")
    client.send_json(type="stdin", data="exit 5\n")
    client.rest()
    assert client.texts[-1] == {"type": "exit", "exit_code": 5}


def test_killed_by_a_signal_is_minus_one(pty):
    client = pty.open(command="kill -9 $$")
    client.rest()
    assert client.texts[-1] == {"type": "exit", "exit_code": -1}


def test_pipe_mode_keeps_the_streams_apart(pty):
    client = pty.connect(pty.create(command="read x; echo out-$x; echo err-$x >&2; [ -t 0 ] || echo notty"), "?pty=0")
    assert client.text("connected")["mode"] == "pipe"
    client.type("abc\n")
    assert client.rest() == b"out-abc\nnotty\n"
    assert client.err == b"err-abc\n"
    assert client.texts == [{"type": "exit", "exit_code": 0}]


def test_cwd_is_made_and_used(pty, tmp_path):
    client = pty.open(cwd=str(tmp_path / "a b" / "c"), command="pwd")
    assert client.rest() == f"{tmp_path}/a b/c\r\n".encode()


def test_c18_the_env_file_is_applied(start_execd, tmp_path):
    (tmp_path / "envs").write_text("FROM_FILE=yes\nTERM=vt100\n")
    execd = start_execd(env={"EXECD_ENVS": str(tmp_path / "envs")})
    session = execd.client.post("/pty", json={"command": "echo $FROM_FILE $TERM"}).json()["session_id"]
    client = Terminal(execd, session)
    assert client.rest() == b"yes vt100\r\n"
    client.drop()


def test_an_empty_body_means_defaults(execd, pty):
    response = execd.client.post("/pty")
    assert response.status_code == 201
    pty.sessions.append(response.json()["session_id"])


def test_pong_and_unknown_frames(pty):
    client = pty.open(command="sleep 30")
    client.send_json(type="ping")
    client.text("pong")
    client.send_json(type="x")
    assert client.text("error") == {"type": "error", "error": 'unknown frame type "x"', "code": "INVALID_FRAME"}
    client.send(PING, b"p")
    assert client.read_frame()[:2] == (PONG, b"p")


def test_junk_is_ignored_or_refused_and_the_session_goes_on(pty):
    client = pty.open(command="read x; echo got:$x")
    for junk in ("", "{", "[]", "null", "7", '{"type":"stdin"', "[" * 5000, '{"type":"ping","type":"x"}'):
        client.send(TEXT, junk)
    for junk in (b"", b"\0", b"\x01abc", b"\xff\xff", bytes(1)):
        client.send(BINARY, junk)
    for bad in ({"type": "stdin", "data": 7}, {"type": "stdin"}, {"type": 5}, {}):
        client.send_json(**bad)
        assert client.text("error")["code"] == "INVALID_FRAME"
    client.type("fine\n")
    assert b"got:fine" in client.rest()


def test_c18_a_new_client_after_the_exit_starts_afresh(pty):
    session = pty.create(command="echo run; exit 1")
    pty.connect(session).rest()
    client = pty.connect(session)
    client.text("connected")
    assert client.replays == [(0, b"run\r\n")]
    assert client.rest() == b"run\r\n"
    assert pty.info(session)["output_offset"] == 10
    client = pty.connect(session, "?since=5&pty=0")
    assert client.text("connected")["mode"] == "pipe"
    assert client.replays == [(5, b"run\r\n")]
    assert client.rest() == b"run\n"


def test_c19_errors_have_one_body(execd, tmp_path):
    (tmp_path / "file").write_text("")
    for body, status in (({"cwd": str(tmp_path / "file" / "x")}, 500), ({"cwd": 7}, 400), ({"command": []}, 400),
                         ({"command": "x" * 200000}, 400), ({"record": "yes"}, 400)):
        response = execd.client.post("/pty", json=body)
        assert response.status_code == status, (body, response.text)
        error = response.json()
        assert error["code"] and error["message"]
    assert execd.client.post("/pty", content=b"{").json()["message"].startswith("error parsing request: ")


def test_a_start_that_fails_is_said(pty, tmp_path):
    session = pty.create(cwd=str(tmp_path / "gone"))
    (tmp_path / "gone").rmdir()
    (tmp_path / "gone").write_text("")
    client = pty.connect(session)
    error = client.text("error")
    assert error["code"] == "START_FAILED" and "gone" in error["error"]
    client.rest()
    assert client.closed[0] == 1011
    (tmp_path / "gone").unlink()
    eventually(lambda: not pty.info(session)["attached"])
    pty.connect(session).text("connected")


def test_unknown_sessions(execd, pty):
    for method, path in (("GET", "/pty/x"), ("DELETE", "/pty/x"), ("GET", "/pty/x/ws"), ("GET", "/pty/x/recording")):
        response = execd.client.request(method, path)
        assert response.status_code == 404
        assert response.json()["code"] == "CONTEXT_NOT_FOUND" and "pty session x not found" in response.json()["message"]


def test_list(execd, pty):
    assert execd.client.get("/pty").json() == []
    made = [pty.create() for _ in range(3)]
    listed = execd.client.get("/pty").json()
    assert [one["session_id"] for one in listed] == made
    assert listed[0] == pty.info(made[0])


# ---- G05: slow and stalled clients


def test_g05_a_stalled_client_blocks_nothing(execd, pty):
    client = pty.open(command="yes 0123456789")
    before = rss_kib(execd.pid)
    session = pty.sessions[-1]
    eventually(lambda: pty.info(session)["output_offset"] > 30 << 20, message="the shell waits for a stalled client")
    assert rss_kib(execd.pid) - before < 6 * 1024
    second = pty.connect(session, "?takeover=1&since=999999999999")
    second.text("connected")
    second.until(b"0123456789")
    second.send_json(type="signal", signal="SIGKILL")
    second.rest()
    assert client.read_close() == (4001, "TAKEN_OVER")


def test_g05_a_reading_client_loses_nothing(pty):
    client = pty.open("?pty=0", command="seq 1 400000")
    client.rest()
    assert client.replays == []
    assert hashlib.sha256(client.out).digest() == hashlib.sha256(
        b"".join(b"%d\n" % i for i in range(1, 400001))).digest()


def test_g05_a_slow_client_makes_the_shell_wait(pty):
    client = pty.open("?pty=0", command="seq 1 600000")
    session = pty.sessions[-1]
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:  # 120 kB/s: longer between two wake-ups of the sender than a second
        client.buffer += client.socket.recv(12000)
        time.sleep(0.1)
    assert pty.info(session)["running"]
    client.rest()
    assert client.replays == [] and client.out == b"".join(b"%d\n" % i for i in range(1, 600001))


def test_g05_what_was_skipped_is_said(pty):
    client = pty.open("?pty=0", command="seq 1 3000000; echo end")
    session = pty.sessions[-1]
    eventually(lambda: pty.info(session)["output_offset"] > 20000000)
    client.rest()
    everything = b"".join(b"%d\n" % i for i in range(1, 3000001)) + b"end\n"
    assert client.replays, "nothing was skipped"
    offset, data = client.replays[0]
    assert offset > 0 and data == everything[offset:offset + len(data)]
    assert client.texts[-1]["type"] == "exit"


# ---- G06: replay


def replay_of(client):
    """Replay frames put together: (offset, bytes)."""
    data = b""
    for offset, piece in client.replays:
        assert not data or offset == client.replays[0][0] + len(data), "a gap"
        data += piece
    return (client.replays[0][0] if client.replays else None), data


def test_g06_replay_since(execd, pty):
    session = pty.create(command="printf 0123456789; exec sleep 60")
    pty.connect(session).until("0123456789")
    for query, want in (("", (0, b"0123456789")), ("&since=0", (0, b"0123456789")), ("&since=4", (4, b"456789")),
                        ("&since=9", (9, b"9")), ("&since=10", (None, b"")), ("&since=11", (None, b"")),
                        ("&since=18446744073709551615", (None, b""))):
        client = pty.connect(session, "?viewer=1" + query)
        client.text("connected")
        assert replay_of(client) == want, query
    for bad in ("-1", "1.5", "x", "0x1", "18446744073709551616"):
        with pytest.raises(Refused) as refusal:
            pty.connect(session, f"?viewer=1&since={bad}")
        assert refusal.value.status == 400 and refusal.value.json()["code"] == "INVALID_REQUEST_BODY"


def test_g06_the_ring_wraps_at_1_mib(pty):
    session = pty.create(command="seq 1 500000")
    pty.connect(session, "?pty=0").rest()
    everything = b"".join(b"%d\n" % i for i in range(1, 500001))
    assert pty.info(session)["output_offset"] == len(everything)
    client = pty.connect(session, "?viewer=1")
    client.rest()
    assert replay_of(client) == (len(everything) - (1 << 20), everything[-(1 << 20):])
    assert client.texts[-1] == {"type": "exit", "exit_code": 0}


# ---- G07: who holds it


def test_g07_a_held_session(execd, pty):
    session = pty.create(command="sleep 60")
    first = pty.connect(session)
    first.text("connected")
    with pytest.raises(Refused) as refusal:
        pty.connect(session)
    assert refusal.value.status == 409 and refusal.value.json()["code"] == "ALREADY_CONNECTED"
    assert refusal.value.json()["message"].startswith(f"another client is already connected to pty session {session}")
    # Without a real upgrade nobody is told to go.
    assert execd.client.get(f"/pty/{session}/ws?takeover=1").status_code == 409
    second = pty.connect(session, "?takeover=1")
    second.text("connected")
    assert first.read_close() == (4001, "TAKEN_OVER")
    first.drop()
    second.close()
    eventually(lambda: not pty.info(session)["attached"])
    pty.connect(session).text("connected")


def test_g07_takeover_race(execd, pty):
    session = pty.create(command="cat")
    pty.connect(session).text("connected")
    results, gate = [], threading.Barrier(20)

    def race():
        gate.wait()
        for _ in range(5):
            client = Terminal(execd, session, "?takeover=1")
            results.append(client)
            client.text("connected")

    threads = [threading.Thread(target=race) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    pty.clients += results
    assert len(results) == 100
    info = pty.info(session)
    assert info["attached"] and info["running"]


    def told():
        return [client for client in results if client.buffer or select.select([client.socket], [], [], 0)[0]]

    eventually(lambda: len(told()) >= 99)
    assert [client.read_close()[0] for client in told()] == [4001] * 99  # and one is left


# ---- viewers


def test_viewers_look_and_no_more(pty):
    session = pty.create(command="read x; echo got:$x")
    early = pty.connect(session, "?viewer=1")
    assert early.text("connected")["viewer"] is True
    assert not pty.info(session)["running"]
    writer = pty.connect(session)
    writer.text("connected")
    viewers = [pty.connect(session, "?viewer=1") for _ in range(5)]
    for viewer in viewers:
        viewer.text("connected")
        viewer.type("intruder\n")
        for frame in ({"type": "stdin", "data": "x\n"}, {"type": "signal", "signal": "SIGKILL"},
                      {"type": "resize", "cols": 5, "rows": 5}):
            viewer.send_json(**frame)
            assert viewer.text("error")["code"] == "READ_ONLY"
        viewer.send_json(type="ping")
        viewer.text("pong")
    assert pty.info(session)["viewers"] == 6
    writer.type("friend\n")
    for client in (early, writer, *viewers):
        assert client.rest() == b"friend\r\ngot:friend\r\n"
        assert client.texts == [{"type": "exit", "exit_code": 0}]


def test_the_writer_of_an_ended_process_is_no_viewer(pty):
    session = pty.create(command="read x")
    viewer = pty.connect(session, "?viewer=1")
    writer = pty.connect(session)
    viewer.text("connected")
    writer.text("connected")
    writer.type("end\n")
    writer.text("exit")  # the closing handshake is not answered, so it stays attached
    assert pty.info(session)["viewers"] <= 1
    viewer.rest()
    eventually(lambda: pty.info(session)["viewers"] == 0)  # the server has read the viewer's part of the handshake


def test_viewers_are_bounded(pty):
    session = pty.create()
    for _ in range(64):
        pty.connect(session, "?viewer=1")
    with pytest.raises(Refused) as refusal:
        pty.connect(session, "?viewer=1")
    assert refusal.value.status == 503


# ---- G08: size


def test_g08_resize(pty):
    # Looked at again and again: bash may lose a signal that comes while it runs the trap of one.
    client = pty.open(command="trap 'echo told' WINCH; while :; do now=$(stty size); [ \"$now\" = \"$was\" ] || echo \"$now\"; "
                              "was=$now; sleep 0.05; done")
    client.until("24 80\r\n")
    for bad in ({"cols": 0, "rows": 0}, {"cols": -1, "rows": 5}, {"cols": 5}, {"cols": 80.0, "rows": 24.0},
                {"cols": "80", "rows": 24}, {"cols": None, "rows": None}, {"cols": 1e300, "rows": 1}):
        client.send_json(type="resize", **bad)
        assert client.text("error")["code"] == "INVALID_FRAME", bad
    client.send_json(type="resize", cols=132, rows=50)
    client.until("50 132\r\n")
    client.until("told\r\n")
    client.send_json(type="resize", cols=10**9, rows=65535)
    client.until("65535 65535\r\n")
    for i in range(10000):
        client.send_json(type="resize", cols=100 + i % 50, rows=40)
    client.send_json(type="resize", cols=77, rows=33)
    client.until("33 77\r\n")
    assert client.out.count(b"\r\n") < 1000  # gathered


def test_g08_size_at_the_start(execd, pty):
    client = pty.open(command="stty size", cols=200, rows=60)
    assert client.rest() == b"60 200\r\n"
    for bad in ({"cols": 0}, {"rows": 65536}, {"cols": -1}, {"cols": 80.0}, {"rows": "24"}):
        assert execd.client.post("/pty", json=bad).status_code == 400, bad


def test_g08_resize_before_the_start_and_in_pipe_mode(pty):
    client = pty.open("?pty=0", command="read x; echo ok")
    client.send_json(type="resize", cols=90, rows=30)
    client.type("\n")
    assert client.rest() == b"ok\n"
    client = pty.connect(pty.sessions[-1])
    client.text("connected")
    client.type("\n")
    client.rest()


# ---- G09: signals


def test_c18_sigint_reaches_the_foreground_job(pty):
    client = pty.open()
    client.type("sleep 7654\n")
    eventually(lambda: processes(rb"sleep\x007654\x00"))
    client.send_json(type="signal", signal="SIGINT")
    client.type("echo alive-$?\n")
    client.until("\ralive-130\r\n")
    client.type("exit 0\n")
    client.rest()
    assert client.texts[-1]["exit_code"] == 0


def test_g09_signals_by_name(pty):
    for name, code in (("SIGTERM", -1), ("SIGKILL", -1), ("SIGHUP", -1), ("SIGQUIT", -1), ("SIGINT", -1)):
        client = pty.open(command="exec sleep 4321")
        eventually(lambda: processes(rb"sleep\x004321\x00"))  # until then it is bash, which ignores SIGQUIT
        client.send_json(type="signal", signal=name)
        client.rest()
        assert client.texts[-1] == {"type": "exit", "exit_code": code}, name


def test_g09_other_signals_are_refused(pty):
    client = pty.open(command="echo go; read x")
    client.until("go")
    for bad in ("KILL", "SIGSTOP", "STOP", "sigint", "9", 9, None, "", "SIGUSR1", "SIGRTMIN", []):
        client.send_json(type="signal", signal=bad)
        assert client.text("error")["code"] == "INVALID_FRAME", bad
    client.type("\n")
    client.rest()
    assert client.texts[-1]["exit_code"] == 0


# ---- G10: exits


def test_g10_exit_while_detached(pty):
    session = pty.create(command="read x; echo bye; exit 9")
    client = pty.connect(session)
    client.text("connected")
    client.type("\n")
    client.drop()
    eventually(lambda: pty.info(session).get("exit_code") == 9)
    viewer = pty.connect(session, "?viewer=1")
    viewer.rest()
    assert replay_of(viewer)[1].endswith(b"bye\r\n")
    assert viewer.texts == [{"type": "connected", "session_id": session, "mode": "pty", "viewer": True},
                            {"type": "exit", "exit_code": 9}]


def test_g10_exit_at_once(pty):
    session = pty.create(command="exit 4")
    for _ in range(20):
        client = pty.connect(session)
        client.rest()
        assert [t["type"] for t in client.texts] == ["connected", "exit"] and client.texts[-1]["exit_code"] == 4


def test_g10_a_background_job_does_not_delay_the_exit(pty):
    client = pty.open("?pty=0", command="sleep 60 & echo done")
    client.rest()
    assert client.out == b"done\n" and client.texts[-1]["exit_code"] == 0


# ---- G11: whose terminal


def test_g11_terminals_are_apart(execd, pty, tmp_path):
    client = pty.open(command="tty; ps -o tty=,sid=,pid= -p $$; ls -l /proc/$$/fd")
    shown = client.rest().decode()
    name = re.match(r"/dev/(pts/\d+)\r\n", shown).group(1)
    tty, sid, pid = shown.split("\r\n")[1].split()
    assert tty == name and sid == pid
    assert not re.search(r"ptmx|sock|anon", shown)
    # execd has taken no terminal of any session as its own.
    tty_nr = int(Path(f"/proc/{execd.pid}/stat").read_text().rpartition(")")[2].split()[4])
    assert tty_nr == int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[4])


def test_g11_stuffed_input_stays_in_its_session(pty):
    """TIOCSTI, where the kernel still has it, types into the terminal of its own session only."""
    other = pty.open(command="cat")
    stuff = "import fcntl,termios; [fcntl.ioctl(0, termios.TIOCSTI, bytes([c])) for c in b'stuffed\\n']"
    client = pty.open(command=f"python3 -c \"{stuff}\" 2>/dev/null; echo over")
    client.rest()
    assert b"over" in client.out
    other.type("own\n")
    other.until("own\r\nown\r\n")
    assert other.out == b"own\r\nown\r\n"


# ---- G12, G13: ends


def terminals_of(execd):
    """Open masters: a terminal is in /dev/pts exactly as long as its master is open."""
    return len([name for name in fds(execd.pid).values() if "ptmx" in name])


def test_g12_many_sessions_leave_nothing(execd, pty):
    made = [pty.create(command="sleep 1000 & cat") for _ in range(60)]
    for session in made:
        pty.connect(session).text("connected")
    assert terminals_of(execd) == 60
    for client in pty.clients:
        client.drop()
    for session in made:
        assert pty.delete(session).status_code == 200
    eventually(lambda: terminals_of(execd) == 0, message="terminals are left")


def test_delete_kills_the_whole_tree(execd, pty):
    client = pty.open(command="setsid sleep 987 & (sleep 986 &) ; echo go; exec sleep 985")
    client.until("go")
    pty.delete(pty.sessions[-1])

    eventually(lambda: not processes(rb"sleep\x0098[567]\x00"), message="processes are left")


def test_g13_delete_while_attached(pty):
    session = pty.create(command="sleep 60")
    client, viewer = pty.connect(session), pty.connect(session, "?viewer=1")
    client.text("connected")
    viewer.text("connected")
    assert pty.delete(session).status_code == 200
    for one in (client, viewer):
        one.rest()
        assert one.texts == [{"type": "exit", "exit_code": -1}] and one.closed == (1000, "session deleted")
    with pytest.raises(Refused) as refusal:
        pty.connect(session)
    assert refusal.value.status == 404
    assert pty.delete(session).status_code == 404


def test_shutdown_lets_clients_go(start_execd):
    execd = start_execd("--grace", "1m")  # which a shell that ignores SIGTERM would use up
    session = execd.client.post("/pty", json={}).json()["session_id"]
    client = Terminal(execd, session)
    client.text("connected")
    client.type("echo up\n")
    client.until("\rup\r\n")
    assert execd.stop() == 0
    client.rest()
    assert client.closed[0] == 1001
    client.drop()


# ---- G14: nothing is interpreted


def test_g14_bytes_pass_through(pty):
    client = pty.open(command="stty raw -echo; printf ready; head -c 256 | od -An -v -tx1 | tr -d ' \\n'; "
                              "printf '\\033[6n\\033]52;c;eA==\\007\\377\\376'")
    client.until("ready")
    client.type(bytes(range(256)))
    client.rest()
    assert client.out == b"ready" + bytes(range(256)).hex().encode() + b"\033[6n\033]52;c;eA==\007\377\376"


def test_input_larger_than_the_terminal_takes(pty):
    client = pty.open("?pty=0", command="sha256sum")
    data = os.urandom(1 << 20)
    for at in range(0, len(data), 100000):
        client.type(data[at:at + 100000])
    client.send_json(type="ping")
    client.text("pong")
    client.drop()
    client = pty.open("?pty=0", command=f"head -c {len(data)} | sha256sum")
    for at in range(0, len(data), 100000):
        client.type(data[at:at + 100000])
    assert client.rest().split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_input_nobody_reads_is_bounded(execd, pty):
    client = pty.open("?pty=0", command="sleep 60")
    before = rss_kib(execd.pid)
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            client.type(bytes(65536))
    assert rss_kib(execd.pid) - before < 4096


def test_closed_stdin_is_said(pty):
    client = pty.open("?pty=0", command="exec <&-; echo go; sleep 60")
    client.until("go")
    with contextlib.suppress(OSError, EOFError):
        client.type("x\n")
        client.type("x\n")
    assert client.text("error")["code"] == "STDIN_WRITE_FAILED"
    client.rest()
    assert client.closed[0] == 1011


# ---- recording


def test_recording(execd, pty):
    session = pty.create(command="printf 'h\\303\\251llo \\033[1m\\377'; printf '\\342\\202'; sleep 0.1; printf '\\254'; "
                                 "read -r x", record=True)
    client = pty.connect(session)
    client.text("connected")
    client.send_json(type="resize", cols=100, rows=30)
    client.until("\u20ac".encode())
    client.type("secret\n")
    client.rest()
    response = execd.client.get(f"/pty/{session}/recording")
    assert response.status_code == 200 and response.headers["content-type"] == "application/x-asciicast"
    header, *events = [json.loads(line) for line in response.text.splitlines()]
    assert header["version"] == 2 and (header["width"], header["height"]) == (80, 24)
    assert "".join(e[2] for e in events if e[1] == "o") == "h\u00e9llo \033[1m\ufffd\u20acsecret\r\n"
    assert [e[2] for e in events if e[1] == "r"] == ["100x30"]
    times = [e[0] for e in events]
    assert times == sorted(times) and not [e for e in events if e[1] == "i"]


def test_recording_is_bounded_and_says_so(execd, pty):
    session = pty.create(command="seq 1 4000000 | head -c 20000000", record=True)
    client = pty.connect(session, "?pty=0")
    client.rest()
    data = execd.client.get(f"/pty/{session}/recording").content
    assert 15 << 20 < len(data) <= 16 << 20
    assert json.loads(data.splitlines()[-1])[1:] == ["m", "recording truncated"]
    pty.delete(session)


def test_no_recording_unless_asked(execd, pty):
    response = execd.client.get(f"/pty/{pty.create()}/recording")
    assert response.status_code == 404 and response.json()["code"] == "NOT_RECORDED"


# ---- metrics


def metrics(execd):
    text = execd.client.get("/metrics", headers={"Accept": "text/plain"}).text
    return {name: float(value) for name, value in re.findall(r"^execd_(terminal\w+) (\S+)$", text, re.M)}


def test_metrics(execd, pty):
    assert metrics(execd) == {"terminal_processes_started_total": 0, "terminals": 0, "terminals_running": 0,
                              "terminal_clients": 0, "terminal_recording_bytes": 0}
    pty.create()
    client = pty.open(command="read x", record=True)
    viewer = pty.connect(pty.sessions[-1], "?viewer=1")
    viewer.text("connected")
    assert metrics(execd) == {"terminal_processes_started_total": 1, "terminals": 2, "terminals_running": 1,
                              "terminal_clients": 2, "terminal_recording_bytes": 65536}
    client.type("\n")
    client.rest()
    viewer.rest()
    eventually(lambda: metrics(execd)["terminal_clients"] == 0)
    assert metrics(execd)["terminals_running"] == 0
    pty.delete(pty.sessions[-1])
    assert metrics(execd)["terminals"] == 1 and metrics(execd)["terminal_recording_bytes"] == 0


# ---- E06: who may connect


def refused(execd, session, *headers, query=""):
    with pytest.raises(Refused) as refusal:
        Terminal(execd, session, query, headers)
    return refusal.value


def test_e06_no_token(execd, pty):
    session = pty.create(command="sleep 60")
    wrong = f"{TOKEN_HEADER}: x"
    for headers in ((), (wrong,), (AUTH, wrong), (wrong, f"Sec-WebSocket-Protocol: execd.token.{TOKEN}"),
                    ("Sec-WebSocket-Protocol: execd.token.x",), ("Sec-WebSocket-Protocol: execd.token.",),
                    (f"Sec-WebSocket-Protocol: execd.token.{TOKEN}, execd.token.{TOKEN}",),
                    (f"Sec-WebSocket-Protocol: {TOKEN}",)):
        assert refused(execd, session, *headers).status == 401, headers
    for path in (f"/pty/{session}", f"/pty/{session}/ws", "/ping?"):
        response = execd.new_client(None).get(path, headers={"Sec-WebSocket-Protocol": f"execd.token.{TOKEN}"})
        assert response.status_code == 401
    assert not pty.info(session)["running"]


def test_e06_the_token_of_a_page(execd, pty):
    session = pty.create(command="echo hi")
    client = pty.connect(session, headers=(f"Sec-WebSocket-Protocol: execd.pty.v1, execd.token.{TOKEN}", "Origin: http://execd"))
    assert client.headers["sec-websocket-protocol"] == "execd.pty.v1"
    assert client.rest() == b"hi\r\n"


def test_e06_origins(execd, pty, start_execd):
    session = pty.create(command="echo hi")
    for origin in ("http://evil.example", "null", "http://execd.evil.example"):
        refusal = refused(execd, session, AUTH, f"Origin: {origin}")
        assert refusal.status == 403 and refusal.json()["code"] == "FORBIDDEN"
    assert not pty.info(session)["running"]
    other = start_execd("--allow-origin", "https://ide.example")
    session = other.client.post("/pty", json={"command": "echo hi"}).json()["session_id"]
    client = Terminal(other, session, headers=(AUTH, "Origin: https://ide.example"))
    assert client.rest() == b"hi\r\n"
    client.drop()


def test_handshake_order(execd, pty):
    session = pty.create(command="sleep 60")
    response = execd.client.get(f"/pty/{session}/ws")
    assert response.status_code == 400 and not pty.info(session)["running"]


# ---- limits


def test_sessions_are_bounded_and_finished_ones_make_room(execd):
    made = [execd.client.post("/pty").json()["session_id"] for _ in range(1024)]
    response = execd.client.post("/pty")
    assert response.status_code == 503 and response.json()["code"] == "SERVICE_UNAVAILABLE"
    client = Terminal(execd, made[7])
    client.text("connected")
    client.type("exit\n")
    client.rest()
    client.drop()
    eventually(lambda: execd.client.post("/pty").status_code == 201)
    assert execd.client.get(f"/pty/{made[7]}").status_code == 404
    for session in made:
        execd.client.delete(f"/pty/{session}")
    for one in execd.client.get("/pty").json():
        execd.client.delete(f"/pty/{one['session_id']}")
