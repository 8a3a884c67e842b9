"""What a start of a kernel says is true: which file is broken, which module is missing, which context is meant."""

import json
import os
import sys

import pytest

from harness.execd import eventually, sse_events
from harness.kernels import FAKE, write_spec


def post(agent, text, language):
    body = {"code": text, "context": {"language": language}}
    return sse_events(agent.client.post("/code", json=body, timeout=60).text)


def listed(agent, **query):
    return [entry["id"] for entry in agent.client.get("/code/contexts", params=query).json()]


# ---- one default context per kernelspec ----------------------------------------------------------------


@pytest.fixture
def fakes(start_execd, tmp_path):
    argv = [sys.executable, str(FAKE), "{connection_file}"]
    write_spec(tmp_path, "tongue3", argv, language="tongue")
    write_spec(tmp_path, "other", argv, language="tongue")
    agent = start_execd("--kernel-dir", str(tmp_path / "run"), "--kernel-pool", "0", env={"JUPYTER_PATH": str(tmp_path)})
    yield agent
    agent.stop()


@pytest.mark.parametrize("first, second", [("tongue", "tongue3"), ("Tongue3", "TONGUE")])
def test_names_of_one_kernelspec_share_a_default_context(fakes, first, second):
    ids = [next(e["text"] for e in post(fakes, "ok", name) if e["type"] == "init") for name in (first, second, first)]
    assert len(set(ids)) == 1 and listed(fakes) == ids[:1]
    (other,) = {e["text"] for e in post(fakes, "ok", "other") if e["type"] == "init"}
    assert other != ids[0]
    for name in ("tongue", "tongue3"):
        assert ids[0] in listed(fakes, language=name)
    assert listed(fakes, language="other") == [other]
    assert fakes.client.delete("/code/contexts", params={"language": second}).status_code == 200
    assert ids[0] not in listed(fakes)


def test_a_short_idle_time_is_looked_at_in_time(start_execd, tmp_path):
    """The usual interval is a minute: the deadline of this test is shorter."""
    write_spec(tmp_path, "late", [sys.executable, str(FAKE), "{connection_file}"], metadata={"cull_idle_timeout": 3600})
    write_spec(tmp_path, "fake", [sys.executable, str(FAKE), "{connection_file}"])
    agent = start_execd("--cull-idle", "300ms", "--kernel-pool", "0", "--kernel-dir", str(tmp_path / "run"),
                        env={"JUPYTER_PATH": str(tmp_path)})
    for language in ("late", "fake", "bash"):
        assert agent.client.post("/code/context", json={"language": language}, timeout=30).status_code == 200
    eventually(lambda: [entry["language"] for entry in agent.client.get("/code/contexts").json()] == ["late"], 10)
    agent.stop()


@pytest.mark.parametrize("length", [67, 70])
def test_a_kernel_dir_as_long_as_the_help_says(start_execd, tmp_path, length):
    write_spec(tmp_path, "fake", [sys.executable, str(FAKE), "{connection_file}"])
    folder = f"/tmp/{os.getpid()}-".ljust(length, "k")
    agent = start_execd("--kernel-dir", folder, "--kernel-pool", "0", env={"JUPYTER_PATH": str(tmp_path)})
    try:
        assert post(agent, "ok", "fake")[-1]["type"] == "execution_complete"
        agent.stop()
    finally:
        os.rmdir(folder)
