"""Every run ends, and truly: whatever its kernel, its reader, its neighbours and a restart do at the wrong moment."""

import json
import socket
import sys
import time

import pytest

from harness.channels import Channels, is_status
from harness.execd import Execd, TOKEN, TOKEN_HEADER, eventually, output_of, sse_events
from harness.kernels import FAKE, body_of, create, error_of, in_background, run, write_spec
from harness.patience import PATIENCE_S

GRACE_S = 1.5
LINK_GRACE_S = 2  # for a connection that broke: execd/code/kernel.c


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ends")
    write_spec(folder, "fake", [sys.executable, str(FAKE), "{connection_file}"])
    with Execd(folder, "--kernel-interrupt-grace", f"{int(GRACE_S * 1000)}ms", "--kernel-pool", "0",
               env={"JUPYTER_PATH": str(folder)}) as execd:
        yield execd


@pytest.fixture
def context(agent):
    made = create(agent, "fake")["id"]
    yield made
    agent.client.delete(f"/code/contexts/{made}")


def state_of(agent, context):
    return agent.client.get(f"/code/contexts/{context}").json()["state"]


def restart(agent, context):
    return agent.client.post(f"/code/contexts/{context}/restart", timeout=30)


def read_slowly(agent, code, context, pause_s):
    """The events of a run, for a reader whose socket swallows little and who rests behind the first of it."""
    body = json.dumps(body_of(code, "fake", context))
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", agent.port))
        reader.settimeout(20)
        reader.sendall(f"POST /code HTTP/1.1\r\nHost: a\r\n{TOKEN_HEADER}: {TOKEN}\r\nConnection: close\r\n"
                       f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        pieces = [reader.recv(1000)]
        time.sleep(pause_s)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while pieces[-1]:
            pieces.append(reader.recv(1 << 20))
    return sse_events(unchunked(b"".join(pieces).partition(b"\r\n\r\n")[2]).decode())


def unchunked(data):
    pieces, at = [], 0
    while size := int(data[at:data.index(b"\r\n", at)], 16):
        start = data.index(b"\r\n", at) + 2
        pieces.append(data[start:start + size])
        at = start + size + 2
    return b"".join(pieces)


def test_H01_a_run_that_waits_for_a_restart_ends_when_that_fails(agent):
    spec = agent.folder / "kernels/brief"
    write_spec(agent.folder, "brief", [sys.executable, str(FAKE), "{connection_file}"])
    context = create(agent, "brief")["id"]
    hanging = in_background(run, agent, "hangs", "brief", context)
    eventually(lambda: state_of(agent, context) == "busy")
    (spec / "kernel.json").unlink()
    restarted = in_background(restart, agent, context)
    eventually(lambda: state_of(agent, context) == "restarting")
    waiting = in_background(run, agent, "ok", "brief", context)
    assert restarted.result(PATIENCE_S).status_code >= 400
    assert error_of(hanging.result(PATIENCE_S))["ename"] == "KernelRestarted"
    events = waiting.result(PATIENCE_S)
    assert error_of(events)["ename"] == "KernelStartError"
    assert events[-1]["receipt"]["reason"] == "spawn_failed"
    agent.client.delete(f"/code/contexts/{context}")


def test_H03_output_behind_its_reply_waits_for_its_reader(agent, context):
    events = read_slowly(agent, "reply_overtakes_output", context, 3.5)
    assert (output_of(events, "stderr"), len(output_of(events))) == ("", 3_500_000)
    assert events[-1]["type"] == "execution_complete"


def test_H01_a_kernel_that_is_held_cannot_mend_its_connection(agent, context):
    """Its reader is behind: it is stopped, and not to be blamed for it."""
    events = read_slowly(agent, "huge_frame_behind_more", context, LINK_GRACE_S + 1.5)
    assert events[-1]["type"] == "execution_complete", events[-1]
    assert output_of(events).startswith("y" * (5 << 20)) and "may be missing" in output_of(events, "stderr")
    assert output_of(run(agent, "ok", "fake", context)) == "before\nafter\n"


def test_H01_a_cell_whose_end_is_lost_holds_up_no_run(agent, context):
    with Channels(agent, context) as client:
        sent = client.execute("huge_failure")
        client.until(lambda m: m.parent == sent and m.msg_type == "execute_reply")
        waiting = in_background(run, agent, "ok", "fake", context)
        assert output_of(waiting.result(PATIENCE_S)) == "before\nafter\n"
    assert state_of(agent, context) == "idle"


def test_H02_a_cell_that_goes_on_behind_what_was_lost_is_still_waited_for(agent, context):
    with Channels(agent, context) as client:
        sent = client.execute("huge_frame_in_the_middle")
        client.until(lambda m: m.msg_type == "stream" and m.content["name"] == "stderr")  # what is said for the lost one
        assert state_of(agent, context) == "busy"
        events = run(agent, "ok", "fake", context, timeout=200)
        assert error_of(events)["ename"] == "ExecutionTimeout" and output_of(events) == ""
        reply = client.until(lambda m: m.parent == sent and m.msg_type == "execute_reply")[-1]
        assert reply.content["status"] == "ok"
        assert output_of(run(agent, "ok", "fake", context)) == "before\nafter\n"


def test_H02_the_kernel_of_a_restart_does_not_pay_for_the_one_before(agent, context):
    """That was deaf in a run that had been given up."""
    with Channels(agent, context) as client:
        client.execute("takes_a_second")
        second = client.execute("takes_a_second")
        events = run(agent, "hangs", "fake", context, timeout=1500)
        assert error_of(events)["ename"] == "ExecutionTimeout"
        client.until(lambda m: m.parent == second and is_status(m, "idle"))
        client.until(lambda m: m.parent not in (None, second) and is_status(m, "busy"))
        killed_at = time.monotonic() + GRACE_S
        assert restart(agent, context).status_code == 200
        time.sleep(max(killed_at - time.monotonic(), 0) + 0.5)
    assert output_of(run(agent, "ok", "fake", context)) == "before\nafter\n"
