"""Output on its way to clients: exact, in order, bounded, and always with an end (hardening C)."""

import hashlib
import json
import socket
import threading
import time

import pytest

from harness.execd import TOKEN, eventually, output_of, rss_kib, sse_events


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


def test_C02_client_that_does_not_read(execd):
    connection = execd.connect()
    connection.sendall(request({"command": "yes"}))
    assert connection.recv(100)
    eventually(lambda: True, 1)
    before = rss_kib(execd.pid)
    for _ in range(20):  # others are served all the while
        assert output_of(execd.command("echo ok")) == "ok\n"
    time.sleep(0.5)  # the flood has had time to fill whatever it can
    assert rss_kib(execd.pid) - before < 4 * 1024
    connection.close()
    for status in [execd.client.get("/metrics", headers={"Accept": "text/plain"}).text]:
        assert "execd_commands_running 1" in status
    # A disconnect does not kill (contract); the test does.
    execd.command("pkill -x yes || kill $(pidof yes)")


def test_C03_disconnect_does_not_kill(execd, tmp_path):
    marker = tmp_path / "done"
    connection = execd.connect()
    connection.sendall(request({"command": f"sleep 0.3; echo late; touch {marker}"}))
    text = connection.recv(4096)
    ident = json.loads(text.split(b"\r\n\r\n", 1)[1].split(b"\r\n", 2)[1].split(b"\n")[0])["text"]
    connection.close()
    eventually(marker.exists, 5, "the command died with its client")
    eventually(lambda: not execd.client.get(f"/command/status/{ident}").json()["running"], 5)
    assert execd.client.get(f"/command/status/{ident}").json()["exit_code"] == 0


def test_C04_one_long_line(execd):
    size = 64 * 1024 * 1024
    digest, others = payload_digest(execd.client, f"head -c {size} /dev/zero | tr '\\0' a")
    assert digest == hashlib.sha256(b"a" * size).hexdigest()
    assert others[-1]["type"] == "execution_complete"


def test_C05_bytes_become_text(execd, tmp_path):
    data = bytes(range(256)) + "é€😀\ufeff".encode() + b"\xc3\x28\xed\xa0\x80\xf8\xc0\xaf" + "ü".encode()[:1]
    source = tmp_path / "bytes"
    source.write_bytes(data)
    assert output_of(execd.command(f"cat {source}")) == data.decode("utf-8", "replace").replace("\ufffd", "\ufffd") \
        or output_of(execd.command(f"cat {source}")).count("\ufffd") >= 128


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


def test_C07_both_streams_whole_before_the_end(execd):
    events = execd.command("seq 1 200000 & seq 1 200000 >&2; wait")
    expected = "".join(f"{i}\n" for i in range(1, 200001))
    assert output_of(events) == expected and output_of(events, "stderr") == expected
    assert events[-1]["type"] == "execution_complete"


def test_C08_last_bytes_before_terminal_event(execd):
    for _ in range(300):
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


def test_unfinished_line_is_shown_while_it_waits(execd):
    """A prompt without a line end must not look frozen."""
    with execd.client.stream("POST", "/command", json={"command": "printf 'prompt> '; sleep 1.5"}) as response:
        started, shown = time.monotonic(), None
        for piece in response.iter_text():
            if "prompt> " in piece and shown is None:
                shown = time.monotonic() - started
    assert shown is not None and shown < 1.2


def test_pings_keep_a_silent_stream_alive(execd):
    events = execd.command("sleep 3.3")
    assert [e["type"] for e in events] == ["init", "ping", "ping", "execution_complete"]
    assert all(e["text"] == "pong" for e in events if e["type"] == "ping")


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
