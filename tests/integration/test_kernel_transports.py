"""How kernels are reached: file sockets, other names for them, loopback ports, and what is refused."""

import json
import socket
import sys
from pathlib import Path

import pytest

from harness.execd import eventually, fds, output_of, sse_events

FAKE = Path(__file__).with_name("fake_kernel.py")
IPYKERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
TCP = {"execd": {"transports": ["tcp"]}}


def write_spec(folder, name, argv, language=None, **more):
    target = folder / "kernels" / name
    target.mkdir(parents=True)
    (target / "kernel.json").write_text(json.dumps({"argv": argv, "language": language or name, **more}))


@pytest.fixture
def specs(tmp_path):
    return tmp_path / "share"


@pytest.fixture
def code(start_execd, specs, tmp_path):
    agent = start_execd("--kernel-dir", str(tmp_path / "run"), "--kernel-start-timeout", "20s", "--kernel-pool", "0",
                        env={"JUPYTER_PATH": str(specs)})
    agent.runtime = tmp_path / "run"
    yield agent
    agent.stop()


def run(agent, text, language):
    response = agent.client.post("/code", json={"code": text, "context": {"language": language}}, timeout=60)
    assert response.status_code == 200, response.text
    return sse_events(response.text)


def connection(agent):
    (path,) = agent.runtime.glob("*/kernel.json")
    return json.loads(path.read_text())


def sockets(agent):
    return sum(link.startswith("socket:") for link in fds(agent.pid).values())


def test_a_kernel_that_needs_ports_gets_them_to_itself(code, specs):
    write_spec(specs, "fake", [sys.executable, str(FAKE), "{connection_file}"], metadata=TCP)
    events = run(code, "ok", "fake")
    assert (output_of(events), events[-1]["type"]) == ("before\nafter\n", "execution_complete"), events
    info = connection(code)
    assert (info["transport"], info["ip"]) == ("tcp", "127.0.0.1")
    ports = {info[f"{name}_port"] for name in ("shell", "iopub", "stdin", "control", "hb")}
    assert len(ports) == 5
    for port in ports:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    held = sockets(code)
    assert run(code, "ends", "fake")[-1]["error"]["ename"] == "KernelDied"
    eventually(lambda: sockets(code) <= held - 5)


def test_ipykernel_speaks_over_ports(code, specs):
    write_spec(specs, "python3", IPYKERNEL, "python", metadata=TCP)
    events = run(code, "print('over tcp'); 6 * 7", "python")
    assert output_of(events) == "over tcp\n"
    assert [event["results"]["text"] for event in events if event["type"] == "result"] == ["42"]
    assert connection(code)["transport"] == "tcp"


def test_many_kernels_with_ports_at_once(code, specs):
    write_spec(specs, "fake", [sys.executable, str(FAKE), "{connection_file}"], metadata=TCP)
    contexts = [code.client.post("/code/context", json={"language": "fake"}, timeout=60) for _ in range(4)]
    assert [response.status_code for response in contexts] == [200] * 4
    ports = [json.loads(path.read_text())["shell_port"] for path in code.runtime.glob("*/kernel.json")]
    assert len(set(ports)) == 4


def test_sockets_of_another_name(code, specs):
    write_spec(specs, "fake", [sys.executable, str(FAKE), "{connection_file}", "colon"],
               metadata={"execd": {"ipc_separator": ":"}})
    events = run(code, "ok", "fake")
    assert output_of(events) == "before\nafter\n"
    assert connection(code)["transport"] == "ipc"


def test_an_unknown_transport_is_refused(code, specs):
    write_spec(specs, "far", ["far", "{connection_file}"], metadata={"execd": {"transports": ["quic"]}})
    response = code.client.post("/code/context", json={"language": "far"})
    body = response.json()
    assert response.status_code == 500 and body["code"] == "RUNTIME_ERROR", body
    assert "EXECD_001" in body["message"] and "neither ipc nor tcp" in body["message"]
    assert list(code.runtime.iterdir()) == []


def test_a_spec_that_is_dropped_in_works_at_once_and_its_folder_s_name_is_a_language(code, specs):
    missing = code.client.post("/code/context", json={"language": "fake"})
    assert (missing.status_code, missing.json()["code"]) == (404, "KERNELSPEC_NOT_FOUND")
    write_spec(specs, "fake-two", [sys.executable, str(FAKE), "{connection_file}"], "fake")
    assert output_of(run(code, "ok", "fake")) == "before\nafter\n"
    assert output_of(run(code, "ok", "fake-two")) == "before\nafter\n"
    missing = code.client.post("/code/context", json={"language": "cobol"})
    assert missing.status_code == 404
    assert "fake" in missing.json()["message"] and "/etc/opensandbox/kernelspecs" in missing.json()["message"]
