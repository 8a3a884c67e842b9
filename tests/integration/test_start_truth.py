"""What a start of a kernel says is true: which file is broken, which module is missing, which context is meant."""

import json
import os
import signal
import subprocess
import sys

import pytest

from harness.execd import children, eventually, sse_events
from harness.kernels import FAKE, write_spec
from harness.python_kernels import create as create_context, printed, start_with_python


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
    eventually(lambda: [entry["language"] for entry in agent.client.get("/code/contexts").json()] == ["late"])
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


# ---- interpreters that do not get warm -----------------------------------------------------------------


def with_preload(start_execd, folder, modules, *options):
    agent = start_with_python(start_execd, folder, "--preload", ",".join(modules), "--kernel-pool", "0", *options)
    (agent.extra / "raises.py").write_text("raise RuntimeError('poison\\nü')\n")
    (agent.extra / "exits.py").write_text("import os; os._exit(9)\n")
    return agent


def note_with(agent, word, start):
    def look():
        context = create_context(agent)
        assert agent.client.delete(f"/code/contexts/{context['id']}").status_code == 200
        return context if word in context.get("start_note", "") else None

    context = eventually(look, message=f"no start_note says {word!r}")
    assert context["start"] == start
    return context["start_note"]


def warnings(agent):
    """So far; all of them once it has stopped."""
    return [entry["reason"] for entry in agent.log if entry["level"] == "warn" and entry["module"] == "code"]


def test_modules_that_cannot_be_preloaded_are_told(start_execd, tmp_path):
    agent = with_preload(start_execd, tmp_path, ["no_such_module", "raises", "wave"])
    note = note_with(agent, "preload", "forked")
    assert note == "preload: no module named no_such_module; raises: RuntimeError: poison \\xfc"
    assert printed(agent, create_context(agent), "import sys; print('wave' in sys.modules)") == "True\n"
    agent.stop()
    assert warnings(agent) == [note]


def test_a_module_that_ends_the_warm_interpreter_is_told(start_execd, tmp_path):
    agent = with_preload(start_execd, tmp_path, ["exits"])
    note = note_with(agent, "exits", "cold")
    assert note == "no warm start: preload exits: exit status 9"
    for _ in range(4):  # more than it is tried
        assert note_with(agent, "exits", "cold") == note
    agent.stop()
    assert warnings(agent) == [note]


def test_last_words_and_the_end_that_come_at_once(start_execd, tmp_path):
    """The end of the interpreter is seen while what it said is still unread."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    agent = with_preload(start_execd, tmp_path, ["waits", "wave", "colorsys", "stringprep", "exits"])
    (agent.extra / "waits.py").write_text(f"open({str(gate)!r}).close()\n")
    context = create_context(agent)
    writer = os.open(gate, os.O_WRONLY)  # it has come to that module
    agent.stalls_matter = False
    agent.send_signal(signal.SIGSTOP)
    os.close(writer)
    eventually(lambda: "Z" in [state for _, state in children(agent.pid)])
    agent.send_signal(signal.SIGCONT)
    wanted = "no warm start: preload exits: exit status 9"
    assert note_with(agent, "exits", "cold") == wanted
    eventually(lambda: warnings(agent) == [wanted])
    assert context["start"] == "cold"
    agent.stop()


def test_a_python_without_ipykernel_is_told_so(start_execd, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True, timeout=60)
    python = str(tmp_path / "bare/bin/python")
    write_spec(tmp_path, "bare", [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "python")
    agent = start_execd("--kernel-dir", str(tmp_path / "run"), env={"JUPYTER_PATH": str(tmp_path)})
    wanted = f"ipykernel is not installed for {python}"
    answer = agent.client.post("/code/context", json={"language": "bare"}, timeout=30)
    assert answer.status_code == 500 and wanted in answer.json()["message"], answer.text
    assert wanted in json.dumps(post(agent, "1", "bare")[-1])
    eventually(lambda: warnings(agent) == [f"no warm start: {wanted}"])
    agent.stop()


# ---- kernelspecs that are broken -----------------------------------------------------------------------


@pytest.mark.parametrize("text, why", [('{"argv":["a",]}', "]"), ('{"display_name":"x","language":"x"}', "argv"),
                                       ('{"argv":[""],"language":"x"}', "the program is empty"), (" " * 70000, "at most 65536 bytes")])
def test_a_broken_kernelspec_is_named(start_execd, tmp_path, text, why):
    file = tmp_path / "kernels/odd3/kernel.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (tmp_path / "kernels/empty").mkdir()
    agent = start_execd("--kernel-dir", str(tmp_path / "run"), "--kernel-pool", "0", env={"JUPYTER_PATH": str(tmp_path)})
    for path, body in (("/code", {"code": "1", "context": {"language": "odd"}}), ("/code/context", {"language": "Odd3"}),
                       ("/api/kernels", {"name": "odd3"})):
        answer = agent.client.post(path, json=body)
        assert answer.status_code == 500 and str(file)[:110] in answer.text.replace("\\/", "/"), answer.text
        assert why in answer.json()["message"], answer.text
    assert agent.client.get("/api/kernelspecs").json()["kernelspecs"].keys().isdisjoint({"odd3", "empty"})

    def lines():
        return [entry["file"] for entry in agent.log if entry["msg"] == "a kernelspec is broken"]

    assert agent.client.post("/code/context", json={"language": "empty"}).status_code == 404
    eventually(lambda: lines() == [str(file)])
    file.write_text(text + " ")
    assert agent.client.get("/api/kernelspecs").status_code == 200
    eventually(lambda: lines() == [str(file)] * 2)
    file.write_text(json.dumps({"argv": [sys.executable, str(FAKE), "{connection_file}"], "language": "odd"}))
    assert post(agent, "ok", "odd")[-1]["type"] == "execution_complete"
    agent.stop()
