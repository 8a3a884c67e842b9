"""Background commands: status from the first moment, the log byte for byte while it is written (hardening B18, B19, C12)."""

import hashlib

import pytest

from harness.execd import eventually, sse_events


def start(agent, command, **body):
    events = sse_events(agent.client.post("/command", json={"command": command, "background": True, **body}).text)
    assert [e["type"] for e in events if e["type"] != "ping"] == ["init", "execution_complete"]
    return events[0]["text"]


def status(agent, ident):
    return agent.client.get(f"/command/status/{ident}").json()


def logs(agent, ident, cursor=None):
    response = agent.client.get(f"/command/{ident}/logs", params={} if cursor is None else {"cursor": cursor})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    return response.content, int(response.headers["execd-commands-tail-cursor"])


def test_status_is_there_at_once_and_the_log_is_whole_when_it_says_finished(execd):
    for i in range(30):
        ident = start(execd, f"printf 'out{i}\\n'; printf 'err\\n' >&2")
        assert status(execd, ident)["id"] == ident
        eventually(lambda: not status(execd, ident)["running"])
        text, cursor = logs(execd, ident)
        assert sorted(text.split()) == sorted([f"out{i}".encode(), b"err"]) and cursor == len(text)


def test_C12_pages_while_it_writes_add_up(start_execd):
    execd = start_execd()
    ident = start(execd, "for i in $(seq 1 200); do head -c 20000 /dev/urandom; done | tee /dev/stderr 2>/dev/null | cat")
    digest, cursor, pages = hashlib.sha256(), 0, 0
    expected = start(execd, "true")
    while True:
        running = status(execd, ident)["running"]
        page, following = logs(execd, ident, cursor)
        assert following == cursor + len(page)
        digest.update(page)
        cursor, pages = following, pages + 1
        if not running:
            break
    assert cursor == 200 * 20000 and expected
    whole, end = logs(execd, ident)
    assert end == cursor and hashlib.sha256(whole).hexdigest() == digest.hexdigest()


def test_a_long_log_is_exact(start_execd):
    execd = start_execd()
    ident = start(execd, "seq 1 3000000")
    eventually(lambda: not status(execd, ident)["running"])
    text, _ = logs(execd, ident)
    expected = "".join(f"{i}\n" for i in range(1, 3000001)).encode()
    assert hashlib.sha256(text).digest() == hashlib.sha256(expected).digest()
    middle, _ = logs(execd, ident, 1000000)
    assert middle == expected[1000000:]


@pytest.mark.parametrize("cursor, code", [(-1, 400), (2**63, 400), ("x", 200), ("", 200), (10**12, 200), (3, 200)])
def test_B19_cursor_values(execd, cursor, code):
    ident = start(execd, "printf abcdef")
    eventually(lambda: not status(execd, ident)["running"])
    response = execd.client.get(f"/command/{ident}/logs", params={"cursor": cursor})
    assert response.status_code == code
    if code == 200:
        begin = cursor if isinstance(cursor, int) else 0
        assert response.text == "abcdef"[begin:]
        assert response.headers["execd-commands-tail-cursor"] == "6"  # beyond the end is the end
    else:
        assert response.json()["code"] and response.json()["message"]


def test_B18_unknown_and_foreground(execd):
    assert execd.client.get("/command/nope/logs").status_code == 404
    ident = execd.command("true")[0]["text"]
    refused = execd.client.get(f"/command/{ident}/logs")
    assert refused.status_code == 400 and "not running in background" in refused.json()["message"]


def test_logs_survive_a_read_only_temporary_folder(start_execd, tmp_path):
    execd = start_execd(env={"TMPDIR": str(tmp_path / "missing")})
    ident = start(execd, "head -c 300000 /dev/zero")
    eventually(lambda: not status(execd, ident)["running"])
    assert logs(execd, ident) == (b"\0" * 300000, 300000)


def test_a_running_command_has_no_end_in_its_status(execd):
    ident = start(execd, "echo begun; sleep 30")
    eventually(lambda: logs(execd, ident)[0] == b"begun\n")
    said = status(execd, ident)
    assert said["running"] is True and "exit_code" not in said and "finished_at" not in said and "receipt" not in said
    assert execd.client.delete("/command", params={"id": ident}).status_code == 200
    said = status(execd, ident)
    assert said["running"] is False and said["receipt"]["reason"] == "cancelled"
