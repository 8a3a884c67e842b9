"""What has arrived counts, in whatever order execd comes to see it.

Behind a stop of the whole process every limit is over before the answers are read: they lie in sockets that another
thread reads, which here goes on last.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from harness.channels import Channels, reply_of
from harness.execd import eventually, output_of
from harness.kernels import FAKE, create, error_of, in_background, kernels, results, run, write_spec
from harness.stopped import stopped

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 17, 0x4206, 0x4207, 0x40000000


@pytest.fixture
def agent(start_execd, tmp_path):
    share = tmp_path / "share"
    write_spec(share, "fake", [sys.executable, str(FAKE), "{connection_file}"],
               metadata={"execd": {"quirks": ["late-result"]}})
    write_spec(share, "slow", [sys.executable, str(FAKE), "{connection_file}", "starts_unread"])
    write_spec(share, "asker", [sys.executable, str(FAKE), "{connection_file}", "late_stdin"])
    agent = start_execd("--kernel-start-timeout", "2s", "--kernel-interrupt-grace", "1s", "--kernel-pool", "0",
                        env={"JUPYTER_PATH": str(share)})
    agent.stalls_matter = False  # it is stopped
    yield agent
    agent.send_signal(signal.SIGCONT)
    agent.stop()


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


@contextlib.contextmanager
def messages_held(agent):
    """The thread that carries the messages of kernels does nothing."""
    thread = next(int(task.name) for task in Path(f"/proc/{agent.pid}/task").iterdir()
                  if "/IO/" in (task / "comm").read_text())
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        ptrace(PTRACE_DETACH, thread)


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for_stop(agent):
    """A kernel stops execd."""
    eventually(lambda: state_of(agent.pid) == "T")


def go_on_late(agent, pause_s):
    """When limits of pause_s have passed; execd deals with them first."""
    wait_for_stop(agent)
    with messages_held(agent):
        time.sleep(pause_s)
        agent.send_signal(signal.SIGCONT)
        assert agent.client.get("/ping").status_code == 200


def test_an_error_before_its_time_limit_is_no_timeout(agent):
    context = create(agent, "fake")["id"]
    running = in_background(run, agent, "fails_unread", "fake", context, timeout=1000)
    go_on_late(agent, 1.5)
    events = running.result()
    assert (error_of(events)["ename"], events[-1]["receipt"]["reason"]) == ("Stopped", "error")


def test_a_kernel_that_has_reacted_to_an_interrupt_is_not_killed(agent):
    context = create(agent, "fake")["id"]
    running = in_background(run, agent, "reacts_unread", "fake", context)
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "busy")
    assert agent.client.delete("/code", params={"id": context}).status_code == 200
    go_on_late(agent, 1.5)
    events = running.result()
    assert (error_of(events)["ename"], events[-1]["receipt"]["reason"]) == ("Stopped", "cancelled")
    after = run(agent, "ok", "fake", context)
    assert output_of(after) == "before\nafter\n", after[-1].get("error")


def test_a_kernel_that_has_answered_in_time_has_started(agent):
    made = in_background(create, agent, "slow")
    go_on_late(agent, 2.5)
    assert output_of(run(agent, "ok", "slow", made.result()["id"])) == "before\nafter\n"


def test_a_late_result_that_came_in_time_is_shown(agent):
    """The wait for it is too short to hold anybody up."""
    context = create(agent, "fake")["id"]
    running = in_background(run, agent, "late_result_unread", "fake", context)
    wait_for_stop(agent)
    time.sleep(0.2)
    agent.send_signal(signal.SIGCONT)
    assert results(running.result()) == [{"text": "42", "text/plain": "42"}]


def test_the_end_of_a_kernel_is_not_the_end_of_what_it_said(agent):
    """Its process is gone for longer than a hurried agent would wait."""
    context = create(agent, "fake")["id"]
    (kernel,) = kernels(agent)
    running = in_background(run, agent, "ends_unread", "fake", context)
    wait_for_stop(agent)
    eventually(lambda: state_of(kernel) == "Z")
    with messages_held(agent):
        agent.send_signal(signal.SIGCONT)
        eventually(lambda: not Path(f"/proc/{kernel}").exists())
        time.sleep(0.5)
    events = running.result()
    assert (output_of(events), events[-1]["type"]) == ("before\nafter\n", "execution_complete"), events
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "dead")


def test_H11_a_question_of_the_first_cell_finds_somebody_to_answer_it(agent):
    """Its connection may be the last to come up, and a kernel throws away what it cannot deliver."""
    context = create(agent, "asker")["id"]
    assert output_of(run(agent, "asks_for_input", "asker", context, stdin="mine\n")) == '{"value": "mine"}'


def test_an_interrupt_of_a_question_hits_no_later_cell(agent):
    """What a client had open was no work, or had ended before its end was read."""
    context = create(agent, "fake")["id"]
    (kernel,) = kernels(agent)
    with Channels(agent, context) as client:
        os.kill(kernel, signal.SIGSTOP)
        asked = client.send("kernel_info_request")
        assert agent.client.get("/ping").status_code == 200
        assert agent.client.post(f"/api/kernels/{context}/interrupt").status_code == 204
        os.kill(kernel, signal.SIGCONT)
        client.result(asked)
        sent = client.execute("takes_a_second")  # outside of a wait for one, an interrupt ends it
        assert reply_of(client.result(sent)).content["status"] == "ok"


def test_a_command_that_has_ended_in_time_was_interrupted(agent, tmp_path):
    """Its end comes while execd is stopped, for longer than anybody waits for one."""
    script = f"trap 'echo $$ > {tmp_path}/told.part; mv {tmp_path}/told.part {tmp_path}/told' INT TERM; echo; while :; do sleep 1; done"
    with agent.client.stream("POST", "/command", json={"command": script}) as response:
        events = (event for line in response.iter_lines() if line for event in [json.loads(line)])
        command = next(event["text"] for event in events if event["type"] == "init")
        next(event for event in events if event["type"] == "stdout")
        told = tmp_path / "told"
        interrupting = in_background(agent.new_client().delete, "/command", params={"id": command})
        eventually(told.exists)
        with stopped(agent.pid, 5):
            os.kill(int(told.read_text()), signal.SIGKILL)
        assert interrupting.result().status_code == 200, interrupting.result().text
