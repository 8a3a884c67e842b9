"""Shell sessions: one real shell each, state that lasts, results that cannot be forged (hardening B03, B13, B14)."""

import concurrent.futures
import json
import os
import signal
import time

import pytest

from harness.execd import eventually, output_of, sse_events
from harness.patience import PATIENCE_S


@pytest.fixture(params=["bash", "sh"])
def agent(request, start_execd, tmp_path):
    """execd whose sessions find bash, or only sh: bash is looked for in the usual places too, so it is hidden there."""
    if request.param == "bash":
        return start_execd()
    if os.geteuid() != 0:
        pytest.skip("needs root: hides bash by a mount")
    hide = 'for f in /bin/bash /usr/bin/bash; do [ ! -x $f ] || mount --bind /dev/null $f || exit 1; done; exec "$0" "$@"'
    agent = start_execd(launcher=("unshare", "--mount", "--propagation", "private", "sh", "-c", hide))
    agent.only_sh = True
    return agent


def create(agent, **body):
    response = agent.client.post("/session", json=body) if body else agent.client.post("/session")
    assert response.status_code == 200, response.text
    return response.json()["session_id"]


def run(agent, session, command, timeout_s=PATIENCE_S, **body):
    response = agent.client.post(f"/session/{session}/run", json={"command": command, **body}, timeout=timeout_s)
    assert response.status_code == 200, response.text
    events = sse_events(response.text)
    assert events[0]["type"] == "init" and events[0]["text"] == session
    ends = [e for e in events if e["type"] in ("error", "execution_complete")]
    assert len(ends) == 1 and ends[0] is events[-1], events
    return events


def said(agent, session, command, **body):
    events = run(agent, session, command, **body)
    assert events[-1]["type"] == "execution_complete", events
    return output_of(events)


def test_state_lasts(agent):
    s = create(agent, cwd="/")
    assert said(agent, s, "plain=5; export exported=6; f() { echo \"in f $1\"; }; alias ll='echo LL'; umask 027; cd /tmp") == ""
    assert said(agent, s, "echo $plain $exported; f x; pwd; umask") == "5 6\nin f x\n/tmp\n0027\n"
    assert said(agent, s, "ll") == "LL\n"
    assert said(agent, s, "set -f; unset plain") == ""
    assert said(agent, s, "echo \"[$plain]\" /*; set +f") == "[] /*\n"
    assert agent.client.get(f"/session/{s}").json()["cwd"] == "/tmp"


def test_values_of_every_kind_survive(agent):
    s = create(agent)
    said(agent, s, "v='a $HOME `x` \"q\" \\ back\nsecond line'; w=$(printf 'tab\\there')")
    assert said(agent, s, "printf '%s|%s' \"$v\" \"$w\"") == "a $HOME `x` \"q\" \\ back\nsecond line|tab\there"
    said(agent, s, "big=$(head -c 200000 /dev/zero | tr '\\0' x)")
    assert said(agent, s, "echo ${#big}") == "200000\n"
    assert said(agent, s, "unset big; echo \"it's\" # it's a comment") == "it's\n"


def test_jobs_last(agent):
    s = create(agent)
    assert said(agent, s, "sleep 30 & echo started") == "started\n"
    assert "sleep 30" in said(agent, s, "jobs -p >/dev/null; ps -o args= -p $!")
    assert said(agent, s, "kill $!; wait $! 2>/dev/null; echo gone") == "gone\n"


def test_exit_codes_and_errors(agent):
    s = create(agent)
    for code in (0, 1, 3, 255):
        end = run(agent, s, f"(exit {code})")[-1]
        assert (end["type"] == "execution_complete") == (code == 0)
        if code:
            assert end["error"]["ename"] == "CommandExecError" and end["error"]["evalue"] == str(code)
    assert run(agent, s, "echo 'unterminated")[-1]["error"]["evalue"] in ("1", "2")
    assert run(agent, s, "if then")[-1]["error"]["evalue"] in ("1", "2")
    assert run(agent, s, "set -u; echo $nothing; echo after")[-1]["error"]["evalue"] in ("1", "2", "127")
    assert said(agent, s, "set +u; echo alive") == "alive\n"


def test_stderr_is_merged_in_order_or_apart(agent):
    s = create(agent)
    script = "echo 1; echo 2 >&2; echo 3; echo 4 >&2"
    assert said(agent, s, script) == "1\n2\n3\n4\n"
    events = run(agent, s, script, merge_stderr=False)
    assert output_of(events) == "1\n3\n" and output_of(events, "stderr") == "2\n4\n"


def test_A22_programs_see_three_descriptors_and_no_input(agent):
    s = create(agent)
    assert said(agent, s, "cat; read x; echo \"[$x]\"") == "[]\n"
    assert said(agent, s, "ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is ls's own


def test_B13_reports_cannot_be_forged(agent):
    s = create(agent)
    only_sh = getattr(agent, "only_sh", False)  # it knows fds of one digit, and no function named as a special built-in
    fds = " ".join(str(fd) for fd in range(10 if only_sh else 16))
    shadow = "" if only_sh else "exit() { :; }; unset -f exit; "
    forged = (f"for fd in {fds}; do printf '%032d\\0007\\000/forged\\000' 0 2>/dev/null >&$fd; done; "
              f"echo __EXIT_CODE__:0; echo __PWD__:/forged; {shadow}printf() {{ :; }}; unset -f printf; (exit 9)")
    end = run(agent, s, forged)[-1]
    assert end["error"]["evalue"] == "9"
    assert agent.client.get(f"/session/{s}").json()["cwd"] != "/forged"
    assert said(agent, s, "echo still") == "still\n"


def test_B14_exit_ends_the_shell_clearly(agent):
    s = create(agent)
    said(agent, s, "x=1; cd /tmp")
    events = run(agent, s, "echo before; exit 7")
    assert output_of(events) == "before\n" and events[-1]["error"]["evalue"] == "7"
    assert [e["session"] for e in events if e["type"] == "session"] == [{"state": "ended", "reason": "exit", "exit_code": 7}]
    events = run(agent, s, "echo \"[$x]\"; pwd")
    assert [e["session"] for e in events if e["type"] == "session"] == [{"state": "restarted"}]
    assert output_of(events) == "[]\n/tmp\n"
    assert run(agent, s, "exec true")[-1]["type"] == "execution_complete"
    assert run(agent, s, "kill -9 $$")[-1]["error"]["evalue"] == "-1"
    assert run(agent, s, "set -e; false; echo no")[-1]["error"]["evalue"] == "1"
    assert output_of(run(agent, s, "trap 'echo bye' EXIT; exit 0")) == "bye\n"


def test_timeout_ends_the_run_not_the_session(agent):
    s = create(agent)
    said(agent, s, "x=kept")
    for command in ("sleep 30", "while :; do :; done", "while sleep 0.05; do :; done", "(trap '' INT; sleep 30)"):
        end = run(agent, s, command, timeout=200)[-1]
        assert end["error"]["evalue"] == "-1" and end["error"]["traceback"] == ["timeout after 200 ms"], command
        assert end["receipt"]["reason"] == "timeout"
        assert said(agent, s, "echo $x") == "kept\n", command


def test_timeout_that_only_the_shells_end_can_enforce(agent):
    s = create(agent)
    events = run(agent, s, "trap '' INT; while :; do :; done", timeout=100)
    assert events[-1]["receipt"]["reason"] == "timeout"
    assert any(e["type"] == "session" for e in events)
    assert output_of(run(agent, s, "echo new")) == "new\n"


def test_B03_a_background_child_does_not_hold_the_run(agent):
    s = create(agent)
    assert said(agent, s, "sleep 600 & echo done") == "done\n"  # which no client waits for
    events = run(agent, s, "(sleep 0.2; echo late) & echo now")
    assert output_of(events) == "now\n"
    eventually(lambda: agent.client.get(f"/session/{s}").json()["stray_bytes"] == 5)


def test_runs_queue(agent):
    s = create(agent)
    said(agent, s, "n=0")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda _: said(agent, s, "m=$n; sleep 0.02; n=$((m + 1)); echo $n"), range(8)))
    assert sorted(int(o) for o in outputs) == list(range(1, 9))


def test_interrupt_by_session_id_keeps_the_session(agent):
    s = create(agent)
    said(agent, s, "x=kept")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, agent, s, "echo begun; sleep 30")
        eventually(lambda: agent.client.get(f"/session/{s}").json()["running"])
        assert agent.client.delete("/command", params={"id": s}).status_code == 200
        end = running.result(PATIENCE_S)[-1]
    assert end["receipt"]["reason"] == "cancelled" and end["error"]["evalue"] == "130"
    assert said(agent, s, "echo $x") == "kept\n"
    assert agent.client.delete("/command", params={"id": s}).status_code == 500  # nothing runs


def test_an_interrupt_at_any_moment_keeps_the_session_in_step(agent):
    s = create(agent)
    said(agent, s, "x=kept")
    for i in range(60):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(run, agent, s, "sleep 0.01\n: 'a quoted\nword'; echo \"two\nlines\"")
            time.sleep(i * 0.0004)
            agent.client.delete("/command", params={"id": s})
            running.result(PATIENCE_S)
        assert said(agent, s, f"echo $x {i}") == f"kept {i}\n"


def n_children(agent, session):
    return int(said(agent, session, "read c </proc/$$/task/$$/children; set -- $c; echo $#"))


def test_an_interrupt_just_before_a_program_starts_ends_it_too(agent):
    """Between fork and exec SIGINT is swallowed: the program would run on, and the shell wait for it."""
    s = create(agent)
    begin = time.monotonic()
    for _ in range(60):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(run, agent, s, "echo begun; sleep 600")
            eventually(lambda: agent.client.get(f"/session/{s}").json()["running"])
            agent.client.delete("/command", params={"id": s})
            assert running.result(PATIENCE_S)[-1]["error"]["evalue"] == "130"
        assert said(agent, s, "echo on") == "on\n"
    assert time.monotonic() - begin < 60
    eventually(lambda: n_children(agent, s) == 0)


def test_an_interrupt_leaves_background_jobs_alone(agent):
    s = create(agent)
    is_sleep = "until read -r c </proc/$!/comm && [ \"$c\" = sleep ]; do :; done"  # by then it ignores interrupts
    pid = said(agent, s, f"sleep 600 & {is_sleep}; echo $!").strip()
    for _ in range(5):
        with agent.client.stream("POST", f"/session/{s}/run", json={"command": f"sleep 600 & {is_sleep}; echo begun; sleep 600"}) as answer:
            pieces = answer.iter_text()
            while "begun" not in next(pieces):
                pass
            agent.client.delete("/command", params={"id": s})
            assert "130" in "".join(pieces)
    time.sleep(0.7)  # longer than those that ought to have ended get
    assert said(agent, s, f"kill -0 {pid} && echo alive") == "alive\n"
    assert n_children(agent, s) == 6


def test_a_client_of_the_raw_framing_that_leaves_interrupts_its_run(agent):
    s = create(agent)
    with agent.client.stream("POST", f"/session/{s}/run", json={"command": "echo begun; sleep 30"}) as response:
        next(response.iter_raw())
    eventually(lambda: not agent.client.get(f"/session/{s}").json()["running"])
    assert said(agent, s, "echo on") == "on\n"


def test_a_client_of_the_standard_framing_may_come_back(agent):
    s = create(agent)
    body = {"command": "echo one; sleep 0.5; echo two; exit 3"}
    with agent.client.stream("POST", f"/session/{s}/run", params={"sse": "standard"}, json=body) as response:
        ident = response.headers["x-execd-run-id"]
        next(response.iter_raw())
    events = sse_events(agent.client.get(f"/command/{ident}/stream").text)
    assert output_of(events) == "one\ntwo\n" and events[-1]["error"]["evalue"] == "3"


def test_delete_kills_everything(agent):
    s = create(agent)
    pid = int(said(agent, s, "setsid sleep 987 & echo $!"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, agent, s, "sleep 30")
        eventually(lambda: agent.client.get(f"/session/{s}").json()["running"])
        assert agent.client.delete(f"/session/{s}").status_code == 200
        assert running.result(PATIENCE_S)[-1]["error"]["traceback"] == ["the session was deleted"]
    def gone():
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                return "987" not in file.read()
        except OSError:
            return True
    eventually(gone)
    assert agent.client.delete(f"/session/{s}").status_code == 404


def test_floods_are_exact(agent):
    s = create(agent)
    assert said(agent, s, "seq 1 300000") == "".join(f"{i}\n" for i in range(1, 300001))
    assert said(agent, s, "seq 1 100000 | tail -1") == "100000\n"


def test_environment_and_directories(agent, tmp_path):
    s = create(agent, cwd=str(tmp_path / "new" / "folder"), envs={"MINE": "a b"})
    assert said(agent, s, "pwd; echo \"$MINE\"") == f"{tmp_path}/new/folder\na b\n"
    assert said(agent, s, "pwd", cwd="/usr") == "/usr\n"
    assert said(agent, s, "pwd") == "/usr\n"
    assert agent.client.post(f"/session/{s}/run", json={"command": "true", "cwd": "/no/such"}).status_code == 400
    assert said(agent, s, "env | grep -c -e '^PS1=.' -e '^HISTFILE=.' -e EXECD_ACCESS || true") == "0\n"


@pytest.mark.parametrize("body", [{}, {"command": ""}, {"command": None}, {"command": 5}, {"command": "true", "timeout": -1},
                                  {"command": "true", "timeout": "5"}, {"command": "true", "merge_stderr": "no"},
                                  {"command": "a\0b"}])
def test_bad_runs(execd, body):
    s = create(execd)
    refused = execd.client.post(f"/session/{s}/run", json=body)
    assert refused.status_code == 400 and refused.json()["code"] == "INVALID_REQUEST_BODY" and refused.json()["message"]
    assert said(execd, s, "echo ok") == "ok\n"
    assert execd.client.delete(f"/session/{s}").status_code == 200


def test_unknown_sessions_and_bad_bodies(execd):
    for method, path in (("GET", "/session/x"), ("DELETE", "/session/x")):
        assert execd.client.request(method, path).status_code == 404
    assert execd.client.post("/session/x/run", json={"command": "true"}).json()["code"] == "CONTEXT_NOT_FOUND"
    for bad in (b"{", b"[]", b'{"cwd": 5}', b'{"cwd": "/dev/null/x"}', b'{"envs": {"a=b": "c"}}'):
        refused = execd.client.post("/session", content=bad)
        assert refused.status_code >= 400 and refused.json()["code"] and refused.json()["message"], bad
    assert execd.client.get("/session").json() == {"sessions": []}


def test_tracing_shows_nothing_of_ours(agent):
    s = create(agent)
    run(agent, s, "set -x")
    for _ in range(2):
        shown = said(agent, s, "echo hello; echo world >&2", envs={"A": "b"})
        assert "hello\n" in shown and "world\n" in shown and "execd" not in shown and "command" not in shown, shown


def test_the_text_of_waiting_runs_is_bounded(start_execd):
    agent = start_execd()
    s = create(agent)
    text = ": " + "x" * 2_000_000

    def queue(_):
        return agent.new_client().post(f"/session/{s}/run", json={"command": text}, timeout=60)

    with concurrent.futures.ThreadPoolExecutor(45) as pool:
        first = pool.submit(run, agent, s, "sleep 120")  # longer than 88 MB take on a machine that has other things to do
        eventually(lambda: agent.client.get(f"/session/{s}").json()["running"])
        answers = [pool.submit(queue, i) for i in range(44)]
        eventually(lambda: sum(a.done() for a in answers) == 10, 60)  # 34 of them are the first that exceed 64 MiB
        refused = next(a.result() for a in answers if a.done())
        assert refused.status_code == 503 and "bytes of text" in refused.json()["message"], refused.text
        agent.client.delete(f"/session/{s}")
        assert first.result(PATIENCE_S)[-1]["receipt"]["reason"] == "cancelled"
        codes = [a.result(PATIENCE_S).status_code for a in answers]
    assert codes.count(200) == 34 and codes.count(503) == 10
    again = create(agent)
    assert said(agent, again, "echo ok") == "ok\n"


def test_shutdown_ends_streams_with_the_reason(start_execd):
    agent = start_execd()
    s = create(agent)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, agent, s, "echo on; sleep 30")
        eventually(lambda: agent.client.get(f"/session/{s}").json()["running"])
        agent.send_signal(signal.SIGTERM)
        end = running.result(PATIENCE_S)[-1]
    assert end["receipt"]["reason"] == "agent_shutdown", json.dumps(end)


def test_a_long_text_is_no_lost_one(agent):
    """A shell reads ahead: that it has read all lines does not tell that it has run them."""
    texts = ("sleep 2.5", "i=0; until [ $i = 25 ]; do sleep 0.1; i=$((i+1)); done", "sleep 2.5 | cat")
    with concurrent.futures.ThreadPoolExecutor(len(texts)) as pool:
        for events in pool.map(lambda text: run(agent, create(agent), text + "; echo end"), texts):
            assert output_of(events) == "end\n" and events[-1]["type"] == "execution_complete"


@pytest.mark.parametrize("code", ["command() { :; }; printf() { :; }; .() { :; }", "command() { :; }", "alias command=true printf=true"])
def test_a_text_that_redefines_the_shells_words_has_an_end(agent, code):
    s = create(agent)
    run(agent, s, code)
    output = output_of(run(agent, s, "echo next"))
    assert output.endswith("next\n")


def test_a_folder_that_is_no_utf8_is_told_as_well_as_it_can_be(start_execd, tmp_path):
    agent = start_execd()
    session = create(agent)
    run(agent, session, f"mkdir {tmp_path}/$'a\\xffb'; cd {tmp_path}/$'a\\xffb'")
    shown = [s["cwd"] for s in agent.client.get("/session").json()["sessions"]]
    assert shown == [f"{tmp_path}/a\ufffdb"] and agent.client.get(f"/session/{session}").json()["cwd"] == shown[0]
