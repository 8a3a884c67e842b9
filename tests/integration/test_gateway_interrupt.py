"""POST /api/kernels/ID/interrupt over a real ipykernel: what a client runs, what it has only just sent, what /code runs."""

import json
import sys

import pytest

from harness.channels import Channels, ends_a_line, is_status
from harness.execd import Execd, eventually, sse_events
from harness.ws import PING, PONG


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupt")
    spec = folder / "jupyter/kernels/python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "language": "python", "display_name": "P"}))
    with Execd(folder, env={"JUPYTER_PATH": str(folder / "jupyter"), "EXECD_ZYGOTE": "off"}) as running:
        yield running


@pytest.fixture(scope="module")
def kernel(agent):
    ident = agent.client.post("/api/kernels").json()["id"]
    eventually(lambda: state(agent, ident) == "idle")
    return ident


def state(agent, ident):
    return agent.client.get(f"/api/kernels/{ident}").json()["execution_state"]


def interrupt(agent, ident):
    response = agent.client.post(f"/api/kernels/{ident}/interrupt", content=b"{}")
    assert response.status_code == 204, response.text


def test_what_a_client_runs_is_interrupted(agent, kernel):
    with Channels(agent, kernel) as client:
        client.run("1")
        sent = client.execute("import time\nprint('on', flush=True)\ntime.sleep(60)")
        client.until(ends_a_line)
        assert state(agent, kernel) == "busy"
        interrupt(agent, kernel)
        seen = client.result(sent)
        assert [m.content["ename"] for m in seen if m.msg_type == "error"] == ["KeyboardInterrupt"]
        assert state(agent, kernel) == "idle"
        assert [m.content["data"]["text/plain"] for m in client.run("6 * 7") if m.msg_type == "execute_result"] == ["42"]


def test_an_interrupt_right_behind_the_request_is_not_lost(agent, kernel):
    """A signal before the kernel has begun would hit nothing: it waits for the beginning."""
    with Channels(agent, kernel) as client:
        client.run("1")
        for _ in range(8):
            sent = client.execute("import time; time.sleep(60)")
            client.ws.send(PING, b"taken?")
            while client.ws.read_frame().opcode != PONG:
                pass  # whatever the kernel said so far
            interrupt(agent, kernel)
            seen = client.until(lambda m: m.parent == sent and m.msg_type == "error")
            assert seen[-1].content["ename"] == "KeyboardInterrupt"
            client.until(lambda m: is_status(m, "idle"))


def test_an_idle_kernel_is_left_alone(agent, kernel):
    interrupt(agent, kernel)
    with Channels(agent, kernel) as client:
        seen = client.run("6 * 7")
        assert [m.content["data"]["text/plain"] for m in seen if m.msg_type == "execute_result"] == ["42"]


def test_what_code_runs_is_interrupted(agent, kernel):
    body = {"code": "import time\nprint('on', flush=True)\ntime.sleep(60)", "context": {"id": kernel, "language": "python"}}
    text, asked = "", False
    with agent.client.stream("POST", "/code", json=body) as response:
        for piece in response.iter_text():
            text += piece
            if '"on' in text and not asked:  # its newline may come later
                asked = True
                interrupt(agent, kernel)
    assert sse_events(text)[-1]["error"]["ename"] == "KeyboardInterrupt"
