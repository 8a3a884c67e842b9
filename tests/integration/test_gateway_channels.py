"""WebSocket /api/kernels/ID/channels over a real ipykernel (contracts/jupyter.md 2.7, 7)."""

import json
import sys
import time
import uuid

import pytest

from harness.channels import V1, Channels, Closed, encode_v1, is_status, reply_of, text_of, types
from harness.execd import Execd, eventually
from harness.ws import BINARY, PING, PONG, TEXT, Refused


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("channels")
    spec = folder / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "language": "python", "display_name": "P"}))
    with Execd(folder, env={"JUPYTER_PATH": str(folder / "jupyter"), "EXECD_ZYGOTE": "off"}) as running:
        yield running


def new_kernel(agent):
    response = agent.client.post("/api/kernels", json={"name": "python3"})
    assert response.status_code == 201, response.text
    return response.json()["id"]


@pytest.fixture(scope="module")
def kernel(agent):
    """One for all tests that leave it as it was."""
    return new_kernel(agent)


@pytest.fixture
def own_kernel(agent):
    kernel = new_kernel(agent)
    yield kernel
    agent.client.delete(f"/api/kernels/{kernel}")


@pytest.fixture(params=[False, True], ids=["legacy", "v1"])
def client(agent, kernel, request):
    with Channels(agent, kernel, v1=request.param) as connected:
        yield connected


def test_smoke(client):
    seen = client.run("1+1")
    assert types(seen) == ["busy", "execute_input", "execute_result", "execute_reply", "idle"]
