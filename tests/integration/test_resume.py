"""GET /command/{id}/stream: come back for what was missed, exactly; many viewers; receipts (hardening C, B20)."""

import concurrent.futures
import hashlib
import json
import random

import pytest

from harness.execd import eventually, output_of, sse_events


def frames(text):
    """(id, event) of each whole frame of the standard framing."""
    found = []
    for block in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields.get("id"), json.loads(fields["data"])))
    return found


def stream(agent, ident, since=None, **params):
    headers = {} if since is None else {"Last-Event-ID": since}
    return agent.client.get(f"/command/{ident}/stream", headers=headers, params={"sse": "standard", **params}, timeout=30)


def run(agent, command, **body):
    response = agent.client.post("/command", params={"sse": "standard"}, json={"command": command, **body}, timeout=60)
    assert response.status_code == 200
    return response.headers["x-execd-run-id"], frames(response.text)


def test_every_id_continues_exactly(execd):
    command = "printf 'a\\nb'; printf 'e1\\n' >&2; sleep 0.12; printf 'c\\nd\\n'; printf 'e2' >&2; exit 3"
    ident, whole = run(execd, command)
    events = [(i, e) for i, e in whole if e["type"] != "ping"]
    stdout, stderr = "a\nbc\nd\n", "e1\ne2"
    assert output_of([e for _, e in events]) == stdout and output_of([e for _, e in events], "stderr") == stderr
    for index, (since, _) in enumerate(events):
        before = [e for _, e in events[:index + 1]]
        response = stream(execd, ident, since)
        if index == len(events) - 1:
            assert response.status_code == 204 and response.content == b""
            continue
        after = [e for _, e in frames(response.text) if e["type"] != "ping"]
        assert output_of(before) + output_of(after) == stdout
        assert output_of(before, "stderr") + output_of(after, "stderr") == stderr
        assert after[-1]["type"] == "error" and after[-1]["error"]["evalue"] == "3"
        assert after[-1]["receipt"] == events[-1][1]["receipt"]
        assert sum(e["type"] == "init" for e in before + after) == 1


def test_random_disconnects_lose_nothing(execd):
    """A client that is cut off again and again gets every byte once."""
    script = "for i in $(seq 1 300); do echo line $i; [ $((i % 7)) = 0 ] && echo err $i >&2; sleep 0.004; done"
    answer = execd.client.post("/command", json={"command": script, "background": True})
    ident, seed = sse_events(answer.text)[0]["text"], random.randrange(2**32)
    print("seed", seed)
    choose, since, events = random.Random(seed), None, []
    while not events or events[-1]["type"] not in ("error", "execution_complete"):
        take, text = choose.randrange(1, 3000), ""
        headers = {} if since is None else {"Last-Event-ID": since}
        with execd.client.stream("GET", f"/command/{ident}/stream", params={"sse": "standard"}, headers=headers, timeout=30) as response:
            assert response.status_code == 200
            for piece in response.iter_text():
                text += piece
                if len(text) >= take:
                    break  # the connection is dropped in the middle of whatever it was
        for number, event in frames(text):
            events.append(event)
            since = number or since
    assert output_of(events) == "".join(f"line {i}\n" for i in range(1, 301))
    assert output_of(events, "stderr") == "".join(f"err {i}\n" for i in range(7, 301, 7))
    assert not any(e["type"] == "gap" for e in events)


def test_many_viewers_see_the_same(execd):
    answer = execd.client.post("/command", json={"command": "sleep 0.3; seq 1 9000; exit 4", "background": True})
    ident = sse_events(answer.text)[0]["text"]
    expected = hashlib.sha256("".join(f"{i}\n" for i in range(1, 9001)).encode()).hexdigest()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for response in pool.map(lambda _: stream(execd, ident), range(16)):
            events = [e for _, e in frames(response.text)]
            assert hashlib.sha256(output_of(events).encode()).hexdigest() == expected
            assert events[-1]["error"]["evalue"] == "4"


def test_what_was_dropped_is_told(execd):
    ident, whole = run(execd, "seq 1 600000")  # 4 MB; 1 MiB of it is kept
    events = [e for _, e in frames(stream(execd, ident).text)]
    gaps = [e for e in events if e["type"] == "gap"]
    assert len(gaps) == 1 and gaps[0]["dropped"]["stdout"] > 1000000 and gaps[0]["dropped"]["stderr"] == 0
    expected = "".join(f"{i}\n" for i in range(1, 600001))
    at = events.index(gaps[0])
    head, tail = output_of(events[:at]), output_of(events[at:])
    assert head and expected.startswith(head) and expected.endswith(tail)
    assert len(head) + gaps[0]["dropped"]["stdout"] + len(tail) == len(expected)
    # A client that had all that is gone sees no gap.
    last_output = [i for i, e in whole if e["type"] == "stdout"][-1]
    rest = [e["type"] for _, e in frames(stream(execd, ident, last_output).text)]
    assert "gap" not in rest and rest[-1] == "execution_complete"


def test_drop_never_holds_the_command(execd):
    """backpressure: drop - a viewer that does not read costs output, not time."""
    connection = execd.connect()
    body = json.dumps({"command": "seq 1 2000000; echo end", "backpressure": "drop"}).encode()
    connection.sendall(b"POST /command?sse=standard HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: %s\r\nContent-Length: %d\r\n\r\n%s"
                       % (execd.client.headers["X-EXECD-ACCESS-TOKEN"].encode(), len(body), body))
    head = connection.recv(300).decode()
    ident = head.lower().partition("x-execd-run-id: ")[2][:32]
    eventually(lambda: not execd.client.get(f"/command/status/{ident}").json()["running"])
    events = [e for _, e in frames(stream(execd, ident).text)]
    assert any(e["type"] == "gap" for e in events) and output_of(events).endswith("2000000\nend\n")
    connection.close()


def test_plain_number_and_bad_positions(execd):
    ident, whole = run(execd, "echo one; sleep 0.1; echo two")
    first = next(i for i, e in whole if e["type"] == "stdout")
    rest = [e for _, e in frames(execd.client.get(f"/command/{ident}/stream", params={"sse": "standard", "since": first.split(".")[0]}).text)]
    assert output_of(rest) == "two\n"
    for bad in ["", "x", "-1", "1.2", "1.2.3.4", "1..2", "9" * 30, "1.2.x"]:
        refused = execd.client.get(f"/command/{ident}/stream", params={"since": bad})
        assert refused.status_code == 400 and refused.json()["code"] and "since" in refused.json()["message"], bad
    unknown = execd.client.get("/command/unknown/stream")
    assert unknown.status_code == 404 and unknown.json()["code"] == "STREAM_NOT_FOUND"


@pytest.mark.parametrize("command", ["sleep 20", "true"])
def test_a_position_beyond_the_last_event_is_refused(execd, command):
    """Else all that comes would count as known, and the stream of a running command would never end."""
    answer = execd.client.post("/command", json={"command": command, "background": True})
    ident = sse_events(answer.text)[0]["text"]
    for since in ("999", "999.0.0", "18446744073709551615.0.0"):
        with execd.client.stream("GET", f"/command/{ident}/stream", headers={"Last-Event-ID": since}) as response:
            assert response.status_code == 400
            assert response.read() and response.json()["code"] == "INVALID_REQUEST_BODY"
    execd.client.delete("/command", params={"id": ident})


def test_raw_framing_and_old_clients(execd):
    ident, _ = run(execd, "echo hi")
    text = execd.client.get(f"/command/{ident}/stream").text
    assert [e["type"] for e in sse_events(text)] == ["init", "ping", "stdout", "execution_complete"]
    stripped = execd.client.get(f"/command/{ident}/stream", headers={"User-Agent": "OpenSandbox-Go-SDK/1.0"}).text
    assert output_of(sse_events(stripped)) == "hi"


@pytest.mark.parametrize("command, body, reason, code", [
    ("exit 0", {}, "exit", 0), ("exit 9", {}, "exit", 9), ("kill -TERM $$", {}, "signal", -1),
    ("sleep 20", {"timeout": 100}, "timeout", -1)])
def test_receipts_say_why_and_how_much(execd, command, body, reason, code):
    _, whole = run(execd, command, **body)
    receipt = whole[-1][1]["receipt"]
    assert receipt["reason"] == reason and receipt["exit_code"] == code
    assert receipt["source"] in ("cgroup", "rusage") and receipt["wall_us"] > 0
    assert ("signal" in receipt) == (code == -1)


def test_receipt_of_a_burner_is_true(execd):
    burn = ("python3 -c \"import time\nx = bytearray(60 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\n"
            "end = time.process_time() + 0.3\nwhile time.process_time() < end: pass\"")
    ident, whole = run(execd, burn)
    receipt = whole[-1][1]["receipt"]
    assert 300_000 <= receipt["cpu_user_us"] + receipt["cpu_system_us"] < 3_000_000
    assert 60 << 20 <= receipt["memory_peak_bytes"] < 400 << 20
    assert execd.client.get(f"/command/status/{ident}").json()["receipt"] == receipt


def test_spawn_failure_has_a_receipt_without_figures(execd):
    response = execd.client.post("/command", json={"argv": ["/no/such/program"]})
    receipt = sse_events(response.text)[-1]["receipt"]
    assert receipt["reason"] == "spawn_failed" and "source" not in receipt and "exit_code" not in receipt
