"""B17: a process that the kernel does not let die, because a file system never answers it."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

from harness.channels import Channels, reply_of, types
from harness.execd import eventually, output_of, sse_events
from harness.kernels import make_specs, write_spec
from harness.patience import PATIENCE_S


def states(agent):
    """Of everything inside."""
    return output_of(agent.command("cat /proc/[0-9]*/stat | sed -n 's/.*) \\(.\\) .*/\\1/p'")).split()


def ticks(pid):
    """Of the CPU, so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_B17_a_process_that_cannot_die_holds_nobody_up(pid1, hung):
    agent = pid1()
    answer = agent.client.post("/command", json={"command": f"exec cat {hung.folder.decode()}/file", "background": True})
    command = re.search(r'"init"[^}]*?"text":"([0-9a-f-]+)"', answer.text).group(1)
    eventually(lambda: "request_wait_answer" in output_of(agent.command("cat /proc/[0-9]*/wchan")),
               message="nobody waits for the file system")

    def status():
        return agent.client.get(f"/command/status/{command}").json()

    started = time.monotonic()
    answer = agent.client.delete("/command", params={"id": command})
    assert time.monotonic() - started < 8  # it says so within 5 s on a machine with time to spare
    assert answer.status_code == 500 and "not dead yet" in answer.json()["message"], answer.text
    eventually(lambda: "D" in states(agent), message="the kernel lets it die")
    assert status()["running"] is True  # nothing is said to be over that is not
    assert agent.client.get("/ping").status_code == 200
    assert output_of(agent.command("echo alive")) == "alive\n"
    hung.answer_all()
    eventually(lambda: not status()["running"], message="its end is not seen")
    assert "D" not in states(agent)


def test_B17_a_kernel_that_cannot_die_holds_nobody_up(pid1, hung, tmp_path):
    write_spec(tmp_path, "hung", ["cat", f"{hung.folder.decode()}/file", "{connection_file}"])
    agent = pid1("--kernel-dir", str(tmp_path / "run"), env={"JUPYTER_PATH": str(tmp_path)})
    with ThreadPoolExecutor(1) as pool:
        with agent.new_client() as other:
            creating = pool.submit(other.post, "/code/context", json={"language": "hung"})
            eventually(lambda: "request_wait_answer" in output_of(agent.command("cat /proc/[0-9]*/wchan")),
                       message="nobody waits for the file system")
            context = agent.client.get("/code/contexts").json()[0]["id"]
            answer = agent.client.delete(f"/code/contexts/{context}")
            assert answer.status_code == 500 and "not dead yet" in answer.json()["message"], answer.text
            assert agent.client.get("/ping").status_code == 200
            hung.answer_all()
            assert creating.result(PATIENCE_S).status_code == 500
    eventually(lambda: agent.client.get("/code/contexts").json() == [], message="it is still listed")


def test_B17_its_stream_ends_by_its_timeout(pid1, hung):
    """Who waits for a command with a limit is told at its limit, or soon behind, while it is still not dead."""
    agent = pid1()
    before = ticks(agent.pid)
    text = agent.client.post("/command", timeout=15, json={"command": f"echo begun; exec cat {hung.folder.decode()}/file",
                                                           "timeout": 500}).text
    events = sse_events(text)
    ended = events[-1]
    assert ended["receipt"]["reason"] == "timeout" and "not dead yet" in ended["error"]["traceback"][-1], ended
    assert output_of(events) == "begun\n"
    assert ticks(agent.pid) - before < os.sysconf("SC_CLK_TCK") // 4  # nobody kills it all the time
    assert "D" in states(agent)
    command = events[0]["text"]
    assert agent.client.get(f"/command/status/{command}").json()["running"] is True
    hung.answer_all()
    eventually(lambda: not agent.client.get(f"/command/status/{command}").json()["running"], message="its end is not seen")
    assert agent.client.get(f"/command/status/{command}").json()["exit_code"] == -1
    assert "D" not in states(agent)


# ---- a kernel in a cell that does not come back -----------------------------------------------------


def start_kernel(pid1, tmp_path, grace="200ms"):
    agent = pid1("--kernel-dir", str(tmp_path / "run"), "--kernel-interrupt-grace", grace,
                 env={"JUPYTER_PATH": str(make_specs(tmp_path / "specs"))})
    made = agent.client.post("/code/context", json={"language": "python"}, timeout=60)
    assert made.status_code == 200, made.text
    return agent, made.json()["id"]


def run_hung(agent, context, hung, **more):
    """Its events."""
    code = f"print('begun', flush=True); open('{hung.folder.decode()}/file').read()"
    with agent.new_client() as client:
        answer = client.post("/code", timeout=30, json={"code": code, "context": {"id": context}, **more})
        return sse_events(answer.text)


def state_of(agent, context):
    return next((found["state"] for found in agent.client.get("/code/contexts").json() if found["id"] == context), None)


def test_B17_a_run_whose_kernel_cannot_die_ends(pid1, hung, tmp_path):
    agent, context = start_kernel(pid1, tmp_path)
    events = run_hung(agent, context, hung, timeout=500)
    assert [event["type"] for event in events if event["type"] in ("error", "execution_complete")] == ["error"], events
    assert events[-1]["receipt"]["reason"] == "timeout", events[-1]
    assert output_of(events) == "begun\n"
    eventually(lambda: state_of(agent, context) == "dead", message="its context lives")
    before = ticks(agent.pid)
    time.sleep(1)
    assert ticks(agent.pid) - before < os.sysconf("SC_CLK_TCK") // 10  # nobody kills it all the time
    answer = agent.client.post(f"/code/contexts/{context}/restart")  # of which the process is not gone
    assert answer.status_code == 500 and "not dead yet" in answer.json()["message"], answer.text
    hung.answer_all()
    eventually(lambda: "D" not in states(agent), message="its process is not reaped")
    eventually(lambda: agent.client.post(f"/code/contexts/{context}/restart", timeout=60).status_code == 200,
               message="it cannot start again")


def test_B17_a_restart_of_a_kernel_that_cannot_die_is_refused(pid1, hung, tmp_path):
    agent, context = start_kernel(pid1, tmp_path)
    with ThreadPoolExecutor(3) as pool, agent.new_client() as other:
        running = pool.submit(run_hung, agent, context, hung)
        eventually(lambda: "request_wait_answer" in output_of(agent.command("cat /proc/[0-9]*/wchan")),
                   message="nobody waits for the file system")
        restarting = pool.submit(other.post, f"/code/contexts/{context}/restart", timeout=20)
        eventually(lambda: state_of(agent, context) == "restarting")
        waiting = pool.submit(run_hung, agent, context, hung)
        answer = restarting.result(PATIENCE_S)
        assert answer.status_code == 500 and "not dead yet" in answer.json()["message"], answer.text
        assert running.result(PATIENCE_S)[-1]["receipt"]["reason"] == "cancelled"
        assert waiting.result(PATIENCE_S)[-1]["error"]["ename"] == "KernelStartError"
    assert state_of(agent, context) == "dead"


def test_B17_clients_of_a_kernel_that_cannot_die_are_answered(pid1, hung, tmp_path):
    agent, context = start_kernel(pid1, tmp_path)
    run_hung(agent, context, hung, timeout=500)
    eventually(lambda: state_of(agent, context) == "dead", message="its context lives")
    with Channels(agent, context) as client:
        mine = client.run("1")
        assert types(mine) == ["busy", "error", "execute_reply", "idle"], "nothing of it is sent to a dead kernel"
        assert "not dead yet" in reply_of(mine).content["evalue"]
    session = agent.client.post("/api/sessions", json={"path": "a", "type": "notebook", "kernel": {"id": context}}).json()
    answer = agent.client.delete(f"/api/sessions/{session['id']}", timeout=20)
    assert answer.status_code == 500 and "not dead yet" in answer.json()["message"], answer.text
    assert agent.client.get(f"/api/kernels/{context}").status_code == 404
    hung.answer_all()
    eventually(lambda: "D" not in states(agent), message="its process is not reaped")
