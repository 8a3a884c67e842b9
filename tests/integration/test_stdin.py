"""Standard input of commands: none by default, a text, or a stream with an end (hardening B15)."""

import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import time

from harness.execd import TOKEN, TOKEN_HEADER, cpu_s, eventually, n_open, output_of, rss_kib, sse_events
from harness.patience import PATIENCE_S


def test_B15_none_by_default(execd):
    assert output_of(execd.command("cat; echo end")) == "end\n"


def test_text_and_end(execd):
    assert output_of(execd.command("cat", stdin="héllo\n")) == "héllo\n"
    assert output_of(execd.command("wc -c", stdin="x" * 3_000_000)).strip() == "3000000"
    assert output_of(execd.command("wc -c", stdin="")).strip() == "0"
    assert execd.command("exec <&-; sleep 0.1; exit 5", stdin="x" * 500_000)[-1]["error"]["evalue"] == "5"


def open_command(execd, command):
    answer = execd.client.post("/command", json={"command": command, "background": True, "stdin_open": True})
    return sse_events(answer.text)[0]["text"]


def test_streamed_with_end(execd):
    ident = open_command(execd, "sleep 0.3; sha256sum")  # what does not fit waits its turn
    data = [bytes([i]) * 700_000 for i in range(4)]
    for piece in data:
        assert execd.client.post(f"/command/{ident}/stdin", content=piece).status_code == 200
    assert execd.client.delete(f"/command/{ident}/stdin").status_code == 200
    eventually(lambda: not execd.client.get(f"/command/status/{ident}").json()["running"])
    assert execd.client.get(f"/command/{ident}/logs").text.split()[0] == hashlib.sha256(b"".join(data)).hexdigest()
    again = execd.client.post(f"/command/{ident}/stdin", content=b"x")
    assert again.status_code == 409 and again.json()["code"] == "STDIN_CLOSED"


def test_a_conversation(execd):
    ident = open_command(execd, "while read -r line; do echo \"got $line\"; done; echo bye")
    for word in ("one", "two"):
        assert execd.client.post(f"/command/{ident}/stdin", content=f"{word}\n".encode()).status_code == 200
        eventually(lambda: f"got {word}\n" in execd.client.get(f"/command/{ident}/logs").text)
    assert execd.client.post(f"/command/{ident}/stdin", params={"close": "true"}, content=b"three").status_code == 200
    eventually(lambda: execd.client.get(f"/command/{ident}/logs").text.endswith("bye\n"))


def test_a_reader_that_does_not_read_holds_the_client_not_the_agent(execd):
    ident = open_command(execd, "sleep 1; head -c 5000000 | wc -c; exit 7")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(lambda: execd.new_client().post(f"/command/{ident}/stdin", content=b"x" * 5_000_000, timeout=30))
        assert execd.client.get("/ping").status_code == 200
        assert sent.result(PATIENCE_S).status_code == 200
    eventually(lambda: not execd.client.get(f"/command/status/{ident}").json()["running"])
    assert execd.client.get(f"/command/{ident}/logs").text.strip() == "5000000"


def test_writers_that_wait_cost_little(start_execd):
    """Nothing of a body is taken before there is room, who has gone is noticed, and nothing spins meanwhile."""
    agent = start_execd()
    ident = open_command(agent, "sleep 60")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(agent.new_client().post, f"/command/{ident}/stdin", content=b"x" * 5_000_000, timeout=30)
        head = (f"POST /command/{ident}/stdin HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n"
                "Content-Length: 60000\r\n\r\n").encode()

        def come_and_go():
            for _ in range(300):
                writer = agent.connect()
                writer.sendall(head + b"x" * 60000)
                writer.close()
            eventually(lambda: n_open(agent.pid) <= before, message="connections of those who have gone are kept")

        agent.client.get("/ping")
        time.sleep(0.2)
        before = n_open(agent.pid)
        rss = rss_kib(agent.pid)
        for _ in range(8):
            come_and_go()
        assert rss_kib(agent.pid) - rss < 300 * 128 + 10000, "more than if all of one round had been there at once"
        spent = cpu_s(agent.pid)
        time.sleep(0.5)
        assert cpu_s(agent.pid) - spent < 0.2
        assert agent.client.delete("/command", params={"id": ident}).status_code == 200


def test_writers_beside_each_other_are_each_resumed(execd):
    """One that leaves, or that waits as well, does not make the agent forget another one that waits."""
    ident = open_command(execd, "sleep 1; wc -c")
    head = (f"POST /command/{ident}/stdin HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n").encode()
    leaver, first, second = writers = [execd.connect() for _ in range(3)]
    for writer in writers:
        writer.settimeout(PATIENCE_S)
        writer.sendall(head)
    execd.client.get("/ping")  # behind this, all three were accepted: there was room

    def send(writer):
        writer.sendall(b"80000\r\n" + b"x" * 0x80000 + b"\r\n0\r\n\r\n")
        return writer.recv(4096)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(send, writer) for writer in (first, second)]
        time.sleep(0.2)
        leaver.close()
        for answer in answers:
            assert answer.result(PATIENCE_S).startswith(b"HTTP/1.1 200")
    assert execd.client.delete(f"/command/{ident}/stdin").status_code == 200
    eventually(lambda: not execd.client.get(f"/command/status/{ident}").json()["running"])
    assert execd.client.get(f"/command/{ident}/logs").text.strip() == str(2 * 0x80000)
    first.close()
    second.close()


def test_the_end_of_the_command_ends_the_request(execd):
    ident = open_command(execd, "sleep 0.5; exit 0")
    answer = execd.client.post(f"/command/{ident}/stdin", content=iter([b"x" * 100_000] * 50), timeout=20)
    assert answer.status_code == 409 and answer.json()["code"] == "STDIN_CLOSED"


def test_refusals(execd):
    assert execd.client.post("/command/unknown/stdin", content=b"x").status_code == 404
    ident = execd.command("true")[0]["text"]
    assert execd.client.post(f"/command/{ident}/stdin", content=b"x").json()["code"] == "STDIN_CLOSED"
    for body in ({"stdin": 5}, {"stdin_open": "yes"}, {"stdin": "a\0b"}, {"backpressure": "no"},
                 {"backpressure": "drop", "background": True}, {"uid": "nobody-here"}, {"uid": -1}, {"uid": 1.5},
                 {"uid": [1]}, {"uid": 0, "gid": "no-such-group"}, {"uid": 4294967296}):
        refused = execd.client.post("/command", json={"command": "true", **body})
        assert refused.status_code == 400 and refused.json()["code"], json.dumps(body)


def test_identity_by_name(execd):
    assert output_of(execd.command("id -u; id -g", uid="nobody", cwd="/")).split() == ["65534", "65534"]
    assert output_of(execd.command("id -g", uid="nobody", gid="games", cwd="/")).strip() == "60"


def test_a_stream_does_not_keep_the_body_of_its_request(start_execd):
    agent, size, n = start_execd(), 5_000_000, 8
    body = json.dumps({"command": "cat >/dev/null; exec sleep 60", "stdin": "x" * size})
    with contextlib.ExitStack() as streams:
        before = rss_kib(agent.pid)
        for _ in range(n):
            connection = streams.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", agent.port)))
            connection.request("POST", "/command", body, {TOKEN_HEADER: TOKEN})
            assert b'"init"' in streams.enter_context(connection.getresponse()).readline()
        eventually(lambda: (rss_kib(agent.pid) - before) * 1024 < n * size * 1.8, message="the bodies are kept")
