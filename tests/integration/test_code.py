"""Code contexts: real ipykernel kernels and one that lies, through the HTTP API."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from harness.execd import TOKEN, TOKEN_HEADER, Leaks, children, eventually, output_of, rss_kib, sse_events
from harness.kernels import (FAKE, assert_error, body_of, create, error_of, in_background, is_zygote, kernels, post, results, run,
                             write_spec)
from harness.patience import PATIENCE_S


def until_busy(agent, context, queued=0):
    """A run of the context is under way, and so many wait behind it."""
    def is_so():
        known = agent.client.get(f"/code/contexts/{context}").json()
        return known["state"] == "busy" and known["queued"] == queued

    eventually(is_so)


def wait_for(path):
    """Code that goes on when the file is there."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(.01)\n"


def test_a_run_can_be_seen_again(code):
    body = {"code": "print('one'); print('two')\n6 * 7", "context": {"language": "python"}}
    first = code.client.post("/code", json=body, timeout=60)
    again = code.client.get(f"/command/{first.headers['x-execd-run-id']}/stream")
    assert again.status_code == 200
    for known, seen in zip(sse_events(first.text), sse_events(again.text), strict=True):
        assert known["type"] == seen["type"] and (known["type"] == "ping" or known == seen)


# ---- runs -----------------------------------------------------------------------------------------


def test_a_context_knows_its_language(code):
    context = create(code)["id"]
    response = code.client.post("/code", json={"code": "print(6 * 7)", "context": {"id": context}}, timeout=30)
    assert output_of(sse_events(response.text)) == "42\n"
    unknown = code.client.post("/code", json={"code": "1", "context": {"id": "nobody"}})
    assert unknown.status_code >= 400 and "not found" in unknown.json()["message"]


def test_state_carries_over_and_the_first_text_is_the_context(code):
    context = create(code)["id"]
    first = run(code, "x = 41", context=context)
    second = run(code, "x + 1", context=context)
    assert first[0]["text"] == second[0]["text"] == context
    assert [event["type"] for event in first] == ["init", "execution_complete"]
    assert [event["type"] for event in second] == ["init", "execution_count", "result", "execution_complete"]
    assert second[1]["execution_count"] == 2
    assert results(second) == [{"text": "42", "text/plain": "42"}]


def test_every_mime_type_arrives_as_a_string(code):
    events = run(code, textwrap.dedent("""
        from IPython.display import HTML, JSON, Image, display
        display(HTML("<b>bold</b>"))
        display(JSON({"a": [1, None]}))
        display(Image(data=bytes.fromhex("89504e470d0a1a0a") + b"rest", format="png"))
        class Both:
            def _repr_html_(self): return "<i>bo\u2028th</i>"
            def __repr__(self): return "both"
        Both()
    """))
    html, data, image, both = results(events)
    assert html["text/html"] == "<b>bold</b>"
    assert json.loads(data["application/json"]) == {"a": [1, None]}
    assert image["image/png"].startswith("iVBORw0KGgp")
    assert both == {"text": "both", "text/plain": "both", "text/html": "<i>bo\u2028th</i>"}
    assert [event["type"] for event in events].count("execution_count") == 1
    assert all(isinstance(value, str) for result in results(events) for value in result.values())


def test_updates_and_pages_are_results_too(code):
    events = run(code, "h = display(1, display_id=True); h.update(2)")
    assert [result["text"] for result in results(events)] == ["1", "2"]
    assert "print" in results(run(code, "print?"))[0]["text"]


def test_text_is_verbatim_and_streams_are_told_apart(code):
    events = run(code, "import sys\nprint('a\\tb', end='')\nprint('é\\x00\\udc80', file=sys.stderr)\nprint('\\n\\nz')")
    assert output_of(events) == "a\tb\n\nz\n"
    assert output_of(events, "stderr") == "é\x00\ufffd\n"


def test_C08_an_error_is_the_only_terminal_event(code):
    events = run(code, "print('before')\n1/0")
    error = error_of(events)
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    assert any("ZeroDivisionError" in line for line in error["traceback"])
    assert output_of(events) == "before\n"
    assert results(run(code, "'next'"))[0]["text"] == "'next'"


def test_a_traceback_that_user_code_shows_does_not_end_the_run(code):
    events = run(code, "get_ipython().showtraceback((ValueError, ValueError('shown'), None))\nprint('after')")
    assert events[-1]["type"] == "execution_complete"
    assert "ValueError" in output_of(events, "stderr")
    assert output_of(events) == "after\n"


def test_output_of_child_processes_arrives(code):
    events = run(code, "import subprocess\nsubprocess.run('echo out; echo err >&2', shell=True).returncode")
    assert (output_of(events), output_of(events, "stderr")) == ("out\n", "err\n")


def test_C7_late_output_does_not_leak_into_another_run(code):
    done = code.folder / "done"
    events = run(code, f"""
import threading, time
def late():
    time.sleep(.2)
    print('late', flush=True)
    open({str(done)!r}, 'w')
threading.Thread(target=late).start()""")
    assert output_of(events) == ""
    eventually(done.exists)
    assert output_of(run(code, "print('mine')")) == "mine\n"


@pytest.mark.parametrize("text", [
    "print('x' * 20_000_000)",
    "for i in range(200_000): print(f'{i:099d}')",
], ids=["one message", "many lines"])
def test_20_megabytes_arrive_exactly(code, text):
    expected = "x" * 20_000_000 + "\n" if "x" in text else "".join(f"{i:099d}\n" for i in range(200_000))
    events = run(code, text)
    output = output_of(events)
    assert len(output) == len(expected)
    assert hashlib.sha256(output.encode()).digest() == hashlib.sha256(expected.encode()).digest()


def test_without_a_language_the_text_is_for_the_shell(code):
    for body in ({"code": "echo $0"}, {"code": "echo $0", "context": {"language": ""}},
                 {"code": "echo $0", "context": {"language": "command"}}):
        response = code.client.post("/code", json=body)
        assert "sh" in output_of(sse_events(response.text)), response.text


def test_H11_input_is_an_error_not_a_hang(code):
    error = error_of(run(code, "input('? ')"))
    assert error["ename"] == "StdinNotImplementedError"


# ---- order and parallel runs ------------------------------------------------------------------------


def test_H09_runs_of_one_context_are_queued_in_order(code):
    context = create(code)["id"]
    run(code, "order = []", context=context)
    gate = code.folder / "gate"
    first = in_background(run, code, wait_for(gate) + "order.append(1)", context=context)
    until_busy(code, context)
    waiting = []
    for i in range(2, 6):
        waiting.append(in_background(run, code, f"order.append({i})", context=context))
        until_busy(code, context, len(waiting))
    gate.touch()
    for future in [first, *waiting]:
        assert future.result(PATIENCE_S)[-1]["type"] == "execution_complete"
    assert results(run(code, "order", context=context))[0]["text"] == "[1, 2, 3, 4, 5]"


def test_two_contexts_run_at_the_same_time(code):
    one, two = create(code)["id"], create(code)["id"]
    meet = code.folder / "meet"
    wait = f"import os, time\nopen({str(meet)!r} + '%s', 'w')\nwhile not os.path.exists({str(meet)!r} + '%s'): time.sleep(.01)"
    futures = [in_background(run, code, wait % ("1", "2"), context=one),
               in_background(run, code, wait % ("2", "1"), context=two)]
    for future in futures:
        assert future.result(PATIENCE_S)[-1]["type"] == "execution_complete"


def test_a_client_that_leaves_does_not_stop_its_run(code):
    context = create(code)["id"]
    with code.new_client() as client:
        with client.stream("POST", "/code", json={
            "code": "import time; time.sleep(.3); done = True", "context": {"id": context, "language": "python"}}) as r:
            next(r.iter_raw())
    assert results(run(code, "done", context=context))[0]["text"] == "True"


def test_a_slow_reader_loses_nothing_and_costs_little(code):
    """iopub has no back-pressure: the kernel is stopped while its reader lags."""
    context = create(code)["id"]
    run(code, "1", context=context)
    before = rss_kib(code.pid)
    peak = 0
    text = bytearray()
    with code.new_client(timeout=60) as client:
        with client.stream("POST", "/code", json={
            "code": "for i in range(600_000): print(f'{i:099d}')",
            "context": {"id": context, "language": "python"}}) as response:
            chunks = response.iter_raw()
            for _ in range(15):
                text += next(chunks)
                time.sleep(0.1)
                peak = max(peak, rss_kib(code.pid))
            for chunk in chunks:
                text += chunk
    events = sse_events(text.decode())
    assert events[-1]["type"] == "execution_complete", events[-1]
    assert output_of(events, "stderr") == ""
    assert output_of(events) == "".join(f"{i:099d}\n" for i in range(600_000))
    assert peak - before < 100 * 1024


# ---- interrupt ----------------------------------------------------------------------------------------


def interrupt(agent, context):
    return agent.client.delete("/code", params={"id": context}, timeout=30)


def test_interrupt_ends_the_run_and_the_context_lives(code):
    context = create(code)["id"]
    run(code, "x = 1; import time", context=context)
    future = in_background(run, code, "while True: time.sleep(1)", context=context)
    until_busy(code, context)
    assert interrupt(code, context).status_code == 200
    assert error_of(future.result(PATIENCE_S))["ename"] == "KeyboardInterrupt"
    assert results(run(code, "x", context=context))[0]["text"] == "1"


def test_H09_interrupt_hits_the_current_run_and_drops_the_queue(code):
    context = create(code)["id"]
    run(code, "import time; ran = []", context=context)
    first = in_background(run, code, "time.sleep(60)", context=context)
    until_busy(code, context)
    second = in_background(run, code, "ran.append(2)", context=context)
    until_busy(code, context, 1)
    assert interrupt(code, context).status_code == 200
    assert error_of(first.result(PATIENCE_S))["ename"] == "KeyboardInterrupt"
    assert error_of(second.result(PATIENCE_S))["ename"] == "ExecutionAborted"
    assert results(run(code, "ran", context=context))[0]["text"] == "[]"


def test_interrupt_of_an_idle_context_is_no_error_and_hits_nothing(code):
    context = create(code)["id"]
    assert interrupt(code, context).status_code == 200
    assert run(code, "1", context=context)[-1]["type"] == "execution_complete"


def test_H02_a_kernel_deaf_to_the_interrupt_is_killed_after_the_grace(code):
    context = create(code)["id"]
    future = in_background(run, code, "import ctypes; ctypes.CDLL(None).pause()\nwhile True: pass", context=context)
    until_busy(code, context)
    fake = create(code, "fake")["id"]
    deaf = in_background(run, code, "dead_silence", "fake", fake)
    until_busy(code, fake)
    assert interrupt(code, fake).status_code == 200
    error = error_of(deaf.result(PATIENCE_S))
    assert error["ename"] == "KernelDied" and "interrupt" in error["evalue"]
    assert code.client.get("/ping").status_code == 200
    assert interrupt(code, context).status_code == 200
    assert error_of(future.result(PATIENCE_S))["ename"] in ("KernelDied", "KeyboardInterrupt")


def test_H03_a_flood_that_nobody_reads_is_bounded(code):
    context = create(code)["id"]
    run(code, "1", context=context)
    before = rss_kib(code.pid)
    with code.new_client(timeout=60) as client:
        with client.stream("POST", "/code", json={
            "code": "while True: print('y' * 1000)", "context": {"id": context, "language": "python"}}) as response:
            chunks = response.iter_raw()
            next(chunks)
            for _ in range(20):
                time.sleep(0.1)
                assert rss_kib(code.pid) - before < 100 * 1024
            assert interrupt(code, context).status_code == 200
            text = b"".join(chunks)
    assert error_of(sse_events("{" + text.decode().partition("\n\n{")[2]))["ename"] == "KeyboardInterrupt"


def test_a_large_output_is_whole_whoever_is_slower(code):
    """More than execd may keep, in lines that one flush of the kernel holds at once."""
    context, lines, seen = create(code)["id"], 600, 0
    with code.new_client(timeout=60) as client:
        with client.stream("POST", "/code", json={
            "code": f"for _ in range({lines}): print('z' * 99_999)", "context": {"id": context, "language": "python"}}) as response:
            tail = b""
            for number, chunk in enumerate(response.iter_raw(1 << 20)):
                seen += chunk.count(b"z")
                tail = (tail + chunk)[-2000:]
                if number < 5:
                    time.sleep(0.1)  # behind from the beginning
    assert seen == lines * 99_999 and b'"execution_complete"' in tail


def test_H03_a_kernel_that_sends_faster_than_execd_reads_is_held(code):
    context = create(code, "fake")["id"]
    before = peak = rss_kib(code.pid)
    future = in_background(run, code, "flood", "fake", context)
    while not future.done():
        peak = max(peak, rss_kib(code.pid))
        time.sleep(0.02)
    assert output_of(future.result()) == "after\n"
    # Unhindered it would send and execd would keep 1.5 GB; how soon it is stopped depends on the machine.
    assert peak - before < 600 * 1024


# ---- death ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text,words", [
    ("import os; os._exit(3)", "exit status 3"),
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal: killed"),
    ("import ctypes; ctypes.string_at(0)", "signal: segmentation fault"),
], ids=["exit", "kill", "segfault"])
def test_H01_death_ends_the_stream_at_once_and_a_new_run_gets_a_fresh_kernel(code, text, words):
    run(code, "x = 1")
    gate = code.folder / "gate"
    body = body_of("print('last', flush=True)\n" + wait_for(gate) + text)
    events = []
    with code.new_client() as client, client.stream("POST", "/code", json=body) as response:
        for line in filter(None, response.iter_lines()):
            events.append(json.loads(line))
            if events[-1]["type"] == "stdout":
                gate.touch()  # else it may die before it has sent that
    error = error_of(events)
    assert error["ename"] == "KernelDied"
    assert "EXECD_001" in error["evalue"] and words in error["evalue"]
    assert output_of(events) == "last\n"
    assert_error(post(code, "1", context=events[0]["text"]), 500, "RUNTIME_ERROR", "dead")
    fresh = run(code, "x")
    assert error_of(fresh)["ename"] == "NameError"
    assert fresh[0]["text"] != events[0]["text"]


def test_H01_death_ends_the_waiting_runs_too(code):
    context = create(code)["id"]
    gate = code.folder / "gate"
    first = in_background(run, code, wait_for(gate) + "os._exit(1)", context=context)
    until_busy(code, context)
    second = in_background(run, code, "1", context=context)
    until_busy(code, context, 1)
    gate.touch()
    assert error_of(first.result(PATIENCE_S))["ename"] == error_of(second.result(PATIENCE_S))["ename"] == "KernelDied"


def test_H01_sys_exit_is_an_error_of_the_code_only(code):
    assert error_of(run(code, "x = 5; import sys; sys.exit(4)"))["ename"] == "SystemExit"
    assert results(run(code, "x"))[0]["text"] == "5"


def test_H01_a_kernel_that_was_killed_from_outside_while_idle_is_dead(code):
    context = create(code)["id"]
    os.kill(kernels(code)[0], signal.SIGKILL)
    eventually(lambda: post(code, "1", context=context).status_code == 500)


def test_H01_a_kernel_that_crashes_at_start_says_why(code):
    response = code.client.post("/code/context", json={"language": "crash"})
    assert_error(response, 500, "RUNTIME_ERROR", "EXECD_001", "exit status 1", "No module named 'no_such_module'")
    assert code.client.get("/code/contexts").json() == []
    error = error_of(run(code, "1", "crash"))
    assert error["ename"] == "KernelStartError"
    assert any("no_such_module" in line for line in error["traceback"])


def test_H01_a_missing_program_and_a_missing_kernelspec_say_so(code):
    assert_error(code.client.post("/code/context", json={"language": "missing"}), 500, "RUNTIME_ERROR",
                 "error creating code context. ", "/no/such/kernel")
    response = code.client.post("/code/context", json={"language": "cobol"})
    assert_error(response, 404, "KERNELSPEC_NOT_FOUND", "cobol", "python", "kernel.json")
    assert_error(post(code, "1", "cobol"), 404, "KERNELSPEC_NOT_FOUND", "error running codes ")


@pytest.mark.parametrize("language", ["mute", "garbage", "liar", "endless"])
def test_H05_H08_a_kernel_that_never_gets_ready_is_given_up(start_code, language):
    agent = start_code("--kernel-start-timeout", "1500ms")
    agent.client.get("/ping")
    before, started = rss_kib(agent.pid), time.monotonic()
    asking = in_background(agent.client.post, "/code/context", json={"language": language})
    peak = before
    while not asking.done():
        peak = max(peak, rss_kib(agent.pid))
        time.sleep(0.02)
    assert_error(asking.result(), 500, "RUNTIME_ERROR", "EXECD_001", "not ready after 1500 ms")
    assert peak - before < 100 * 1024
    assert 1.4 < time.monotonic() - started < PATIENCE_S
    assert agent.client.get("/ping").status_code == 200
    eventually(lambda: not kernels(agent))


def test_a_kernelspec_dropped_in_is_there_at_once(code, specs):
    assert post(code, "ok", "dropped").status_code == 404
    write_spec(specs, "dropped", [sys.executable, str(FAKE), "{connection_file}"])
    assert output_of(run(code, "ok", "dropped")) == "before\nafter\n"


# ---- lies -------------------------------------------------------------------------------------------------

GOOD = ("before\nafter\n", "execution_complete", None)
MISSING = "output may be missing"
LEFT_OUT = "left out: no valid JSON object"
LIES = {
    "ok": GOOD,
    "wrong_signature": GOOD,
    "wrong_parent": GOOD,
    "broken_frames": GOOD,
    "odd_content": GOOD,
    "deep_content": GOOD,
    "many_buffers": GOOD,
    "asks_for_input": ('{"value": ""}', "execution_complete", None),
    "replay": ("again\nagain\n", "execution_complete", None),
    "huge_frame": ("", "execution_complete", None),
    "huge_reply": ("", "error", "KernelProtocolError"),
    "aborted": ("before\nafter\n", "error", "ExecutionAborted"),
    "abort": ("before\nafter\n", "error", "ExecutionAborted"),
    "bare_error": ("before\nafter\n", "error", "Error"),
    "odd_status": ("before\nafter\n", "error", "KernelProtocolError"),
    "early_idle": ("before\n", "execution_complete", None),
    "idle_without_reply": ("before\n", "error", "KernelProtocolError"),
    "reply_without_idle": ("before\n", "execution_complete", None),
    "two_replies": ("", "execution_complete", None),
}


@pytest.fixture(scope="module")
def lying(specs, tmp_path_factory):
    """One execd and one kernel for all lies: what one of them breaks shows in the next."""
    from harness.execd import Execd

    with Execd(tmp_path_factory.mktemp("lying"), env={"JUPYTER_PATH": str(specs)}) as agent:
        agent.context = create(agent, "fake")["id"]
        yield agent


@pytest.mark.parametrize("lie", LIES)
def test_H05_H07_lies_of_a_kernel(lying, lie):
    output, terminal, ename = LIES[lie]
    events = run(lying, lie, "fake", lying.context)
    assert output_of(events) == output
    assert events[-1]["type"] == terminal
    assert ename is None or error_of(events)["ename"] == ename
    assert (MISSING in output_of(events, "stderr")) == (lie in ("huge_frame", "reply_without_idle"))
    assert (LEFT_OUT in output_of(events, "stderr")) == (lie in ("odd_content", "deep_content"))
    after = run(lying, "ok", "fake", lying.context)
    assert (output_of(after), after[-1]["type"]) == GOOD[:2]


def test_H05_buffers_cost_a_run_nothing(lying):
    events = run(lying, "many_buffers", "fake", lying.context)
    assert [shown["text"] for shown in results(events)] == ["300", "600"]


@pytest.mark.parametrize("lie", ["broken_frames", "wrong_signature", "many_buffers"])
def test_H05_messages_that_are_refused_are_counted(lying, lie):
    def refused():
        text = lying.client.get("/metrics", headers={"Accept": "text/plain"}).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("execd_kernel_frames_dropped"))

    before = refused()
    run(lying, lie, "fake", lying.context)
    assert refused() > before


def test_H12_children_that_keep_the_sockets_and_a_new_program_are_noticed(code):
    events = run(code, "forks", "fake")
    assert "exit status 9" in error_of(events)["evalue"]
    assert output_of(events) == "child\n"
    eventually(lambda: not kernels(code))
    error = error_of(run(code, "becomes_another", "fake"))
    assert error["ename"] == "KernelDied" and "closed its connection" in error["evalue"]
    eventually(lambda: not kernels(code))


def test_H06_a_workload_that_breaks_its_own_sockets_breaks_only_itself(code):
    victim, other = create(code)["id"], create(code)["id"]
    run(code, "import os, glob, sys\nfile = sys.argv[sys.argv.index('-f') + 1]\n"
              "[os.unlink(p) for p in glob.glob(os.path.dirname(file) + '/*')]", context=victim)
    assert results(run(code, "1", context=other))[0]["text"] == "1"
    assert post(code, "2", context=victim).status_code in (200, 500)
    assert code.client.delete(f"/code/contexts/{victim}").status_code == 200


def test_H04_others_cannot_reach_the_sockets(code):
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    create(code)
    folder = next(code.runtime.iterdir())
    sockets = [str(path) for path in folder.iterdir() if path.is_socket()]
    assert len(sockets) == 5
    assert (folder.stat().st_mode & 0o777, (folder / "kernel.json").stat().st_mode & 0o777) == (0o700, 0o600)
    for path in code.runtime.parents:
        if path.owner() == "root" and path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o011)
    program = textwrap.dedent(f"""
        import os, socket
        os.setgid(65534); os.setuid(65534)
        for path in {sockets!r}:
            try:
                socket.socket(socket.AF_UNIX).connect(path)
            except PermissionError:
                continue
            raise SystemExit("reached " + path)
    """)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


# ---- contexts ------------------------------------------------------------------------------------------------


def test_C10_cwd_and_envs_are_applied_and_secrets_are_not_inherited(start_code, tmp_path):
    agent = start_code(env={"JUPYTER_TOKEN": "secret", "VISIBLE": "yes"})
    wanted = tmp_path / "made" / "on demand"
    made = create(agent, cwd=str(wanted), envs={"MINE": "1", "OVERRIDDEN": "request"})
    assert made["cwd"] == str(wanted) and made["language"] == "python"
    text = run(agent, "import os, json; print(json.dumps([os.getcwd(), dict(os.environ)]))", context=made["id"])
    cwd, environment = json.loads(output_of(text))
    assert cwd == str(wanted)
    assert environment["MINE"] == "1" and environment["VISIBLE"] == "yes"
    assert environment["OVERRIDDEN"] == "request"
    assert environment["FROM_SPEC"] == f"spec {agent.folder}"
    assert environment["JPY_PARENT_PID"] == "1"
    assert not [key for key in environment if key.startswith(("EXECD_", "JUPYTER_"))]


def test_life_of_contexts(code):
    client = code.client
    assert client.get("/code/contexts").json() == []
    one, two = create(code), create(code, "fake")
    listed = client.get("/code/contexts").json()
    assert [entry["id"] for entry in listed] == [one["id"], two["id"]]
    assert client.get("/code/contexts", params={"language": "fake"}).json() == [
        {"id": two["id"], "language": "fake", "state": "idle", "start": "cold", "start_note": "not an IPython kernel"}]
    assert client.get("/code/contexts", params={"language": "cobol"}).json() == []
    known = client.get(f"/code/contexts/{one['id']}").json()
    assert (known["id"], known["language"], known["state"]) == (one["id"], "python", "idle")
    pids = kernels(code)
    assert len(pids) == 2
    response = client.delete(f"/code/contexts/{one['id']}")
    assert (response.status_code, response.content) == (200, b"")
    assert len(kernels(code)) == 1 and len(list(code.runtime.iterdir())) == 1
    for method in (client.get, client.delete):
        assert_error(method(f"/code/contexts/{one['id']}"), 404, "CONTEXT_NOT_FOUND", f"context {one['id']} not found")
    assert client.delete("/code/contexts", params={"language": "fake"}).status_code == 200
    assert kernels(code) == [] and list(code.runtime.iterdir()) == []
    assert client.get("/code/contexts").json() == []


def test_the_default_context_is_shared_listed_and_deleted(code):
    context = run(code, "x = 7")[0]["text"]
    assert run(code, "x")[0]["text"] == context
    assert [entry["id"] for entry in code.client.get("/code/contexts").json()] == [context]
    assert code.client.delete(f"/code/contexts/{context}").status_code == 200
    fresh = run(code, "x")
    assert fresh[0]["text"] != context and error_of(fresh)["ename"] == "NameError"


def test_concurrent_first_runs_share_one_default_context(code):
    futures = [in_background(run, code, "1") for _ in range(4)]
    assert len({future.result(PATIENCE_S)[0]["text"] for future in futures}) == 1


def test_deleting_a_busy_context_ends_its_runs(code):
    context = create(code)["id"]
    futures = [in_background(run, code, "import time; time.sleep(60)", context=context) for _ in range(2)]
    until_busy(code, context, 1)
    assert code.client.delete(f"/code/contexts/{context}").status_code == 200
    assert {error_of(future.result(PATIENCE_S))["ename"] for future in futures} == {"ContextDeleted"}
    assert kernels(code) == []


def test_a_context_whose_asker_left_is_still_made(code):
    body = b'{"language": "python"}'
    with code.connect() as asker:
        asker.sendall(f"POST /code/context HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert code.client.get("/ping").status_code == 200  # by then it was read
    context = eventually(lambda: code.client.get("/code/contexts").json())[0]["id"]
    assert results(run(code, "1", context=context))[0]["text"] == "1"


def test_H10_contexts_come_and_go_without_a_trace(start_code):
    code = start_code("--kernel-start-timeout", "20s", "--kernel-pool", "0")
    create(code, "fake")
    run(code, "ok", "fake")
    code.client.delete("/code/contexts", params={"language": "fake"})
    threads = len(list(Path(f"/proc/{code.pid}/task").iterdir()))
    create(code)  # the warm interpreter stays
    assert code.client.delete("/code/contexts", params={"language": "python"}).status_code == 200
    eventually(lambda: any(is_zygote(pid) for pid, _ in children(code.pid)))
    leaks = Leaks(code)
    for _ in range(4):
        futures = [in_background(create, code, "python") for _ in range(5)]
        contexts = [future.result(60)["id"] for future in futures]
        for context in contexts:
            assert code.client.delete(f"/code/contexts/{context}").status_code == 200
    assert kernels(code) == [] and list(code.runtime.iterdir()) == []
    assert len(list(Path(f"/proc/{code.pid}/task").iterdir())) == threads
    leaks.check()


def test_shutdown_takes_the_kernels_along(start_code):
    agent = start_code()
    context = create(agent)["id"]
    future = in_background(run, agent, "import time; time.sleep(60)", context=context)
    until_busy(agent, context)
    pids = kernels(agent)
    agent.send_signal(signal.SIGTERM)
    events = future.result(PATIENCE_S)
    assert error_of(events)["ename"] == "KernelDied" and "shutting down" in error_of(events)["evalue"]
    assert events[-1]["receipt"]["reason"] == "agent_shutdown"
    assert agent.stop() == 0
    assert pids and not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert list(agent.runtime.iterdir()) == []


def test_kernels_do_not_outlive_an_execd_that_was_killed(start_code):
    agent = start_code()
    create(agent)
    (pid,) = kernels(agent)
    agent.close_clients()
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    eventually(lambda: not Path(f"/proc/{pid}").exists())


# ---- limits and bad input --------------------------------------------------------------------------------------


def test_too_many_contexts(start_code):
    agent = start_code("--contexts-max", "2")
    made = [create(agent, "fake")["id"] for _ in range(2)]
    assert_error(agent.client.post("/code/context", json={"language": "fake"}), 503, "SERVICE_UNAVAILABLE", "2 code contexts")
    assert_error(post(agent, "ok", "fake"), 503, "SERVICE_UNAVAILABLE")
    agent.client.delete(f"/code/contexts/{made[0]}")
    create(agent, "fake")


def test_too_many_waiting_runs(code):
    context = create(code)["id"]
    sleeper = in_background(run, code, "import time; time.sleep(60)", context=context)
    until_busy(code, context)
    connections = []
    body = json.dumps({"code": "1", "context": {"id": context, "language": "python"}})
    for _ in range(128):
        connection = code.connect()
        connection.sendall(f"POST /code HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: {code.token}\r\n"
                           f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        assert b"200" in connection.recv(64)
        connections.append(connection)
    assert_error(post(code, "1", context=context), 503, "SERVICE_UNAVAILABLE", "128 runs are waiting")
    assert interrupt(code, context).status_code == 200
    assert error_of(sleeper.result(PATIENCE_S))["ename"] == "KeyboardInterrupt"
    for connection in connections:
        connection.close()


PARSE = "error parsing request, MAYBE invalid body format. "
VALIDATE = "invalid request, validation error "


@pytest.mark.parametrize("body,words", [
    (b"", PARSE),
    (b"{", PARSE),
    (b"[]", PARSE),
    (b'{"code": 1}', PARSE),
    (b'{"code": "1", "context": []}', PARSE),
    (b'{"code": "1", "context": {"language": 5}}', PARSE),
    (b'{"code": "a\\u0000b", "context": {"language": "python"}}', PARSE),
    (b"{}", VALIDATE),
    (b'{"code": ""}', VALIDATE),
    (b'{"code": null, "context": null}', VALIDATE),
])
def test_bad_runs(code, body, words):
    assert_error(code.client.post("/code", content=body), 400, "INVALID_REQUEST_BODY", words)


@pytest.mark.parametrize("body,words", [
    (b"{", PARSE),
    (b"{}", "language"),
    (b'{"language": null}', "language"),
    (b'{"language": "python", "envs": {"A": 1}}', PARSE),
])
def test_bad_contexts(code, body, words):
    assert_error(code.client.post("/code/context", content=body), 400, "INVALID_REQUEST_BODY", words)


def test_other_refusals_have_the_contract_s_words(code):
    client = code.client
    assert_error(post(code, "1", context="no-such-context"), 500, "RUNTIME_ERROR", "error running codes context not found")
    assert_error(client.delete("/code/contexts"), 400, "MISSING_QUERY", "missing query parameter 'language'")
    for language in ("command", "background-command", "sql"):
        message = f"unsupported language context operation: {language}"
        assert_error(client.get("/code/contexts", params={"language": language}), 500, "RUNTIME_ERROR", message)
        assert_error(client.post("/code/context", json={"language": language}), 500, "RUNTIME_ERROR", message)
    response = client.post("/code/context", json={"language": "python", "cwd": "/proc/nowhere"})
    assert_error(response, 400, "INVALID_REQUEST_BODY", "error creating code context. ")
