"""Kernels for tests: kernelspecs good and bad, runs of code, and what became of them."""

import concurrent.futures
import json
import os
import sys
from pathlib import Path

from harness.execd import children, sse_events

FAKE = Path(__file__).parents[1] / "integration" / "fake_kernel.py"
TERMINAL = ("error", "execution_complete")


def write_spec(folder, name, argv, language=None, **more):
    target = folder / "kernels" / name
    target.mkdir(parents=True)
    (target / "kernel.json").write_text(json.dumps({"argv": argv, "language": language or name, **more}))


def make_specs(folder):
    """A JUPYTER_PATH with one good kernel and several bad ones."""
    write_spec(folder, "python3", [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "python",
               env={"FROM_SPEC": "spec ${HOME}", "OVERRIDDEN": "spec"})
    write_spec(folder, "fake", [sys.executable, str(FAKE), "{connection_file}"])
    write_spec(folder, "garbage", [sys.executable, str(FAKE), "{connection_file}", "garbage"])
    write_spec(folder, "liar", [sys.executable, str(FAKE), "{connection_file}", "liar"])
    write_spec(folder, "endless", [sys.executable, str(FAKE), "{connection_file}", "endless"])
    write_spec(folder, "crash", [sys.executable, "-c", "import no_such_module", "{connection_file}"])
    write_spec(folder, "missing", ["/no/such/kernel", "{connection_file}"])
    write_spec(folder, "mute", ["sleep", "3600"])
    return folder


def body_of(text, language="python", context=None, **more):
    body = {"code": text, "context": {"language": language}, **more}
    if context:
        body["context"]["id"] = context
    return body


def post(agent, text, language="python", context=None, **more):
    body = body_of(text, language, context, **more)
    return agent.client.post("/code", json=body, timeout=60)


def run(agent, text, language="python", context=None, **more):
    """The events of one run, which must be one well-formed stream."""
    response = post(agent, text, language, context, **more)
    assert response.status_code == 200, response.text
    events = [event for event in sse_events(response.text) if event["type"] != "ping"]
    assert events[0]["type"] == "init"
    assert [event["type"] in TERMINAL for event in events].count(True) == 1
    assert events[-1]["type"] in TERMINAL
    return events


def error_of(events):
    assert events[-1]["type"] == "error", events
    return events[-1]["error"]


def results(events):
    return [event["results"] for event in events if event["type"] == "result"]


def create(agent, language="python", **more):
    response = agent.client.post("/code/context", json={"language": language, **more}, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def assert_error(response, status, wire, *words):
    body = response.json()
    assert (response.status_code, body["code"]) == (status, wire), response.text
    for word in words:
        assert word in body["message"], response.text


def in_background(function, *arguments, **keywords):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments, **keywords)
    pool.shutdown(wait=False)
    return future


def is_zygote(pid):
    """The warm interpreter itself; the kernels that it forks have threads."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"A warm Python" in file.read() and len(os.listdir(f"/proc/{pid}/task")) == 1
    except OSError:
        return False


def kernels(agent):
    return [pid for pid, state in children(agent.pid) if state != "Z" and not is_zygote(pid)]
