"""What a run of code may cost and how it ends: receipts, time limits, queues, restarts."""

import contextlib
import json
import sys
import time

import pytest

from harness.channels import Channels
from harness.execd import Execd, eventually, output_of, sse_events
from harness.kernels import (FAKE, assert_error, body_of, create, error_of, in_background, post, results, run,
                             write_spec)
from harness.patience import PATIENCE_S


@pytest.fixture(scope="module")
def agent(specs, tmp_path_factory):
    """One for all: each test has a context of its own."""
    folder = tmp_path_factory.mktemp("runs")
    with Execd(folder, "--kernel-interrupt-grace", "1s", env={"JUPYTER_PATH": str(specs)}) as execd:
        yield execd


@pytest.fixture
def context(agent):
    made = create(agent)["id"]
    yield made
    agent.client.delete(f"/code/contexts/{made}")


def receipt_of(events):
    return events[-1]["receipt"]


def spin(seconds):
    return f"import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"


# ---- receipts ---------------------------------------------------------------------------------------


def test_a_receipt_tells_what_the_run_cost_and_not_what_came_before(agent, context):
    busy = receipt_of(run(agent, spin(0.4), context=context))
    idle = receipt_of(run(agent, "1", context=context))
    assert busy["reason"] == idle["reason"] == "exit"
    assert busy["source"] in ("cgroup", "procfs")
    assert 350_000 <= busy["cpu_user_us"] + busy["cpu_system_us"] < 5_000_000
    assert busy["wall_us"] >= 350_000
    assert idle["cpu_user_us"] + idle["cpu_system_us"] < 200_000
    assert idle["memory_peak_of"] == "kernel" and idle["memory_peak_bytes"] > 1 << 20


def test_the_peak_of_memory_is_the_kernel_s(agent, context):
    large = receipt_of(run(agent, "x = b'x' * (64 << 20); del x", context=context))["memory_peak_bytes"]
    after = receipt_of(run(agent, "1", context=context))["memory_peak_bytes"]
    assert large > 64 << 20 and after >= large


def test_a_receipt_tells_why_the_run_ended(agent, context):
    assert receipt_of(run(agent, "1/0", context=context))["reason"] == "error"
    assert receipt_of(run(agent, "import os; os._exit(3)", context=context))["reason"] == "kernel_died"
    events = run(agent, "1", "crash")
    assert receipt_of(events)["reason"] == "spawn_failed"
    assert "source" not in receipt_of(events)


# ---- time limits ------------------------------------------------------------------------------------


def test_a_timeout_interrupts_the_run_and_the_context_lives_on(agent, context):
    run(agent, "x = 5; import time", context=context)
    started = time.monotonic()
    events = run(agent, "print('begun', flush=True)\ntime.sleep(60)", context=context, timeout=1000)
    error = error_of(events)
    assert time.monotonic() - started < 20
    assert (error["ename"], error["evalue"]) == ("ExecutionTimeout", "timeout after 1000 ms")
    assert any("KeyboardInterrupt" in line for line in error["traceback"])
    assert output_of(events) == "begun\n"
    assert receipt_of(events)["reason"] == "timeout"
    assert results(run(agent, "x", context=context))[0]["text"] == "5"


def test_a_run_that_ends_well_although_its_time_was_over_has_ended_well(agent, context):
    events = run(agent, "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('saved')",
                 context=context, timeout=1000)
    assert (output_of(events), events[-1]["type"]) == ("saved\n", "execution_complete")
    assert receipt_of(events)["reason"] == "exit"


def test_H02_a_timeout_kills_a_kernel_that_is_deaf(agent):
    deaf = create(agent, "fake")["id"]
    with agent.new_client(timeout=30) as client, client.stream("GET", "/events") as watch:
        events = run(agent, "dead_silence", "fake", deaf, timeout=200)
        error = error_of(events)
        assert (error["ename"], error["evalue"]) == ("ExecutionTimeout", "timeout after 200 ms")
        assert any("did not react to an interrupt within 1000 ms" in line for line in error["traceback"])
        assert receipt_of(events)["reason"] == "timeout"
        assert_error(post(agent, "ok", "fake", deaf), 500, "RUNTIME_ERROR", "EXECD_001", "restart")
        for line in watch.iter_lines():
            if deaf in line and '"dead"' in line:
                assert "did not react" in line
                break
    again = agent.client.post(f"/code/contexts/{deaf}/restart", timeout=30)
    assert again.status_code == 200 and again.json()["id"] == deaf
    assert output_of(run(agent, "ok", "fake", deaf)) == "before\nafter\n"
    agent.client.delete(f"/code/contexts/{deaf}")


def test_the_time_of_a_run_begins_with_its_work(agent, context):
    first = in_background(run, agent, "import time; time.sleep(3)", context=context)
    eventually(lambda: state_of(agent, context) == "busy")
    assert run(agent, "1", context=context, timeout=2500)[-1]["type"] == "execution_complete"
    assert first.result(PATIENCE_S)[-1]["type"] == "execution_complete"


def wait_for(path):
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(.01)\nx = 'kept'"


@contextlib.contextmanager
def begun(agent, code, context, **more):
    """The answer of a run whose events have not been read."""
    with agent.new_client(timeout=30) as client:
        with client.stream("POST", "/code", json=body_of(code, context=context, **more)) as answer:
            assert answer.status_code == 200
            yield answer


@contextlib.contextmanager
def cell_of_a_client(agent, context, code):
    with Channels(agent, context) as client:
        request = client.execute(code)
        client.until(lambda m: m.msg_type == "execute_input" and m.parent == request)
        yield client, request


def test_a_run_behind_a_client_gets_its_time_when_it_begins(agent, context):
    with cell_of_a_client(agent, context, "import time; time.sleep(1.5); x = 'kept'"):
        events = run(agent, "time.sleep(1.5); x", context=context, timeout=2500)
        assert results(events)[0]["text"] == "'kept'"


def test_H02_the_time_of_a_run_behind_a_client_ends_and_the_cell_does_not(agent, context):
    meet = agent.folder / f"cell-{context}"
    with cell_of_a_client(agent, context, wait_for(meet)) as (client, request):
        for _ in range(3):
            events = run(agent, "x = 'run after all'", context=context, timeout=100)
            assert error_of(events)["ename"] == "ExecutionTimeout"
            assert receipt_of(events)["reason"] == "timeout"
        assert state_of(agent, context) == "busy"
        meet.touch()
        mine = client.result(request)
        assert [m.content["status"] for m in mine if m.msg_type == "execute_reply"] == ["ok"]
        assert results(run(agent, "x", context=context))[0]["text"] == "'kept'"


def test_H02_an_interrupt_of_a_run_behind_a_client_leaves_the_cell_alone(agent, context):
    meet = agent.folder / f"cell-{context}"
    with cell_of_a_client(agent, context, wait_for(meet)) as (client, request):
        with begun(agent, "x = 'run after all'", context=context) as answer:
            assert agent.client.delete("/code", params={"id": context}).status_code == 200
            events = sse_events(answer.read().decode())
        assert error_of(events)["ename"] == "ExecutionAborted" and receipt_of(events)["reason"] == "cancelled"
        meet.touch()
        mine = client.result(request)
        assert [m.content["status"] for m in mine if m.msg_type == "execute_reply"] == ["ok"]
        assert results(run(agent, "x", context=context))[0]["text"] == "'kept'"


def test_H02_a_client_interrupts_its_own_cell_and_the_run_behind_it_goes_on(agent, context):
    meet = agent.folder / f"never-{context}"
    with cell_of_a_client(agent, context, wait_for(meet)) as (client, request):
        with begun(agent, "6 * 7", context=context) as answer:
            assert agent.client.post(f"/api/kernels/{context}/interrupt", content=b"{}").status_code == 204
            mine = client.result(request)
            assert [m.content["ename"] for m in mine if m.msg_type == "error"] == ["KeyboardInterrupt"]
            assert results(sse_events(answer.read().decode()))[0]["text"] == "42"


def test_H02_a_run_that_the_kernel_has_already_is_given_up_too(agent, context):
    """It is sent between two cells of a client, and the second never ends by itself."""
    meet, go = agent.folder / f"cell-{context}", agent.folder / f"go-{context}"
    with cell_of_a_client(agent, context, wait_for(go)) as (client, _):
        second = client.execute(wait_for(meet))
        with begun(agent, "time.sleep(60)", context=context, timeout=1500) as answer:
            go.touch()
            assert error_of(sse_events(answer.read().decode()))["ename"] == "ExecutionTimeout"
        meet.touch()
        mine = client.result(second)
        assert [m.content["status"] for m in mine if m.msg_type == "execute_reply"] == ["ok"]
        assert run(agent, "1", context=context)[-1]["type"] == "execution_complete"


@pytest.mark.parametrize("limit", ["-1", "1.5", '"1"', "1e3", "9999999999999999", "[]"])
def test_bad_limits(agent, limit):
    response = agent.client.post("/code", content=f'{{"code": "1", "context": {{"language": "python"}}, "timeout": {limit}}}')
    assert_error(response, 400, "INVALID_REQUEST_BODY", "timeout")


def state_of(agent, context):
    return agent.client.get(f"/code/contexts/{context}").json()["state"]


# ---- queue ------------------------------------------------------------------------------------------


def test_a_run_that_waits_knows_how_many_are_before_it(agent, context):
    meet = agent.folder / f"meet-{context}"
    wait = f"import os, time\nwhile not os.path.exists({str(meet)!r}): time.sleep(.01)"
    sockets = []
    for position in range(3):
        with agent.new_client(timeout=30) as client:
            request = client.build_request("POST", "/code", json=body_of(wait, context=context))
            response = client.send(request, stream=True)
            assert response.headers["X-Execd-Queue-Position"] == str(position)
            sockets.append(response)
            response.close()
    meet.touch()
    assert post(agent, "1", context=context).headers["X-Execd-Queue-Position"] in "0123"


def test_pings_tell_how_many_are_before_a_run(agent, context):
    meet = agent.folder / f"ping-{context}"
    wait = f"import os, time\nwhile not os.path.exists({str(meet)!r}): time.sleep(.01)"
    first = in_background(run, agent, wait, context=context)
    eventually(lambda: state_of(agent, context) == "busy")
    with agent.new_client(timeout=30) as client:
        with client.stream("POST", "/code", json=body_of("7", context=context)) as answer:
            text = ""
            for chunk in answer.iter_text():
                text += chunk
                if text.count("\n\n") >= 2:
                    meet.touch()
    events = sse_events(text)
    assert [event["type"] for event in events[:2]] == ["init", "ping"]
    assert (events[1]["text"], events[1]["queue"]) == ("pong", 1)
    assert all("queue" not in event for event in sse_events(post(agent, "1", context=context).text))
    first.result(PATIENCE_S)


def test_the_bytes_that_wait_are_bounded(agent, context):
    large = "#" * (15 << 20)
    sleeper = in_background(run, agent, "import time; time.sleep(60)", context=context)
    eventually(lambda: state_of(agent, context) == "busy")
    for _ in range(2):
        with agent.new_client(timeout=30) as client:
            response = client.send(client.build_request("POST", "/code", json=body_of(large, context=context)), stream=True)
            assert response.status_code == 200
            response.close()
    assert_error(post(agent, large, context=context), 503, "SERVICE_UNAVAILABLE", "bytes of code are waiting", context)
    assert agent.client.delete("/code", params={"id": context}).status_code == 200
    error_of(sleeper.result(PATIENCE_S))
    assert run(agent, "1", context=context)[-1]["type"] == "execution_complete"


# ---- restart ----------------------------------------------------------------------------------------


def restart(agent, context):
    return agent.client.post(f"/code/contexts/{context}/restart", timeout=30)


def test_a_restart_keeps_id_directory_and_variables_and_nothing_else(agent, tmp_path):
    made = create(agent, cwd=str(tmp_path / "work"), envs={"MINE": "1"})
    context = made["id"]
    run(agent, "x = 1", context=context)
    first = in_background(run, agent, "import time; time.sleep(60)", context=context)
    eventually(lambda: state_of(agent, context) == "busy")
    second = in_background(run, agent, "2", context=context)
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["queued"] == 1)
    answer = restart(agent, context)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["id"], answer.json()["state"]) == (context, "idle")
    for future in (first, second):
        events = future.result(PATIENCE_S)
        assert error_of(events)["ename"] == "KernelRestarted"
        assert receipt_of(events)["reason"] == "cancelled"
    text = run(agent, "import os; print(os.getcwd(), os.environ['MINE'])", context=context)
    assert output_of(text) == f"{tmp_path / 'work'} 1\n"
    assert error_of(run(agent, "x", context=context))["ename"] == "NameError"
    agent.client.delete(f"/code/contexts/{context}")


def test_H01_a_dead_context_can_be_restarted(agent, context):
    run(agent, "import os; os._exit(1)", context=context)
    assert state_of(agent, context) == "dead"
    assert restart(agent, context).status_code == 200
    assert results(run(agent, "40 + 2", context=context))[0]["text"] == "42"


def test_restarts_at_the_same_time_are_one(agent, context):
    answers = [in_background(restart, agent, context) for _ in range(3)]
    assert [future.result(30).status_code for future in answers] == [200] * 3
    assert results(run(agent, "1", context=context))[0]["text"] == "1"


def test_a_restart_of_what_has_no_kernel(agent):
    shell = create(agent, "bash")["id"]
    assert restart(agent, shell).json()["id"] == shell
    assert receipt_of(run(agent, "sleep 60", "bash", shell, timeout=200))["reason"] == "timeout"
    agent.client.delete(f"/code/contexts/{shell}")
    assert_error(restart(agent, "no-such"), 404, "CONTEXT_NOT_FOUND", "context no-such not found")


# ---- questions --------------------------------------------------------------------------------------


def test_H11_questions_get_the_lines_of_stdin_in_order(agent, context):
    events = run(agent, "from getpass import getpass\nprint([input('? '), input(), getpass()])", context=context,
                 stdin="first\n\nsecret é")
    assert output_of(events) == "['first', '', 'secret é']\n"


def test_H11_questions_beyond_the_last_line_are_the_end_of_a_file(agent, context):
    events = run(agent, "print(input())\ninput()", context=context, stdin="only\n")
    assert output_of(events) == "only\n"
    assert error_of(events)["ename"] == "EOFError"
    assert error_of(run(agent, "input()", context=context, stdin=""))["ename"] == "EOFError"
    assert error_of(run(agent, "input()", context=context))["ename"] == "StdinNotImplementedError"


def test_H11_a_run_that_waits_for_nothing_is_not_given_the_lines_of_another(agent):
    fake = create(agent, "fake")["id"]
    events = run(agent, "asks_for_another", "fake", fake, stdin="mine\n")
    assert output_of(events) == '{"value": ""}{"value": "mine"}'
    agent.client.delete(f"/code/contexts/{fake}")


@pytest.mark.parametrize("value", ["5", "[]", '"' + "x" * 1048577 + '"'], ids=["number", "list", "too long"])
def test_bad_input(agent, value):
    response = agent.client.post("/code", content=f'{{"code": "1", "context": {{"language": "python"}}, "stdin": {value}}}')
    assert_error(response, 400, "INVALID_REQUEST_BODY", "stdin")


def test_stdin_of_languages_without_a_kernel(agent):
    response = agent.client.post("/code", json={"code": "tr a-z A-Z", "stdin": "abc"})
    assert output_of(sse_events(response.text)) == "ABC"
    assert_error(post(agent, "read x", "bash", stdin="abc"), 501, "NOT_SUPPORTED", "stdin", "here-document")


# ---- what is known of a context ---------------------------------------------------------------------


def test_a_context_tells_of_its_kernel(agent, context, tmp_path):
    known = agent.client.get(f"/code/contexts/{context}").json()
    kernel = known["kernel"]
    assert (kernel["name"], kernel["language"], kernel["implementation"]) == ("python3", "python", "ipython")
    assert kernel["language_version"].startswith("3.") and kernel["protocol_version"].startswith("5.")
    assert (known["state"], known["queued"], known["clients"]) == ("idle", 0, 0)
    assert known["memory_bytes"] > 1 << 20
    assert known["created_at"] <= known["last_active_at"]
    run(agent, "import os; os._exit(0)", context=context)
    known = agent.client.get(f"/code/contexts/{context}").json()
    assert known["state"] == "dead" and "kernel" not in known and "memory_bytes" not in known


def test_a_kernel_that_says_nothing_of_itself(agent):
    fake = create(agent, "fake")["id"]
    kernel = agent.client.get(f"/code/contexts/{fake}").json()["kernel"]
    assert kernel == {"name": "fake", "language": "", "language_version": "", "implementation": "",
                      "implementation_version": "", "protocol_version": "5.3"}
    agent.client.delete(f"/code/contexts/{fake}")


# ---- culling ----------------------------------------------------------------------------------------


def ids(agent):
    return {entry["id"] for entry in agent.client.get("/code/contexts").json()}


def test_idle_contexts_go_and_busy_ones_stay(start_execd, specs, tmp_path):
    for name, seconds in (("stays", 0), ("quick", 1)):
        write_spec(tmp_path, name, [sys.executable, str(FAKE), "{connection_file}"],
                   metadata={"cull_idle_timeout": seconds})
    agent = start_execd("--cull-idle", "1500ms", "--cull-interval", "100ms", "--kernel-pool", "0",
                        env={"JUPYTER_PATH": f"{specs}:{tmp_path}"})
    with agent.new_client() as client, client.stream("GET", "/events") as watch:
        quick, idle, stays = (create(agent, language)["id"] for language in ("quick", "fake", "stays"))
        busy = create(agent)["id"]
        sleeper = in_background(run, agent, "import time; time.sleep(2)", context=busy)
        culled = []
        for line in watch.iter_lines():
            if '"deleted"' in line:
                event = json.loads(line.removeprefix("data:"))
                assert event["reason"] == "culled"
                culled.append(event["id"])
            if len(culled) == 3:
                break
    assert culled == [quick, idle, busy]
    assert sleeper.result(PATIENCE_S)[-1]["type"] == "execution_complete"
    assert ids(agent) == {stays}
    agent.stop()


def test_a_context_with_a_client_is_not_idle(start_execd, specs):
    agent = start_execd("--cull-idle", "1500ms", "--cull-interval", "50ms", "--kernel-pool", "0",
                        env={"JUPYTER_PATH": str(specs)})
    context = create(agent, "fake")["id"]
    with Channels(agent, context):
        time.sleep(2.5)
        assert ids(agent) == {context}
    eventually(lambda: ids(agent) == set())
    agent.stop()
