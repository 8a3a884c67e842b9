"""B04, B17: whom a kill reaches, and that it comes back."""

import re
import time

import pytest

from harness.execd import eventually, output_of

REUSE = """
import os, sys, time
wanted = int(sys.argv[1])
for _ in range(20000):
    pid = os.fork()
    if pid == 0:
        if os.getpid() == wanted:
            print("taken", flush=True)
            time.sleep(1000)
        os._exit(0)
    if pid == wanted:
        os.wait()
        break
    os.waitpid(pid, 0)
"""


def background(agent, **body):
    response = agent.client.post("/command", json={**body, "background": True})
    return re.search(r'"init"[^}]*?"text":"([0-9a-f-]+)"', response.text).group(1)


def log_of(agent, command):
    return agent.client.get(f"/command/{command}/logs").text


def test_B04_a_reused_pid_is_not_signalled(pid1):
    agent = pid1()
    if output_of(agent.command("echo 400 >/proc/sys/kernel/pid_max && cat /proc/sys/kernel/pid_max")).strip() != "400":
        pytest.skip("this kernel has no limit of pids per namespace")
    agent.command("i=0; while [ $i -lt 320 ]; do (:); i=$((i+1)); done")  # numbers below 300 do not come again
    old = background(agent, command="echo $$")
    pid = eventually(lambda: re.search(r"\d+", log_of(agent, old))).group()
    eventually(lambda: not agent.client.get(f"/command/status/{old}").json()["running"])
    new = background(agent, argv=["python3", "-c", REUSE, pid])
    eventually(lambda: "taken" in log_of(agent, new), message="the number did not come again")
    agent.client.delete("/command", params={"id": old})
    assert output_of(agent.command(f"kill -0 {pid} && echo alive")).strip() == "alive"


def test_B17_a_process_that_does_not_run_is_killed_all_the_same(pid1):
    agent = pid1()
    stopped = background(agent, command="sleep 1000 & kill -STOP $! $$")
    eventually(lambda: "T" in output_of(agent.command("cat /proc/[0-9]*/stat | sed -n 's/.*) \\(.\\) .*/\\1/p'")))
    started = time.monotonic()
    agent.client.delete("/command", params={"id": stopped})
    eventually(lambda: not agent.client.get(f"/command/status/{stopped}").json()["running"])
    assert time.monotonic() - started < 8
    assert agent.client.get("/ping").status_code == 200
