"""Code in the languages of shells: contexts that are sessions, without any kernel."""

import json
import sys
import threading

import pytest

from harness.execd import eventually, sse_events
from harness.kernels import FAKE

TERMINAL = ("error", "execution_complete")


@pytest.fixture
def agent(start_execd, tmp_path):
    """No kernelspec but those that a test writes."""
    agent = start_execd("--kernel-dir", str(tmp_path / "run"), env={"JUPYTER_PATH": str(tmp_path / "share")})
    agent.share = tmp_path / "share"
    return agent


def post(agent, text, language="bash", context=None):
    body = {"code": text, "context": {"language": language, **({"id": context} if context else {})}}
    return agent.client.post("/code", json=body, timeout=30)


def run(agent, text, language="bash", context=None):
    response = post(agent, text, language, context)
    assert response.status_code == 200, response.text
    events = [event for event in sse_events(response.text) if event["type"] != "ping"]
    assert events[0]["type"] == "init"
    assert [event["type"] for event in events if event["type"] in TERMINAL] == [events[-1]["type"]]
    assert "reason" in events[-1]["receipt"]
    return events


def context_gauges(agent):
    text = agent.client.get("/metrics", headers={"Accept": "text/plain;version=0.0.4"}).text
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("execd_code_contexts")}


def test_contexts_of_shells_are_counted_and_limited_with_all_others(start_execd, tmp_path):
    spec = tmp_path / "share/kernels/fake/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": [sys.executable, str(FAKE), "{connection_file}"], "language": "fake"}))
    agent = start_execd("--contexts-max", "3", "--kernel-dir", str(tmp_path / "run"), env={"JUPYTER_PATH": str(tmp_path / "share")})
    made = [agent.client.post("/code/context", json={"language": language}).json()["id"] for language in ("bash", "fake")]
    run(agent, "true", "sh")  # the default context of sh
    assert context_gauges(agent) == {"execd_code_contexts": 3, "execd_code_contexts_busy": 0}
    for refused in (agent.client.post("/code/context", json={"language": "bash"}), post(agent, "1", "fake"), post(agent, "true"),
                    agent.client.post("/code/context", json={"language": "fake"})):
        assert refused.status_code == 503 and "3 code contexts at once is the limit" in refused.json()["message"], refused.text
    run(agent, "true", "sh")
    assert agent.client.delete(f"/code/contexts/{made[0]}").status_code == 200
    assert agent.client.post("/code/context", json={"language": "fake"}).status_code == 200


def test_idle_contexts_of_shells_go_and_sessions_stay(start_execd, tmp_path):
    agent = start_execd("--cull-idle", "400ms", "--cull-interval", "50ms", env={"JUPYTER_PATH": str(tmp_path)})
    session = agent.client.post("/session", json={}).json()["session_id"]
    made = agent.client.post("/code/context", json={"language": "bash"}).json()["id"]
    meet = tmp_path / "meet"
    with agent.new_client(timeout=30) as client:
        body = {"code": f"while ! test -e {meet}; do sleep .02; done; echo met", "context": {"language": "sh"}}
        with client.stream("POST", "/code", json=body) as working:
            eventually(lambda: made not in agent.client.get("/code/contexts").text)
            assert [entry["state"] for entry in agent.client.get("/code/contexts").json()] == ["busy"]
            meet.touch()
            assert "met" in working.read().decode()
    eventually(lambda: agent.client.get("/code/contexts").json() == [])
    assert session in agent.client.get("/session").text


def text_of(events, kind="stdout"):
    return "".join(event["text"] for event in events if event["type"] == kind)


def create(agent, language="bash", **more):
    response = agent.client.post("/code/context", json={"language": language, **more})
    assert response.status_code == 200, response.text
    return response.json()


def contexts(agent, language=None):
    response = agent.client.get("/code/contexts", params={"language": language} if language else None)
    assert response.status_code == 200, response.text
    return response.json()


def in_background(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_default_context_keeps_variables_functions_and_directory(agent, tmp_path):
    first = run(agent, "x=41; f() { echo f$1; }; cd /tmp; export Y=ü")
    second = run(agent, "f $((x + 1)); pwd; printenv Y")
    assert text_of(second) == "f42\n/tmp\nü\n"
    assert second[0]["text"] == first[0]["text"]
    assert [known["id"] for known in contexts(agent)] == [first[0]["text"]]


def test_output_is_told_apart_and_verbatim(agent):
    events = run(agent, "printf 'a\\r\\n\\n b'; echo e >&2")
    assert text_of(events) == "a\r\n\n b" and text_of(events, "stderr") == "e\n"


@pytest.mark.parametrize("language", ["bash", "sh", "shell", "Bash"])
def test_every_name_of_a_shell_is_a_language(agent, language):
    assert text_of(run(agent, "echo $((6 * 7))", language)) == "42\n"
    assert [known["language"] for known in contexts(agent)] == [language]


def test_a_status_is_an_error_and_the_context_goes_on(agent):
    error = run(agent, "x=1; ls /no/such/file; (exit 7)")[-1]["error"]
    assert (error["ename"], error["evalue"]) == ("CommandExecError", "7") and error["traceback"]
    assert text_of(run(agent, "echo $x")) == "1\n"


def test_a_syntax_error_is_an_error(agent):
    events = run(agent, "if then")
    assert events[-1]["type"] == "error" and "syntax error" in text_of(events, "stderr")


def test_exit_ends_the_shell_and_the_next_run_tells_of_a_new_one(agent):
    context = create(agent)["id"]
    ended = run(agent, "x=1; echo before; exit 5", context=context)
    assert text_of(ended) == "before\n" and ended[-1]["error"]["evalue"] == "5"
    assert [event["session"]["state"] for event in ended if event["type"] == "session"] == ["ended"]
    again = run(agent, "echo \"[$x]\"", context=context)
    assert [event["session"]["state"] for event in again if event["type"] == "session"] == ["restarted"]
    assert text_of(again) == "[]\n" and again[0]["text"] == context


def test_contexts_are_made_listed_found_and_deleted(agent, tmp_path):
    made = create(agent, cwd=str(tmp_path / "new" / "folder"), envs={"GREETING": "hello $USER"})
    assert made["language"] == "bash" and made["cwd"].endswith("new/folder")
    other = create(agent, "sh")["id"]
    assert text_of(run(agent, "pwd; echo \"$GREETING\"", context=made["id"])) == f"{made['cwd']}\nhello $USER\n"
    assert {known["id"] for known in contexts(agent)} == {made["id"], other}
    assert [known["id"] for known in contexts(agent, "sh")] == [other]
    assert agent.client.get(f"/code/contexts/{other}").json()["state"] == "idle"
    assert agent.client.delete(f"/code/contexts/{other}").status_code == 200
    gone = agent.client.get(f"/code/contexts/{other}")
    assert (gone.status_code, gone.json()["code"]) == (404, "CONTEXT_NOT_FOUND")
    assert agent.client.delete("/code/contexts", params={"language": "bash"}).status_code == 200
    assert contexts(agent) == []
    assert post(agent, "true", context=made["id"]).json()["code"] == "RUNTIME_ERROR"


def test_contexts_know_nothing_of_each_other(agent):
    one, two = create(agent)["id"], create(agent)["id"]
    run(agent, "x=1", context=one)
    assert text_of(run(agent, "echo [$x]", context=two)) == "[]\n"


def test_runs_of_one_context_queue(agent):
    context = create(agent)["id"]
    outputs = []
    threads = [in_background(lambda n=n: outputs.append(text_of(run(agent, f"n=$((n + 1)); sleep 0.02; echo $n", context=context))))
               for n in range(6)]
    for thread in threads:
        thread.join(20)
    assert sorted(outputs) == [f"{n}\n" for n in range(1, 7)]


def test_an_interrupt_ends_what_runs_and_what_waits(agent):
    context = create(agent)["id"]
    run(agent, "x=1", context=context)
    outcome = []
    threads = [in_background(lambda: outcome.append(run(agent, "while :; do :; done", context=context))) for _ in range(2)]
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "busy")
    eventually(lambda: sum(s["queued"] for s in agent.client.get("/session").json()["sessions"]) == 1)
    assert agent.client.delete("/code", params={"id": context}).status_code == 200
    for thread in threads:
        thread.join(20)
    assert [events[-1]["type"] for events in outcome] == ["error", "error"]
    assert {events[-1]["receipt"]["reason"] for events in outcome} == {"cancelled"}
    assert text_of(run(agent, "echo $x", context=context)) == "1\n"
    assert agent.client.delete("/code", params={"id": context}).status_code == 200


def test_deleting_a_context_ends_its_run(agent):
    context = create(agent)["id"]
    outcome = []
    thread = in_background(lambda: outcome.append(run(agent, "sleep 60", context=context)))
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "busy")
    assert agent.client.delete(f"/code/contexts/{context}").status_code == 200
    thread.join(20)
    assert outcome[0][-1]["type"] == "error"


def test_a_restart_ends_runs_and_begins_anew(agent, tmp_path):
    made = create(agent, cwd=str(tmp_path / "here"), envs={"KEPT": "yes"})
    context = made["id"]
    run(agent, "x=1; cd /", context=context)
    outcome = []
    threads = [in_background(lambda: outcome.append(run(agent, "sleep 60", context=context))) for _ in range(2)]
    eventually(lambda: sum(s["queued"] for s in agent.client.get("/session").json()["sessions"]) == 1)
    again = agent.client.post(f"/code/contexts/{context}/restart")
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (200, context, "idle")
    for thread in threads:
        thread.join(20)
    assert [(events[-1]["error"]["traceback"], events[-1]["receipt"]["reason"]) for events in outcome] == \
        [(["the shell was restarted"], "cancelled")] * 2
    assert text_of(run(agent, "echo \"[$x]$KEPT\"; pwd", context=context)) == f"[]yes\n{made['cwd']}\n"


def test_a_run_tells_how_many_are_before_it(agent):
    context = create(agent)["id"]
    assert post(agent, "true", context=context).headers["x-execd-queue-position"] == "0"
    thread = in_background(post, agent, "sleep 0.3", "bash", context)
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "busy")
    assert post(agent, "true", context=context).headers["x-execd-queue-position"] == "1"
    thread.join(20)


def test_a_timeout_ends_the_run_and_not_the_context(agent):
    body = {"code": "x=1; while :; do :; done", "timeout": 200, "context": {"language": "bash"}}
    events = sse_events(agent.client.post("/code", json=body, timeout=30).text)
    assert events[-1]["receipt"]["reason"] == "timeout" and events[-1]["type"] == "error"
    assert text_of(run(agent, "echo $x")) == "1\n"


def test_a_text_that_cannot_be_given_to_the_shell_ends_its_run(agent, tmp_path):
    """Each quote takes four bytes on the way: 16 MiB of them are more than a shell is given at once."""
    def waiting():
        return sum(session["queued"] for session in agent.client.get("/session").json()["sessions"])

    context = create(agent)["id"]
    meet, refused, behind = tmp_path / "meet", [], []
    threads = [in_background(run, agent, f"x=1; while ! test -e {meet}; do sleep .02; done", "bash", context)]
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "busy")
    body = {"code": "'" * (16 << 20), "timeout": 5000, "context": {"language": "bash", "id": context}}
    threads.append(in_background(lambda: refused.append(agent.client.post("/code", json=body, timeout=30).text)))
    eventually(lambda: waiting() == 1)
    threads.append(in_background(lambda: behind.append(run(agent, "echo $x", context=context))))
    eventually(lambda: waiting() == 2)
    meet.touch()
    for thread in threads:
        thread.join(20)
    ended = sse_events(refused[0])[-1]
    assert ended["type"] == "error" and "quoted for the shell" in ended["error"]["evalue"], ended
    assert ended["receipt"]["reason"] == "spawn_failed"
    assert text_of(behind[0]) == "1\n"


def test_a_run_can_be_seen_again(agent):
    first = post(agent, "printf 'one\\n\\ntwo'")
    again = agent.client.get(f"/command/{first.headers['x-execd-run-id']}/stream")
    assert again.status_code == 200
    assert text_of(sse_events(again.text)) == text_of(sse_events(first.text)) == "one\n\ntwo"


def test_a_kernelspec_wins(agent):
    folder = agent.share / "kernels" / "bash"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"argv": [sys.executable, "-c", "raise SystemExit('a kernel of bash')"],
                                                    "language": "bash"}))
    assert "a kernel of bash" in json.dumps(run_kernel(agent, "echo hello")[-1])
    assert text_of(run(agent, "echo hello", "sh")) == "hello\n"


def run_kernel(agent, text):
    return sse_events(post(agent, text).text)


def test_there_are_not_more_contexts_than_allowed(agent):
    for _ in range(64):
        create(agent)
    refused = agent.client.post("/code/context", json={"language": "bash"})
    assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert agent.client.delete("/code/contexts", params={"language": "bash"}).status_code == 200
    create(agent)


def test_a_language_beside_the_context_counts_where_the_context_has_none(agent):
    def answer(**body):
        return agent.client.post("/code", json={"code": "X=1; echo $X", **body}, timeout=30)

    assert answer(language="no-such-language").json()["code"] == answer(context={"language": "no-such-language"}).json()["code"]
    assert '"text":"1' in answer(language="bash").text
    assert '"text":"1' in answer(language="no-such-language", context={"language": "bash"}).text
    made = agent.client.post("/code/context", json={"language": "bash"}).json()["id"]
    assert '"text":"1' in answer(language="no-such-language", context={"id": made}).text
    assert '"text":"1' in answer().text  # without any language: the shell
