"""Kernels that deviate in the ways the table knows (execd/code/quirks.c), by one that does so on request."""

import sys
import time

import pytest

from harness.channels import Channels, is_status
from harness.execd import eventually, output_of, rss_kib, sse_events
from harness.kernels import FAKE, create, error_of, in_background, results, run, write_spec
from harness.patience import PATIENCE_S


@pytest.fixture
def start(start_execd, tmp_path):
    agents = []

    def begin(*quirks):
        write_spec(tmp_path / "share", "fake", [sys.executable, str(FAKE), "{connection_file}"],
                   metadata={"execd": {"quirks": [*quirks, "of-a-later-release"]}})
        agents.append(start_execd("--kernel-dir", str(tmp_path / "run"), "--kernel-interrupt-grace", "30s",
                                  "--kernel-pool", "0", env={"JUPYTER_PATH": str(tmp_path / "share")}))
        return agents[-1]

    yield begin
    for agent in agents:
        agent.stop()


def test_an_error_is_read_from_stderr(start):
    agent = start("error-as-stderr")
    error = error_of(run(agent, "error_on_stderr", "fake"))
    assert (error["ename"], error["evalue"]) == ("TypeError", "bad")
    assert error["traceback"] == ["cell:1", "throw x", "", "TypeError: bad", "    at cell:1"]


def test_without_the_quirk_stderr_is_only_output(start):
    error = error_of(run(start(), "error_on_stderr", "fake"))
    assert (error["ename"], error["evalue"], error["traceback"]) == ("Error", "", [])


@pytest.mark.parametrize("quirks, end", [(["abort-window-200ms"], "execution_complete"), ([], "error")])
def test_a_kernel_that_refuses_for_a_while_is_left_alone_for_a_while(start, quirks, end):
    agent = start(*quirks)
    error_of(run(agent, "error_on_stderr", "fake"))
    assert run(agent, "refuses_after_error", "fake")[-1]["type"] == end


def test_writes_past_the_protocol_are_output_in_full(start):
    agent = start("raw-output")
    for _ in range(3):
        events = run(agent, "writes_past_the_protocol", "fake")
        assert events[-1]["type"] == "execution_complete"
        assert output_of(events) == ("o" * 4095 + "\n") * 100 + "last\n"
        assert output_of(events, "stderr") == "ü\n"


def test_a_child_s_flood_past_the_protocol_waits_for_its_reader(start):
    agent = start("raw-output")
    run(agent, "ok", "fake")
    before = rss_kib(agent.pid)
    body = {"code": "child_writes_past_the_protocol", "context": {"language": "fake"}}
    with agent.client.stream("POST", "/code", json=body, timeout=60) as response:
        time.sleep(1)
        assert rss_kib(agent.pid) - before < 40 << 10
        events = sse_events("".join(response.iter_text()))
    assert sum(len(event["text"]) for event in events if event["type"] == "stdout") == 80_000_000
    assert events[-1]["type"] == "execution_complete" and output_of(events, "stderr") == ""


def test_last_words_past_the_protocol_are_output_too(start):
    events = run(start("raw-output"), "writes_and_dies", "fake")
    assert output_of(events) == "last words\n" and error_of(events)["ename"] == "KernelDied"


def test_without_the_quirk_they_explain_a_death_only(start):
    events = run(start(), "writes_and_dies", "fake")
    assert output_of(events) == "" and "last words\n" in error_of(events)["traceback"]


def test_a_result_as_display_data_has_its_number(start):
    events = run(start("result-as-display-data"), "display_for_result", "fake")
    assert results(events)[0]["text"] == "[1] 2"
    assert [event["execution_count"] for event in events if event["type"] == "execution_count"] == [7]


def test_a_result_after_the_end_is_waited_for(start):
    agent = start("late-result")
    for _ in range(3):
        assert results(run(agent, "late_result", "fake"))[0]["text"] == "42"
    assert results(run(agent, "ok", "fake")) == []


def test_an_error_without_a_name_gets_one(start):
    error = error_of(run(start(), "empty_ename", "fake"))
    assert (error["ename"], error["evalue"]) == ("ExitStatus", "3")


def test_an_interrupt_of_what_is_still_compiled_is_repeated_until_it_hits(start):
    agent = start("compiles-first")
    context = create(agent, "fake")["id"]
    future = in_background(run, agent, "compiles_first", "fake", context)
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "busy")
    assert agent.client.delete("/code", params={"id": context}).status_code == 200
    assert error_of(future.result(PATIENCE_S))["ename"] == "Stopped"
    time.sleep(0.6)  # one more than that would come by now, and end the kernel
    assert run(agent, "ok", "fake", context)[-1]["type"] == "execution_complete"


@pytest.mark.parametrize("cell, status", [("control_meanwhile", "error"), ("ends_during_control", "ok")])
def test_what_is_answered_on_control_meanwhile_neither_ends_nor_hides_a_cell(start, cell, status):
    """An interrupt that waits until the cell is compiled hits that cell or nothing."""
    agent = start("compiles-first")
    context = create(agent, "fake")["id"]
    with Channels(agent, context) as client:
        sent = client.execute(cell)
        client.until(lambda m: m.parent == sent and is_status(m, "busy"))
        assert agent.client.post(f"/api/kernels/{context}/interrupt", content=b"{}").status_code == 204
        seen = client.until(lambda m: m.parent == sent and m.msg_type == "execute_reply")
        assert seen[-1].content["status"] == status
    time.sleep(1.2)  # one that hits nobody's cell would come by now, and end the kernel
    assert run(agent, "ok", "fake", context)[-1]["type"] == "execution_complete"


def test_what_cannot_be_interrupted_is_killed_soon(start):
    agent = start("not-interruptible")
    future = in_background(run, agent, "dead_silence", "fake")
    context = wait_for_context(agent)
    assert agent.client.delete("/code", params={"id": context}).status_code == 200
    assert "did not react" in error_of(future.result(PATIENCE_S))["evalue"]


def wait_for_context(agent):
    def busy():
        found = agent.client.get("/code/contexts").json()
        return found[0]["id"] if found and found[0]["state"] == "busy" else None

    return eventually(busy)
