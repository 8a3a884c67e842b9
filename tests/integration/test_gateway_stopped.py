"""An agent that was stopped, as a paused sandbox's is: what its kernels' clients are told behind it."""

import time

import pytest

from harness.channels import Channels, is_status, reply_of, types
from harness.execd import Execd, eventually
from harness.kernels import make_specs
from harness.stopped import stopped


@pytest.fixture
def agent(tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    with Execd(tmp_path, "--kernel-dir", str(tmp_path / "run"), "--zygote", "off",
               env={"JUPYTER_PATH": str(make_specs(tmp_path / "jupyter"))}) as running:
        running.stalls_matter = False  # a stop may hit a round of the loop
        yield running


@pytest.fixture
def kernel(agent):
    response = agent.client.post("/api/kernels", json={"name": "fake"})
    assert response.status_code == 201, response.text
    return response.json()["id"]


def test_a_reply_that_came_in_time(agent, kernel):
    """The idle was read before the stop; an output and the reply come during it, and both are late by the clock."""
    with Channels(agent, kernel) as client:
        for _ in range(5):
            msg_id = client.execute("reply_to_a_stopped_agent")
            client.until(lambda m: m.parent == msg_id and is_status(m, "busy"))
            begun = time.monotonic()
            eventually(lambda: agent.client.get(f"/api/kernels/{kernel}").json()["execution_state"] == "idle")
            was_in_time = time.monotonic() - begun < 0.7  # else the reply was late before the stop
            with stopped(agent.pid, 1.3):
                pass
            seen = client.result(msg_id)
            if was_in_time:
                break
        assert was_in_time, "the machine is too slow for this test"
        assert types(seen) == ["stream", "execute_reply", "idle"]
        assert reply_of(seen).content["status"] == "ok"
