"""Output on its way to clients: exact, in order, bounded, and always with an end (hardening C)."""

import contextlib
import hashlib
import json
import socket
import threading
import time

import pytest

from harness.execd import TOKEN, children, cpu_s, eventually, n_open, output_of, rss_kib, sse_events


def request(body, headers=""):
    data = json.dumps(body).encode()
    return (f"POST /command HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: {TOKEN}\r\n{headers}"
            f"Content-Length: {len(data)}\r\n\r\n").encode() + data


def payload_digest(client, command, **headers):
    """SHA-256 of all stdout text of a command, read as a stream, and the events that are no output."""
    digest, others, rest = hashlib.sha256(), [], ""
    with client.stream("POST", "/command", json={"command": command}, headers=headers, timeout=120) as response:
        for piece in response.iter_text():
            *blocks, rest = (rest + piece).split("\n\n")
            for block in blocks:
                event = json.loads(block)
                if event["type"] == "stdout":
                    digest.update(event["text"].encode())
                else:
                    others.append(event)
    assert rest == ""
    return digest.hexdigest(), others


def test_C01_flood_is_exact_and_memory_flat(execd):
    command = "seq 1 20000000"  # 168 MB
    expected = hashlib.sha256()
    for start in range(1, 20000001, 1000000):
        expected.update("".join(f"{i}\n" for i in range(start, start + 1000000)).encode())
    before = rss_kib(execd.pid)
    digest, others = payload_digest(execd.client, command)
    assert digest == expected.hexdigest()
    assert others[-1]["type"] == "execution_complete"
    assert rss_kib(execd.pid) - before < 16 * 1024


def open_stream(execd, command, headers="", **options):
    """A raw connection on which a command's stream has begun: (socket, the command's id, bytes so far)."""
    connection = execd.connect()
    for option, value in options.items():
        connection.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
    connection.sendall(request({"command": command}, headers))
    data = b""
    while b'"init"' not in data or b"\n\n" not in data:
        data += connection.recv(4096)
    ident = json.loads(data[data.index(b"{"):].split(b"\n")[0])["text"]
    return connection, ident, data


def test_C02_client_that_does_not_read(execd):
    connection, ident, _ = open_stream(execd, "yes")
    settled = []

    def is_settled():  # nothing moves any more: every buffer on the way is full
        settled.append(rss_kib(execd.pid))
        return len(settled) > 100 and len(set(settled[-40:])) == 1

    before = rss_kib(execd.pid)
    eventually(is_settled)
    for _ in range(20):  # others are served all the while
        assert output_of(execd.command("echo ok")) == "ok\n"
    assert rss_kib(execd.pid) - before < 4 * 1024
    assert execd.client.get(f"/command/status/{ident}").json()["running"] is True
    connection.close()
    assert execd.client.delete("/command", params={"id": ident}).status_code == 200


def is_held(execd):
    """Does the one command sleep, its CPU time standing still?"""
    def ticks():
        with open(f"/proc/{children(execd.pid)[0][0]}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return fields[0], fields[11], fields[12]
    first = ticks()
    time.sleep(0.1)
    return first[0] == "S" and ticks() == first


def test_C02_a_stalled_client_does_not_delay_an_interrupt(execd):
    connection, ident, _ = open_stream(execd, "yes")
    eventually(lambda: is_held(execd), message="the flood was never held")
    assert execd.client.delete("/command", params={"id": ident}).status_code == 200  # 500 if it took its time
    assert execd.client.get(f"/command/status/{ident}").json()["running"] is False
    data = b""
    while piece := connection.recv(1 << 16):  # and the stream is whole
        data += piece
        if data.endswith(b"0\r\n\r\n"):
            break
    assert data.endswith(b"0\r\n\r\n") and b"signal: terminated" in data


def test_C02_without_readers_the_process_is_not_held(execd):
    """A flood whose client has gone runs to its end, and its output costs no more than what is retained."""
    connection, ident, _ = open_stream(execd, "head -c 300000000 /dev/zero; exit 3")
    before = rss_kib(execd.pid)
    connection.close()
    url = f"/command/status/{ident}"
    eventually(lambda: not execd.client.get(url).json()["running"])
    assert execd.client.get(url).json()["exit_code"] == 3
    assert rss_kib(execd.pid) - before < 4 * 1024


@pytest.mark.parametrize("way", ["close", "reset"])
def test_C03_disconnect_does_not_kill(execd, tmp_path, way):
    marker = tmp_path / "done"
    connection, ident, _ = open_stream(execd, f"sleep 0.3; echo late; touch {marker}")
    if way == "reset":  # unread data makes the close a reset
        connection.close()
        connection = socket.create_connection(("127.0.0.1", execd.port))
        connection.sendall(request({"command": f"seq 1 100000; sleep 0.3; touch {marker}2"}))
        connection.recv(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    eventually(marker.exists, message="the command died with its client")
    if way == "reset":
        eventually((tmp_path / "done2").exists, message="the command died with its client")
    eventually(lambda: not execd.client.get(f"/command/status/{ident}").json()["running"])
    assert execd.client.get(f"/command/status/{ident}").json()["exit_code"] == 0


def test_C04_one_long_line(execd):
    size = 64 * 1024 * 1024
    digest, others = payload_digest(execd.client, f"head -c {size} /dev/zero | tr '\\0' a")
    assert digest == hashlib.sha256(b"a" * size).hexdigest()
    assert others[-1]["type"] == "execution_complete"


def repaired(data):
    """The rule: every byte that is no part of a valid sequence becomes one U+FFFD."""
    text, at = [], 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                text.append(data[at:at + size].decode())
                at += size
                break
            except UnicodeDecodeError:
                pass
        else:
            text.append("\ufffd")
            at += 1
    return "".join(text)


def test_C05_bytes_become_text(execd, tmp_path):
    special = "é€😀\ufeff".encode() + b"\xc3\x28\xed\xa0\x80\xf8\xc0\xaf\xf4\x90\x80\x80" + "ü".encode()[:1]
    pairs = b"".join(bytes((a, b)) for a in range(256) for b in range(256))
    for name, data in (("all", bytes(range(256))), ("special", special), ("pairs", pairs), ("one", b"\xff")):
        source = tmp_path / name
        source.write_bytes(data)
        assert output_of(execd.command(f"cat {source}")) == repaired(data), name


@pytest.mark.parametrize("char", ["é", "€", "😀"])
def test_C05_characters_split_between_writes(execd, char):
    raw = char.encode()
    for cut in range(1, len(raw)):
        first = "".join(f"\\x{b:02x}" for b in raw[:cut])
        second = "".join(f"\\x{b:02x}" for b in raw[cut:])
        events = execd.command(f"printf 'a{first}'; sleep 0.15; printf '{second}b'")
        assert output_of(events) == f"a{char}b"


def test_C06_line_ends_in_both_modes(start_execd):
    command = r"printf 'a\n\nb\r\nc\rd\n\n\ne'"
    keep = start_execd("--line-endings", "keep")
    texts = [e["text"] for e in keep.command(command) if e["type"] == "stdout"]
    assert texts == ["a\n", "\n", "b\r\n", "c\r", "d\n", "\n", "\n", "e"]
    strip = start_execd("--line-endings", "strip")
    texts = [e["text"] for e in strip.command(command) if e["type"] == "stdout"]
    assert texts == ["a", "\n", "b", "c", "d", "\n", "\n", "e"]


@pytest.mark.parametrize("agent, stripped", [
    ("OpenSandbox-Python-SDK/1.1.1", False), ("OpenSandbox-Python-SDK/1.1.0", True),
    ("OpenSandbox-Python-SDK/0.1.10", True), ("OpenSandbox-JS-SDK/0.1.11", True), ("OpenSandbox-Go-SDK/1.0.2", True),
    ("curl/8.0", False),
])
def test_line_ends_by_user_agent(execd, agent, stripped):
    response = execd.client.post("/command", json={"command": "echo a"}, headers={"User-Agent": agent})
    assert output_of(sse_events(response.text)) == ("a" if stripped else "a\n")


def test_C06_separators_are_escaped(execd):
    response = execd.client.post("/command", json={"command": r"printf 'a\xc2\x85b\xe2\x80\xa8c\xe2\x80\xa9d\x1b[0m'"})
    for raw in ("\u0085", "\u2028", "\u2029", "\x1b"):
        assert raw not in response.text
    assert output_of(sse_events(response.text)) == "a\u0085b\u2028c\u2029d\x1b[0m"


def test_C06_a_million_blank_lines(start_execd):
    for mode in ("keep", "strip"):
        agent = start_execd("--line-endings", mode)
        digest, others = payload_digest(agent.client, "yes '' | head -n 1000000")
        assert digest == hashlib.sha256(b"\n" * 1000000).hexdigest()
        assert others[-1]["type"] == "execution_complete"


def test_ten_thousand_lines_in_both_modes(start_execd):
    lines = [f"{i}" for i in range(1, 10001)]
    keep = start_execd("--line-endings", "keep")
    assert output_of(keep.command("seq 1 10000")) == "".join(line + "\n" for line in lines)
    strip = start_execd("--line-endings", "strip")
    assert [e["text"] for e in strip.command("seq 1 10000") if e["type"] == "stdout"] == lines


def run_with_gate(agent, command, mark, folder):
    """The text of a stream; {gate} in the command comes into being when the mark is seen, without which nothing ends."""
    gate, text = folder / "gate", ""
    with agent.client.stream("POST", "/command", json={"command": command.replace("{gate}", str(gate))}) as response:
        for piece in response.iter_text():
            text += piece
            if mark(text):
                gate.touch()
    return text


WAIT = "until [ -e {gate} ]; do sleep 0.02; done; "


def test_C06_redraws_are_shown_at_once_when_stripped(start_execd, tmp_path):
    """A progress bar ends its line with a carriage return and then waits."""
    agent = start_execd("--line-endings", "strip")
    text = run_with_gate(agent, rf"printf '50%%\r'; {WAIT}printf '\nx\n'", lambda text: "50%" in text, tmp_path)
    assert [e["text"] for e in sse_events(text) if e["type"] == "stdout"] == ["50%", "x"]


def test_ids_say_exactly_what_was_given(execd):
    """id: SEQ.OUT.ERR, the position from which nothing is missing and nothing is doubled."""
    command = "for i in 1 2 3 4 5; do printf é; printf 'err\\n' >&2; sleep 0.02; printf '€\\nab'; done; seq 1 5000"
    text = execd.client.post("/command?sse=standard", json={"command": command}).text
    given, last = {"stdout": 0, "stderr": 0}, 0
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        event = json.loads(fields["data"])
        assert fields["event"] == event["type"]
        if event["type"] == "ping":
            assert "id" not in fields
            continue
        if event["type"] in given:
            given[event["type"]] += len(event["text"].encode())
        seq, out, err = map(int, fields["id"].split("."))
        assert seq >= last and (out, err) == (given["stdout"], given["stderr"])
        last = seq
    assert given["stdout"] == len("é€\nab".encode()) * 5 + sum(len(f"{i}\n") for i in range(1, 5001))
    assert given["stderr"] == 20


def test_C07_both_streams_whole_before_the_end(execd):
    events = execd.command("seq 1 200000 & seq 1 200000 >&2; wait")
    expected = "".join(f"{i}\n" for i in range(1, 200001))
    assert output_of(events) == expected and output_of(events, "stderr") == expected
    assert events[-1]["type"] == "execution_complete"


def test_C08_last_bytes_before_terminal_event(execd):
    for _ in range(500):
        events = execd.command("printf x; kill -9 $$")
        assert output_of(events) == "x" and events[-1]["type"] == "error"


def test_C09_the_last_chunk_is_always_sent(raw_http, execd):
    for i in range(200):
        with raw_http() as connection:
            connection.send(request({"command": f"echo {i}"}, "Connection: close\r\n"))
            answer = connection.read_all()
            assert answer.endswith(b"0\r\n\r\n")


def test_C10_single_bytes_are_coalesced(execd):
    events = execd.command("python3 -c 'import os\nfor i in range(20000): os.write(1, b\"x\")'")
    assert output_of(events) == "x" * 20000
    assert len(events) < 2000


def test_C13_output_cannot_forge_events(execd):
    forged = '{"type":"execution_complete","execution_time":1,"timestamp":1}'
    events = execd.command(f"printf '\\n\\n{forged}\\n\\ndata: {forged}\\n\\n'; exit 4")
    assert [e["type"] for e in events].count("execution_complete") == 0
    assert events[-1]["error"]["evalue"] == "4"


def test_unfinished_line_is_shown_while_it_waits(execd, tmp_path):
    """A prompt without a line end must not look frozen."""
    text = run_with_gate(execd, f"printf 'prompt> '; {WAIT}", lambda text: "prompt> " in text, tmp_path)
    assert output_of(sse_events(text)) == "prompt> "


def test_pings_keep_a_silent_stream_alive(execd, tmp_path):
    text = run_with_gate(execd, WAIT, lambda text: text.count("pong") == 2, tmp_path)
    first, *pings, last = sse_events(text)
    assert (first["type"], last["type"]) == ("init", "execution_complete")
    assert len(pings) >= 2 and {(e["type"], e["text"]) for e in pings} == {("ping", "pong")}


def test_unfinished_line_is_shown_in_spite_of_the_other_stream(execd, tmp_path):
    command = "printf 'prompt> '; until [ -e {gate} ]; do echo x >&2; sleep 0.02; done"
    text = run_with_gate(execd, command, lambda text: "prompt> " in text, tmp_path)
    assert output_of(sse_events(text)) == "prompt> "


def test_C11_idle_streams_cost_little(execd):
    open_streams = [open_stream(execd, "exec sleep 100")]
    before = rss_kib(execd.pid)
    open_streams += [open_stream(execd, "exec sleep 100") for _ in range(100)]
    assert (rss_kib(execd.pid) - before) / 100 < 32
    for connection, ident, _ in open_streams:
        connection.close()
        assert execd.client.delete("/command", params={"id": ident}).status_code == 200


def test_slow_reader_gets_everything(execd):
    connection = execd.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(request({"command": "seq 1 60000"}, "Connection: close\r\n"))
    data = b""
    while piece := connection.recv(3000):
        data += piece
    body = data.split(b"\r\n\r\n", 1)[1]
    text = b""
    while body:
        size, body = body.split(b"\r\n", 1)
        text += body[:int(size, 16)]
        body = body[int(size, 16) + 2:]
    assert output_of(sse_events(text.decode())) == "".join(f"{i}\n" for i in range(1, 60001))


def test_two_streams_do_not_disturb_each_other(execd):
    results = {}

    def run(name):
        with execd.new_client() as client:
            results[name] = output_of(sse_events(client.post("/command", json={
                "command": f"for i in 1 2 3 4 5; do echo {name}$i; sleep 0.05; done"}).text))

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    [t.start() for t in threads]
    [t.join() for t in threads]
    for name in "ab":
        assert results[name] == "".join(f"{name}{i}\n" for i in range(1, 6))


@pytest.mark.parametrize("family", ["unix", "tcp"])
def test_requests_behind_a_stream_cost_nothing_and_go_with_their_client(start_execd, family):
    agent = start_execd()
    agent.client.get("/ping")
    client = agent.connect() if family == "unix" else socket.create_connection(("127.0.0.1", agent.port))
    client.sendall(request({"command": "exec sleep 60"}))
    assert b" 200 " in client.recv(4096)
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(100):
            client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    spent = cpu_s(agent.pid)
    time.sleep(0.5)
    assert cpu_s(agent.pid) - spent < 0.2
    during = n_open(agent.pid)
    client.close()
    eventually(lambda: n_open(agent.pid) < during)
    assert agent.client.get("/ping").status_code == 200
    spent = cpu_s(agent.pid)
    time.sleep(0.5)
    assert cpu_s(agent.pid) - spent < 0.2
