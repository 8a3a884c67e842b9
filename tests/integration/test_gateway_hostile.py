"""A kernel that lies, and what its clients see of it: hardening rows H01-H12 over WebSocket channels."""

import json
import sys
import uuid
from pathlib import Path

import pytest

from harness.channels import Channels, is_status, reply_of, text_of, types
from harness.execd import Execd, Leaks, rss_kib

FAKE = Path(__file__).with_name("fake_kernel.py")


def write_spec(folder, name, *words):
    spec = folder / "kernels" / name
    spec.mkdir(parents=True)
    argv = [sys.executable, str(FAKE), "{connection_file}", *words]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "language": name, "display_name": name}))


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    write_spec(folder / "jupyter", "fake")
    write_spec(folder / "jupyter", "liar", "liar")
    write_spec(folder / "jupyter", "garbage", "garbage")
    (folder / "run").mkdir(mode=0o700)
    with Execd(folder, "--kernel-dir", str(folder / "run"), "--kernel-start-timeout", "2s",
               env={"JUPYTER_PATH": str(folder / "jupyter"), "EXECD_ZYGOTE": "off"}) as running:
        yield running


def new_kernel(agent, name="fake"):
    response = agent.client.post("/api/kernels", json={"name": name})
    assert response.status_code == 201, response.text
    return response.json()["id"]


@pytest.fixture(scope="module")
def shared(agent):
    return new_kernel(agent)


@pytest.fixture
def own(agent):
    kernel = new_kernel(agent)
    yield kernel
    agent.client.delete(f"/api/kernels/{kernel}")


@pytest.fixture(params=[False, True], ids=["legacy", "v1"])
def client(agent, shared, request):
    with Channels(agent, shared, v1=request.param) as connected:
        yield connected


GOOD = ["busy", "stream", "stream", "execute_reply", "idle"]


# ---- lies: what is seen is in order, ends once, and the next run is good ------------------------------

@pytest.mark.parametrize("lie,seen,status", [
    ("ok", GOOD, "ok"),
    ("early_idle", ["busy", "stream", "execute_reply", "idle"], "ok"),
    ("two_replies", ["busy", "execute_reply", "idle"], "ok"),
    ("wrong_signature", GOOD, "ok"),
    ("wrong_parent", GOOD, "ok"),
    ("broken_frames", GOOD, "ok"),
    ("replay", ["busy", "stream", "stream", "execute_reply", "idle"], "ok"),
    ("aborted", GOOD, "aborted"),
    ("bare_error", GOOD, "error"),
    ("odd_status", GOOD, 7),
])
def test_H05_H07_lies_of_a_kernel(client, lie, seen, status):
    check_lie(client, lie, seen, status)


@pytest.mark.parametrize("lie,seen,status", [
    ("idle_without_reply", ["busy", "stream", "error", "execute_reply", "idle"], "error"),
    ("reply_without_idle", ["busy", "stream", "execute_reply", "idle"], "ok"),
])
def test_H07_what_a_kernel_keeps_to_itself_is_said_for_it(agent, shared, lie, seen, status):
    with Channels(agent, shared) as client:
        check_lie(client, lie, seen, status)


def check_lie(client, lie, seen, status):
    mine = client.run(lie)
    assert types(mine) == seen
    assert reply_of(mine).content["status"] == status
    assert "forged" not in text_of(mine)
    later = client.run("ok")  # nothing of it is left: no second reply, no late idle
    assert types(later) == GOOD and reply_of(later).content["status"] == "ok"


def test_H05_odd_content_passes_as_it_is_or_is_left_out_with_a_word(client):
    mine = client.result(client.execute("odd_content"))
    assert reply_of(mine).content["status"] == "ok" and types_of_odd(mine) >= {"no_such_type", "display_data"}
    assert [m.content for m in mine if m.msg_type == "no_such_type"][:2] == [{}, {}]  # of null and of {}
    assert all(isinstance(m.content, dict) for m in mine)
    assert types(client.run("ok")) == GOOD


def types_of_odd(messages):
    return {m.msg_type for m in messages}


def test_H05_parts_that_are_no_json_never_reach_a_frame(client):
    msg_id = client.execute("no_json")
    seen = client.until(lambda m: m.parent == msg_id and is_status(m, "idle"))
    mine = [m for m in seen if m.parent == msg_id]
    assert text_of(mine) == "before\nafter\n" and reply_of(mine).content["status"] == "ok"
    assert "no valid JSON" in text_of(mine, "stderr")
    assert all("injected" not in json.dumps(m.__dict__, default=str) for m in seen)


def test_H05_many_buffers_are_carried_and_too_many_are_told(client):
    msg_id = client.execute("many_buffers")
    mine = client.result(msg_id)
    shown, = [m for m in mine if m.msg_type == "display_data"]
    assert [bytes(buffer) for buffer in shown.buffers] == [b"%d" % number for number in range(300)]
    assert "display_data has too many buffers" in text_of(mine, "stderr")
    assert text_of(mine) == "before\nafter\n" and reply_of(mine).content["status"] == "ok"


def test_H05_content_too_deep_is_told_to_its_run(client):
    mine = client.run("deep_content")
    assert "no valid JSON" in text_of(mine, "stderr") and text_of(mine) == "before\nafter\n"


def test_H05_invalid_utf8_is_repaired(agent, shared):
    with Channels(agent, shared) as client:
        mine = client.run("no_utf8")
        assert text_of(mine) == "before\n\ufffd(\ufffdafter\n"


def test_H05_a_message_over_the_limit_is_lost_and_told(agent, own):
    with Channels(agent, own) as client:
        mine = client.run("huge_frame")
        assert "lost" in text_of(mine, "stderr")
        assert types(mine)[-2:] == ["execute_reply", "idle"]
        assert types(client.run("ok"))[-2:] == ["execute_reply", "idle"]


def test_H05_a_reply_over_the_limit_ends_the_request_all_the_same(agent, own):
    with Channels(agent, own) as client:
        mine = client.run("huge_reply")
        assert types(mine)[-3:] == ["error", "execute_reply", "idle"] and reply_of(mine).content["ename"] == "NoReply"
        assert types(client.run("ok"))[-2:] == ["execute_reply", "idle"]


@pytest.mark.parametrize("name", ["liar", "garbage"])
def test_H05_H08_a_kernel_that_never_gets_ready_ends_what_waits_for_it(agent, name):
    kernel = new_kernel(agent, name)
    with Channels(agent, kernel) as client:
        msg_id = client.execute("ok")
        seen = client.status("dead")
        mine = [m for m in seen if m.parent == msg_id]
        assert types(mine)[-3:] == ["error", "execute_reply", "idle"]
        assert "not ready" in reply_of(mine).content["evalue"]
    agent.client.delete(f"/api/kernels/{kernel}")


# ---- death ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("way", ["ends", "forks"])
def test_H01_H12_death_is_seen_even_when_a_child_keeps_the_sockets(agent, own, way):
    with Channels(agent, own) as client:
        msg_id, queued = client.execute(way), client.execute("ok")
        seen = client.status("dead")
        for one in (msg_id, queued):
            assert types([m for m in seen if m.parent == one])[-3:] == ["error", "execute_reply", "idle"]


def test_H12_a_kernel_that_becomes_another_program_is_noticed(agent, own):
    with Channels(agent, own) as client:
        msg_id = client.execute("becomes_another")
        seen = client.status("dead")
        assert types([m for m in seen if m.parent == msg_id])[-3:] == ["error", "execute_reply", "idle"]


def test_H02_a_kernel_that_hangs_deaf_can_be_restarted(agent, own):
    with Channels(agent, own) as client:
        client.run("ok")
        msg_id = client.execute("dead_silence")
        assert agent.client.get("/ping").status_code == 200
        assert agent.client.post(f"/api/kernels/{own}/restart").status_code == 200
        seen = client.status("idle")
        assert types([m for m in seen if m.parent == msg_id])[-3:] == ["error", "execute_reply", "idle"]
        assert types(client.run("ok")) == GOOD


# ---- floods ----------------------------------------------------------------------------------------------

def test_H03_a_flood_that_nobody_reads_is_bounded(agent, own):
    before = rss_kib(agent.pid)
    with Channels(agent, own) as stalled:
        stalled.execute("display_flood")
        with Channels(agent, own, v1=True) as other:
            other.until(lambda m: is_status(m, "idle"), 30)
        assert rss_kib(agent.pid) - before < 200 * 1024
        seen = stalled.until(lambda m: is_status(m, "idle"), 30)
        assert types(seen)[-2:] == ["execute_reply", "idle"]
    assert agent.client.get("/ping").status_code == 200


def test_H05_H07_H11_questions_go_to_who_sent_the_request(agent, shared):
    """A kernel that asks although the request forbids it: the question is the client's to answer."""
    with Channels(agent, shared) as client, Channels(agent, shared) as other:
        msg_id = client.execute("asks_for_input")
        asked = client.until(lambda m: m.channel == "stdin")[-1]
        client.send("input_reply", {"value": "v"}, channel="stdin", parent=asked.header)
        assert json.loads(text_of(client.result(msg_id))) == {"value": "v"}
        assert all(m.channel == "iopub" for m in other.until(lambda m: m.parent == msg_id and is_status(m, "idle")))


def test_H05_a_request_that_the_kernel_drops_has_an_end(agent, shared):
    with Channels(agent, shared) as client:
        msg_id = client.send("no_such_request")
        mine = client.until(lambda m: m.parent == msg_id and m.channel == "shell", 12)
        assert mine[-1].msg_type == "no_such_reply" and mine[-1].content["ename"] == "NoReply"


def test_H10_hostile_kernels_leave_nothing(agent):
    def visit():
        kernel = new_kernel(agent)
        with Channels(agent, kernel, f"?session_id={uuid.uuid4().hex}") as client:
            client.run("two_replies")
            client.execute("ends")
            client.status("dead")
        agent.client.delete(f"/api/kernels/{kernel}")

    visit()
    leaks = Leaks(agent)
    for _ in range(3):
        visit()
    leaks.check()
